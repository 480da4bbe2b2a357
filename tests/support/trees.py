"""Makes folders of data sets: empty files where only names matter; the numbers of what conftest.py draws."""

from pathlib import Path
from typing import Any

DRAWN: dict[str, Any] = {
    "train_identities": 4, "test_identities": 2, "train_images": 2, "test_images": 1, "height_px": 64,
}  # fmt: skip


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(root: Path, name: str, text: str | bytes | None) -> None:
    """Write the file `name` with this text; None removes the file."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
