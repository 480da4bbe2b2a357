"""How many searches does the service answer a second, and how long does one take, with 32 clients at once?

    python -m benchmarks.serve Index photo1.jpg photo2.jpg ...

The service is the product's own process, on a free port of loopback. Each client is a thread with a connection that
stays open: it sends a photo, waits for the answer, and sends the next one. Photos are taken in turn, as infrared
images. The clients share the processor with the service. Memory is the most that its process had in physical memory,
mapped files of the index among it, and beside them.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch

from benchmarks.harness import digits, write_result
from dns.training.environment import environment

CLIENTS, SECONDS = 32, 60.0
SEARCH = "/search?modality=infrared"
PATIENCE_S = 60.0
HEADER = (
    "clients", "seconds", "searches/s", "p50, ms", "p95, ms", "errors", "searches a batch", "memory, GB",
    "beside the index, GB",
)  # fmt: skip


@contextmanager
def service(index: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start the service, and yield its process and port."""
    command = [sys.executable, "-m", "dns.serve", str(index), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r":(\d+)/ ", line)
            if not found:
                raise RuntimeError(f"the service does not start: {line}")
            yield process, int(found[1])
        finally:
            process.terminate()


class Client(threading.Thread):
    """Asks until `end`, by time.monotonic. seconds: of each answer; errors: by status or kind."""

    def __init__(self, port: int, photos: Iterator[bytes], end: float):
        super().__init__()
        self._port, self._photos, self._end = port, photos, end
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while time.monotonic() < self._end:
            begin = time.perf_counter()
            try:
                connection.request("POST", SEARCH, next(self._photos))
                response = connection.getresponse()
                response.read()
            except (OSError, HTTPException) as error:
                self.errors[type(error).__name__] += 1
                connection.close()
                continue
            if response.status == 200:
                self.seconds.append(time.perf_counter() - begin)
            else:
                self.errors[str(response.status)] += 1
        connection.close()


def memory_gb(process: "subprocess.Popen[str]", name: str) -> float:
    """Return what /proc says of a process: VmHWM, the most it had; RssAnon, what it has now beside mapped files."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition(f"{name}:")[2].split()[0]) / 1e6


def batches(port: int) -> tuple[float, float]:
    """Return how many searches were answered so far, and in how many batches."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return float(values["dns_batch_size_sum"]), float(values["dns_batch_size_count"])


def measure(index: Path, photos: Sequence[bytes], seconds: float) -> dict[str, Any]:
    with service(index) as (process, port):
        warm = Client(port, cycle(photos), time.monotonic() + 2.0)  # the first calls of a network take longer
        warm.run()
        before = batches(port)
        begin = time.monotonic()
        clients = [Client(port, cycle([*photos[at:], *photos[:at]]), begin + seconds) for at in _places(len(photos))]
        for client in clients:
            client.start()
        beside_gb = 0.0
        while any(client.is_alive() for client in clients):
            beside_gb = max(beside_gb, memory_gb(process, "RssAnon"))
            time.sleep(0.2)
        taken_s = time.monotonic() - begin
        searches, made = (after - former for after, former in zip(batches(port), before, strict=True))
        peak_gb = memory_gb(process, "VmHWM")
    answered = [one for client in clients for one in client.seconds]
    errors = sum((client.errors for client in clients), Counter())
    if len(answered) < 2:
        raise RuntimeError(f"the service answered {len(answered)} searches. Errors: {dict(errors)}")
    cuts = quantiles(answered, n=100)
    return {
        "clients": CLIENTS, "seconds": taken_s, "answered": len(answered), "errors": dict(errors),
        "searches_per_s": len(answered) / taken_s, "p50_ms": 1000 * cuts[49], "p95_ms": 1000 * cuts[94],
        "mean_batch": searches / made, "peak_gb": peak_gb, "peak_beside_index_gb": beside_gb,
    }  # fmt: skip


def _places(photos: int) -> list[int]:
    """Return with which photo each client begins."""
    return [client % photos for client in range(CLIENTS)]


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: one row."""
    one = content["measured"]
    cells = [
        str(one["clients"]), f"{one['seconds']:.0f}", digits(one["searches_per_s"]), f"{one['p50_ms']:.0f}",
        f"{one['p95_ms']:.0f}", str(sum(one["errors"].values())), f"{one['mean_batch']:.1f}", f"{one['peak_gb']:.2f}",
        f"{one['peak_beside_index_gb']:.2f}",
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEADER, ["---"] * len(HEADER), cells)) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.serve")
    parser.add_argument("index", type=Path, metavar="INDEX")
    parser.add_argument("queries", type=Path, nargs="+", metavar="QUERY", help="infrared photos of people")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a shorter run is not stored")
    options = parser.parse_args(arguments)
    photos = [path.read_bytes() for path in options.queries]
    measured = measure(options.index, photos, options.seconds)
    place = environment(torch.device("cpu"))
    about = {"queries": len(photos), "mean_bytes": sum(map(len, photos)) / len(photos)}
    content = {"question": "serve", **about, "measured": measured, "environment": place}
    print(table(content))
    print(measured)
    if options.seconds >= SECONDS:
        print(f"written: {write_result('serve', content, place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
