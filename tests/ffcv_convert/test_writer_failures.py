"""A failed conversion leaves nothing behind and keeps older files; two at once do not disturb each other."""

import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert import writer
from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.images import Encoded, ImageFormat, encode
from ffcv_convert.records import Record
from ffcv_convert.writer import BetonJob, write_betons
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

IMAGES = 24
BAD = 17
FORMAT = ImageFormat(32, 16)


def image(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 20, 3), dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of small JPEG images: 0.jpg, 1.jpg, ..."""
    for number in range(IMAGES):
        image(number).save(tmp_path / f"{number}.jpg", quality=90)
    return tmp_path


def write(root: Path) -> None:
    records = [Record(f"{number}.jpg", number, 1, Modality.INFRARED, "test") for number in range(IMAGES)]
    write_betons([BetonJob(root / "beton" / "test.beton", "made-up", "test", records)], root, FORMAT, workers=2)


def left(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "beton").glob("*")}


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (head, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def sixteen_bits() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 20), 5000, np.uint16)).save(file, "PNG")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    image(BAD).save(file, "JPEG", quality=90)
    return file.getvalue()


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda p: p.write_bytes(np.random.default_rng(0).bytes(900)), "decoded"),
    "garbage behind a good head": (lambda p: p.write_bytes(jpeg()[:300] + bytes(600)), "decoded"),
    "truncated": (lambda p: p.write_bytes(jpeg()[:-200]), "decoded"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "text": (lambda p: p.write_text("<html>404</html>"), "decoded"),
    "many pixels": (lambda p: p.write_bytes(png_of(5001, 5000)), "5001 x 5000 pixels"),
    "just not too many": (lambda p: p.write_bytes(png_of(5000, 5000)), "decoded"),
    "a long side": (lambda p: p.write_bytes(png_of(16_385, 9)), "16385 x 9 pixels"),
    "just not too long": (lambda p: p.write_bytes(png_of(9, 16_384)), "decoded"),
    "bomb": (lambda p: p.write_bytes(png_of(60000, 60000)), "exceeds limit"),
    "a large file": (lambda p: os.truncate(p, (1 << 27) + 1), "134217729 bytes"),
    "sixteen bits": (lambda p: p.write_bytes(sixteen_bits()), "8 bits"),
    "vanished": (lambda p: p.unlink(), "not found"),
    "folder": (lambda p: (p.unlink(), p.mkdir()), "decoded"),
    "pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "empty"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_image_that_fails_leaves_nothing_and_keeps_the_older_pair(root: Path, name: str) -> None:
    damage, told = DAMAGED[name]
    file = root / f"{BAD}.jpg"
    good = file.read_bytes()
    damage(file)
    with refusal(DataError, file, told):
        write(root)
    assert left(root) == {}

    file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
    file.write_bytes(good)
    write(root)
    older = left(root)
    assert set(older) == {"test.beton", "test.json", "test.sources"}
    damage(file)
    with refusal(DataError, file, told):
        write(root)
    assert left(root) == older


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
@pytest.mark.parametrize("where", ["encode", "_write_tables", "_sha256", "publish"])
def test_a_stop_in_the_middle_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], where: str
) -> None:
    write(root)
    older = left(root)

    def stop(*arguments: object) -> Encoded:
        if where == "encode" and arguments[0] != root / f"{BAD}.jpg":
            return encode(root / "0.jpg", FORMAT)
        raise error

    monkeypatch.setattr(writer, where, stop)
    with pytest.raises(error):
        write(root)
    assert left(root) == older


def test_a_stop_between_file_and_manifest_leaves_a_pair_that_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root)
    image(99).save(root / "3.jpg")

    replace = os.replace

    def first_only(partial: Path, path: Path) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        replace(partial, path)

    monkeypatch.setattr(os, "replace", first_only)
    with pytest.raises(KeyboardInterrupt):
        write(root)
    assert set(left(root)) == {"test.beton", "test.json", "test.sources"}
    monkeypatch.undo()
    with refusal(DataError, root / "beton" / "test.beton", "sample 3", "3.jpg"):
        open_beton(root / "beton" / "test.beton")
    write(root)
    assert len(open_beton(root / "beton" / "test.beton")) == IMAGES


@pytest.mark.parametrize("name", ["test.beton.partial", "test.json.partial"])
def test_the_second_of_two_writers_is_refused(root: Path, name: str) -> None:
    write(root)
    older = left(root)
    with open(root / "beton" / name, "wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        first.write(b"half")
        first.flush()
        with refusal(DataError, root / "beton" / name, "another process"):
            write(root)
        assert left(root) == {**older, name: b"half"}
    write(root)
    assert left(root) == older


HALF_A_WRITER = """
import sys, time, pathlib
from ffcv_convert.common.atomic import replacing
with replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(bytes(1 << 23))
    file.flush()
    print("on", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_taken_over(root: Path) -> None:
    """The leftover is longer than the new file, so any remains would show."""
    write(root)
    expected = left(root)
    (root / "beton" / "test.beton").unlink()
    command = [sys.executable, "-c", HALF_A_WRITER, str(root / "beton" / "test.beton")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout is not None
    process.stdout.readline()
    with refusal(DataError, root / "beton" / "test.beton.partial", "another process"):
        write(root)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert left(root)["test.beton.partial"] == bytes(1 << 23)
    write(root)
    assert left(root) == expected


@pytest.mark.parametrize("precious", [b"mine", None])
def test_a_link_in_the_place_of_a_partial_file_is_not_followed(root: Path, precious: bytes | None) -> None:
    (root / "beton").mkdir()
    if precious:
        (root / "precious").write_bytes(precious)
    (root / "beton" / "test.beton.partial").symlink_to(root / "precious")
    with refusal(DataError, root / "beton" / "test.beton.partial", "link"):
        write(root)
    assert (root / "precious").exists() == bool(precious)
    assert not precious or (root / "precious").read_bytes() == precious
    assert os.listdir(root / "beton") == ["test.beton.partial"]


def test_nothing_gets_its_name_before_all_is_on_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a disk that fills up in between would leave the new .beton with the older manifest."""
    write(root)
    older = left(root)
    image(99).save(root / "3.jpg")
    calls, fsync = [], os.fsync

    def failing(descriptor: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if calls[-1].endswith(".json.partial"):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with refusal(DataError, root / "beton" / "test.json", "No space left"):
        write(root)
    assert left(root) == older
    assert [os.path.basename(path) for path in calls] == ["test.beton.partial"] * 2 + ["test.json.partial"]


def test_the_first_error_ends_the_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed image, no thread reads further images."""
    read = []

    def counted(path: Path, image_format: ImageFormat) -> Encoded:
        read.append(path)
        time.sleep(0.05)
        raise DataError(f"{path}: bad")

    monkeypatch.setattr(writer, "encode", counted)
    with refusal(DataError, root / "0.jpg", "bad"):
        write(root)
    assert len(read) < 9  # as many are waiting when the first result is asked for
