"""Reads files of tensors, from torch.save, torch.jit.save and safetensors: as data and never as code, whole or not at
all."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns import ranks
from dns.training import torchscript_reader
from ffcv_convert.common.errors import CheckpointError

FETCH_AGAIN = "Get the file again from where it was made"


class _Placeholder:
    """Stands for what nobody needs, while unpickling: numpy's dtype and ndarray, whose own constructors are unsafe on
    files from elsewhere (numpy's numbers are read), and argparse's Namespace, which holds a command line."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        pass


def _number(kind: _Placeholder, content: bytes) -> Any:
    return np.frombuffer(content, str(kind.arguments[0]), count=1)[0].item()


# These stand under the names of numpy 2 and of numpy 1.
_ALLOWED: list[Any] = [
    (_Placeholder, "numpy.dtype"),
    (_Placeholder, "numpy.ndarray"),
    (_Placeholder, "argparse.Namespace"),
    *(
        (function, f"{module}.multiarray.{name}")
        for function, name in ((_number, "scalar"), (_Placeholder, "_reconstruct"))
        for module in ("numpy._core", "numpy.core")
    ),
]


def read(path: Path) -> Any:
    """Read what torch.save wrote: tensors, plain values, numpy's numbers as plain ones; never code. Or the tensors of a
    TorchScript archive or of a safetensors file.

    Raises CheckpointError.
    """
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        content = torchscript_reader.read(path) if torchscript_reader.is_archive(path) else _read_saved(path)
        for name, tensor in _tensors(content):
            if not _stored_whole(tensor):
                raise CheckpointError(f"{path}: damaged ({name} claims to hold more than is stored). {FETCH_AGAIN}")
        return content
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such checkpoint. Train first (make train DATASET=...), or name one that exists"
        ) from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: a folder. Name a file in it, such as {path / 'best.pt'}") from None
    except Exception as error:  # torch.load raises pickle, zip, runtime, type and attribute errors alike
        code = re.search(r"\bGLOBAL (\S+)", str(error))
        if code:
            raise CheckpointError(
                f"{path}: holds code or objects ({code[1]}), not numbers alone; none of it was run. "
                f"{FETCH_AGAIN}, or, if you trust it, save its tensors alone with torch.load(..., weights_only=False)"
            ) from None
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}): cut short, damaged, or another kind of file. "
            f"{FETCH_AGAIN}"
        ) from None


def _read_saved(path: Path) -> Any:
    _check_sums(path)
    with torch.serialization.safe_globals(_ALLOWED):
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins with the length of a JSON object, and that object."""
    with open(path, "rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return len(start) == 9 and start[8:] == b"{" and length < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if find_spec("safetensors") is None:
        raise CheckpointError(
            f"{path}: a safetensors file, which needs a library that is not installed here: .venv/bin/pip install "
            "'.[safetensors]'"
        )
    from safetensors.torch import load_file  # not above: it is an extra

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ranks.note(f"{path}: safetensors have no checksums. Its SHA-256 is {digest}: is it its publisher's?")
    return load_file(path)


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors and their names, in containers of any kind; in a hostile file a container may hold itself."""
    seen: dict[int, Any] = {}
    waiting = [("its content", content)]
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict):
            waiting += [(key if isinstance(key, str) else name, part) for key, part in value.items()]
        elif isinstance(value, (list, tuple, set)):
            waiting += [(name, part) for part in value]


def _stored_whole(tensor: Tensor) -> bool:
    """Whether the storage holds as much as the shape claims: with strides of 0 a small file may claim any size."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _check_sums(path: Path) -> None:
    """Compare the file with its checksums: torch.load accepts a flipped bit silently. Takes a second per 2 GB.

    Compressed members are refused: torch.save writes none, and a small file could unpack to any size. Files from before
    PyTorch 1.6 are no archives and have no checksums; torchvision's have one in their names.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise zipfile.BadZipFile("packed")
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)
    elif named := re.search(r"-([0-9a-f]{8,64})\.pth$", path.name):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(named[1]):
            raise CheckpointError(f"{path}: fails the checksum in its name: cut short or damaged. {FETCH_AGAIN}")
    elif path.read_bytes()[:1] == b"\x80":
        raise CheckpointError(
            f"{path}: written before PyTorch 1.6, or in its format, which has no checksums: damage would go unseen. If "
            "you know it to be whole, write it again: torch.save(torch.load(OLD, weights_only=True), NEW)"
        )
