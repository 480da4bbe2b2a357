"""Reads the tensors of a TorchScript archive, which torch.jit.save writes: as data; its code is neither parsed nor run.

NAME/data.pkl in the archive is a pickle of the module: objects of classes `__torch__...`, their attributes, and tensors
whose numbers are in NAME/data/. Of these objects the attributes are read, of tensors their numbers; anything else in
the pickle is refused. The rest of the archive, code and the code's constants, stays closed.
"""

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LONGEST_NAME = 1000  # characters; in a hostile file a million tensors may share a beginning of a million
_LARGEST_PICKLE = 1 << 24  # bytes; CLIP's take a tenth of a million, and an empty set makes 200 bytes of one


class _Object:
    """An object of the archive: its attributes by name, or None where it has none."""

    attributes: Any = None

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes


class _Storage(NamedTuple):
    """A row of numbers. name: of its file in data/."""

    dtype: torch.dtype
    name: str


class _Stored(NamedTuple):
    """What the pickle says of a tensor, see Tensor.as_strided."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Unpickles data.pkl. A hostile pickle may set attributes of what it gets here: they are refused or never read."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Object
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if module == "torch.jit._pickle":  # says the type of a list: build_intlist, restore_type_tag
            return self._value
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("collections", "OrderedDict"):  # of a tensor's hooks, of which there are none
            return dict
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    def persistent_load(self, identifier: Any) -> _Storage:
        _, dtype, name, _, _ = identifier  # storage, type, name, device, how many numbers
        if not isinstance(dtype, torch.dtype) or not isinstance(name, str):
            raise pickle.UnpicklingError("a storage without the type of its numbers, or the name of its file")
        return _Storage(dtype, name)

    def _value(self, value: Any, *_: Any) -> Any:
        return value

    def _tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> _Stored:
        return _Stored(storage, offset, size, stride)


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _root(archive) is not None


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an archive by the names that state_dict() of its module has for them, and those that are no
    parameters and no buffers. A module that stands at two places is listed at one of them.

    Raises UnpicklingError where it holds other objects, and what zipfile, pickle and torch raise where it is damaged:
    reading a member compares it with its checksum.
    """
    with zipfile.ZipFile(path) as archive:
        root = _root(archive)
        _check_sizes(archive, f"{root}/data", path)
        if archive.getinfo(f"{root}/data.pkl").file_size > _LARGEST_PICKLE:
            raise pickle.UnpicklingError(f"a pickle of more than {_LARGEST_PICKLE} bytes")
        pickled = archive.read(f"{root}/data.pkl")
        _check_places(pickled)
        stored = _named(_Unpickler(io.BytesIO(pickled)).load(), 10 * len(pickled))
        storages = {one.storage for one in stored.values()}
        held = {name: bytearray(archive.read(f"{root}/data/{name}")) for name in {one.name for one in storages}}
        rows = {one: _numbers(held[one.name], one.dtype) for one in storages}
    # as_strided raises where the row does not hold what the pickle says
    return {name: rows[one.storage].as_strided(one.size, one.stride, one.offset) for name, one in stored.items()}


def _root(archive: zipfile.ZipFile) -> str | None:
    ends = "/constants.pkl"
    return next((name.removesuffix(ends) for name in archive.namelist() if name.endswith(ends)), None)


def _check_sizes(archive: zipfile.ZipFile, begin: str, path: Path) -> None:
    """Raise BadZipFile where the members to read are larger than the file: torch compresses code, never tensors, and a
    small file could unpack to any size."""
    if sum(one.file_size for one in archive.infolist() if one.filename.startswith(begin)) > path.stat().st_size:
        raise zipfile.BadZipFile("packed")


def _check_places(pickled: bytes) -> None:
    """Raise UnpicklingError where the pickle counts more objects than it has bytes: pickle makes a table of so many."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(pickled):
            raise pickle.UnpicklingError(f"object {argument} of a pickle of {len(pickled)} bytes")


def _named(module: _Object, most: int) -> dict[str, _Stored]:
    """Return the tensors below a module by their names. Raises UnpicklingError where these have more than `most`
    characters: objects of a hostile file may share their attributes, so that a name takes no bytes of it."""
    found: dict[str, _Stored] = {}
    characters = 0
    seen: set[int] = set()  # in a hostile file an object may hold itself
    waiting = [("", module)]
    while waiting:
        prefix, one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for attribute, value in (one.attributes or {}).items():
            if not isinstance(attribute, str) or len(prefix) + len(attribute) > _LONGEST_NAME:
                raise pickle.UnpicklingError(f"a name that is no text of up to {_LONGEST_NAME} characters")
            name = f"{prefix}{attribute}"
            if isinstance(value, _Stored):
                found[name] = value
                characters += len(name)
                if characters > most:
                    raise pickle.UnpicklingError(f"names of more than {most} characters")
            elif isinstance(value, _Object):
                waiting.append((f"{name}.", value))
    return found


def _numbers(content: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
