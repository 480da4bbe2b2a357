"""Requests that are too large, too slow, damaged or mistaken: a status, a sentence, and a service that goes on."""

import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import pytest

from dns.serve import connection, upload
from tests.support.png_files import SIGNATURE, chunk, png
from tests.support.refusals import assert_tells
from tests.support.served import LOOPBACK, Response, Served, response_of

LIMIT = 1_000_000  # of the service under test
HEADER = b"POST /search?modality=infrared HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(autouse=True)
def _goes_on(served: Served, photo: bytes) -> Iterator[None]:
    """After each of these tests the service still answers."""
    yield
    assert served.search(photo).status == 200


def raw(served: Served, *parts: bytes) -> Response:
    """Send these bytes, one part after another, and read the response while the connection stays open."""
    with socket.create_connection((LOOPBACK, served.port), timeout=30) as sock:
        for part in parts:
            sock.sendall(part)
        response = HTTPResponse(sock)
        response.begin()
        return response_of(response)


def test_a_large_body_without_a_length_is_counted_as_it_comes(served: Served) -> None:
    sent = []

    def blocks() -> Iterator[bytes]:
        for _ in range(30):
            sent.append(1)
            yield bytes(100_000)

    found = served.ask("POST", "/search?modality=infrared", blocks())
    assert found.status == 413
    assert_tells(found.error, "1,000,000 bytes")
    assert len(sent) > 10


@pytest.mark.parametrize("length", [LIMIT + 1, 10**18])
def test_a_large_length_is_refused_before_anything_is_sent(length: int, served: Served) -> None:
    begin = time.monotonic()
    found = raw(served, HEADER + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
    assert found.status == 413
    assert time.monotonic() - begin < 1


def test_an_image_of_the_largest_size_is_read(served: Served, photo: bytes) -> None:
    """PNG ends with its last chunk, so what stands behind it is ignored."""
    assert served.search(photo + bytes(LIMIT - len(photo))).status == 200
    assert served.search(photo + bytes(LIMIT - len(photo) + 1)).status == 413


def header_of(wide: int, high: int) -> bytes:
    return chunk(b"IHDR", wide.to_bytes(4, "big") + high.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0]))


def bombs() -> dict[str, bytes]:
    """Small files that ask for much memory."""
    zeros = zlib.compress(bytes(100_000_000))
    end = chunk(b"IEND", b"")
    text = png(np.zeros((40, 20, 3), int), 2, 8, chunk(b"zTXt", b"note\0\0" + zeros))
    profile = png(np.zeros((40, 20, 3), int), 2, 8, chunk(b"iCCP", b"profile\0\0" + zeros))
    return {
        "200 megapixels": SIGNATURE + header_of(20_000, 10_000) + chunk(b"IDAT", zlib.compress(b"")) + end,
        "a side of 2 billion": SIGNATURE + header_of(2**31 - 1, 1) + chunk(b"IDAT", b"") + end,
        "text": text,
        "profile": profile,
        "more rows than it has": SIGNATURE + header_of(20, 40) + chunk(b"IDAT", zeros) + end,
    }


def test_a_bomb_is_refused_or_defused(served: Served) -> None:
    """In little memory: what is compressed is not unpacked beyond the pixels of the image."""
    for content in bombs().values():  # a network's first images take memory that it keeps
        served.search(content)
    for name, content in bombs().items():
        assert len(content) < LIMIT, name
        peak_kb()
        before_kb = peak_kb()
        found = served.search(content)
        if name in ("200 megapixels", "a side of 2 billion"):
            assert found.status == 400, name
            assert_tells(found.error, "the image", "pixels")
        else:
            assert found.status in (200, 400), name
        assert peak_kb() - before_kb < 80_000, name


def peak_kb() -> int:
    """Return the most memory that this process has had since the last call."""
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    Path("/proc/self/clear_refs").write_text("5")  # begins again from what it has now
    return peak


