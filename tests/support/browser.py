"""Drives headless Chromium by its DevTools protocol: files are dropped and chosen as a user's are."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PATIENCE_S = 90.0


class Browser:
    """A tab. events: what it reported of the page that it shows, in order, as (method, parameters)."""

    def __init__(self, socket: Any):
        self._socket, self._number = socket, 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append((answer["method"], answer["params"]))

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the expression's value as soon as it is true."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} stays {value}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.02)
        return value

    def open(self, address: str) -> None:
        for page in ("about:blank", address):
            self.events.clear()  # once the empty page stands, the former one reports nothing more
            self.call("Page.navigate", url=page)
            self.wait(f"location.href.startsWith('{page}') && document.readyState === 'complete'")

    def drop(self, *files: Path) -> None:
        """Drag files from outside onto the middle of the page's field, and let go."""
        box = "document.querySelector('.drop').getBoundingClientRect()"
        x, y = self.evaluate(f"[{box}.x + {box}.width / 2, {box}.y + {box}.height / 2]")
        data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, *files: Path) -> None:
        """Choose files in the page's file dialogue."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in files], nodeId=node)

    def picture(self, width: int, height: int, *, dark: bool = False) -> bytes:
        """Return a PNG of the page, so many CSS pixels in size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        time.sleep(0.3)  # lets images load that come into sight
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def hosts(self) -> set[str]:
        """Return whom the page asked for anything: host and port, or the scheme of what is no request to a host."""
        asked = [event["request"]["url"] for name, event in self.events if name == "Network.requestWillBeSent"]
        return {url.split("/")[2] if "://" in url else url.partition(":")[0] for url in asked}

    def complaints(self) -> list[str]:
        """Return what the browser's console shows: errors, warnings, refusals of the page's policy."""
        said = [event["entry"]["text"] for name, event in self.events if name == "Log.entryAdded"]
        thrown = [str(event["exceptionDetails"]) for name, event in self.events if name == "Runtime.exceptionThrown"]
        logged = [str(event["args"]) for name, event in self.events if name == "Runtime.consoleAPICalled"]
        return said + thrown + logged


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile, and end it."""
    from websockets.sync.client import connect

    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort", process.poll)
        with urlopen(Request(f"http://127.0.0.1:{port}/json/new", method="PUT"), timeout=PATIENCE_S) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        # max_queue: events that nobody reads any longer would hold the end of the connection up, for 10 s.
        with connect(address, max_size=None, max_queue=None, proxy=None, compression=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def _port(file: Path, ended: Callable[[], int | None]) -> int:
    """Return the port that Chromium writes into its profile once it listens."""
    end = time.monotonic() + PATIENCE_S
    while not (file.exists() and (lines := file.read_text().splitlines())):
        assert ended() is None, "chromium ended at once"
        assert time.monotonic() < end, "chromium does not listen"
        time.sleep(0.05)
    return int(lines[0])