BODIES = {
    "empty": b"", "text": b"no image", "a cut PNG": SIGNATURE + header_of(20, 40), "PostScript": b"%!PS-Adobe-3.0 EPSF",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_image_gets_a_sentence(name: str, served: Served) -> None:
    found = served.search(BODIES[name])
    assert found.status == 400
    assert found.error.startswith(("the image: ", "the body is empty"))


def test_a_form_is_told_what_to_send_instead(served: Served, photo: bytes) -> None:
    found = served.ask("POST", "/search?modality=infrared", photo, content_type="multipart/form-data; boundary=b")
    assert found.status == 415
    assert_tells(found.error, "--data-binary")


def test_a_slow_client_is_cut_off(served: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "UPLOAD_S", 0.2)
    found = raw(served, HEADER + b"Content-Length: 1000\r\n\r\n", photo[:500])
    assert found.status == 408
    assert_tells(found.error, "0.2 s")
    assert found.headers["connection"] == "close"


def test_a_client_that_never_ends_its_header_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_S", 0.3)
    with socket.create_connection((LOOPBACK, served.port), timeout=30) as sock:
        begin = time.monotonic()
        for letter in (b"P", b"O", b"S"):
            sock.sendall(letter)
            time.sleep(0.05)
        assert sock.recv(1) == b""  # closed
        assert 0.2 < time.monotonic() - begin < 5


@contextmanager
def small_buffer(served: Served) -> Iterator[socket.socket]:
    """A connection whose system takes few bytes that are not read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((LOOPBACK, served.port))
        sock.settimeout(30)
        yield sock


def enough(served: Served, size: int) -> tuple[bytes, int]:
    """Requests one after another, and the bytes in the bodies of their answers: about `size`."""
    own = len(served.ask("GET", "/main.js").body)
    return b"GET /main.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * (size // own), size // own * own


def test_a_client_that_reads_no_answer_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for more than the buffers of the system hold, which is some megabytes."""
    monkeypatch.setattr(connection, "READ_S", 0.3)
    with small_buffer(served) as sock:
        asked, total = enough(served, 20_000_000)
        with suppress(ConnectionError):
            sock.sendall(asked)
        time.sleep(1)
        read = 0
        with suppress(ConnectionError):
            while content := sock.recv(1 << 20):
                read += len(content)
    assert read < total / 2


def test_a_client_that_reads_slowly_gets_all(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """For many times as long as a client may read nothing."""
    monkeypatch.setattr(connection, "READ_S", 0.3)
    with small_buffer(served) as sock:
        asked, total = enough(served, 5_000_000)
        asking = threading.Thread(target=sock.sendall, args=(asked,))  # waits itself, for nobody reads it all
        asking.start()
        read, begin = 0, time.monotonic()
        while read < total:
            content = sock.recv(1 << 17)
            assert content, f"cut off after {read} bytes"
            read += len(content)
            time.sleep(0.01)
        asking.join()
    assert time.monotonic() - begin > 3 * 0.3


def test_a_client_that_goes_away_leaves_its_place(
    served: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dns.serve.app.WAITING", 1)
    for _ in range(3):
        with socket.create_connection((LOOPBACK, served.port), timeout=30) as sock:
            sock.sendall(HEADER + b"Content-Length: 1000\r\n\r\n" + photo[:500])
        time.sleep(0.05)
    deadline = time.monotonic() + 10
    while (found := served.search(photo)).status == 503:
        assert time.monotonic() < deadline
    assert found.status == 200


MISTAKES = {
    "modality=thermal": ("modality", "thermal", "infrared"),
    "": ("modality",),
    "modality=infrared&camera=1": ("camera", "cameras"),
    "modality=infrared&cameras=cam1&cameras=cam2": ("cameras", "twice"),
    "modality=infrared&cameras=cam77": ("cameras", "cam77", "cam1"),
    "modality=sketch": ("sketch", "infrared"),
    "modality=infrared&hits=0": ("hits", "0"),
    "modality=infrared&hits=100000": ("hits", "100,000", "1,000"),
    "modality=infrared&hits=many": ("hits", "many"),
    "modality=infrared&fpir=2": ("fpir", "2"),
    "modality=infrared&since=yesterday": ("since", "yesterday", "ISO 8601"),
    "modality=infrared&since=2026-03-03&until=2026-03-02": ("until", "since"),
    "modality=infrared&box=1,2,3": ("box", "1,2,3"),
    "modality=infrared&box=1000,1000,5,5": ("box",),
    "modality=infrared&help": ("help",),
    "modality=infrared&rows=": ("rows",),
}


@pytest.mark.parametrize("asked", MISTAKES)
def test_a_mistake_is_named_as_it_was_typed(asked: str, served: Served, photo: bytes) -> None:
    found = served.ask("POST", f"/search?{asked}", photo)
    assert found.status == 400
    assert "--" not in found.error
    for part in MISTAKES[asked]:
        assert part in found.error


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/search", 405), ("GET", "/docs", 404), ("PUT", "/", 405)]
)
def test_an_address_that_does_not_exist_gets_a_sentence(method: str, path: str, status: int, served: Served) -> None:
    found = served.ask(method, path)
    assert found.status == status
    assert_tells(found.error, "/search")
