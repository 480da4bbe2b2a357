"""TorchScript archives, read as data: the tensors are those of torch.jit.load; hostile and damaged ones are refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dns.training.checkpoint_reader import read
from ffcv_convert.common.errors import CheckpointError
from tests.support.refusals import refusal

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated


class Whole(nn.Module):
    """As nested as CLIP, with what else a module may hold: lists, numbers, text, a tensor without numbers, one tensor
    under two names, a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Sequential(nn.Conv2d(4, 4, 1).half(), nn.ReLU())
        )
        self.text = nn.Embedding(5, 4).to(torch.bfloat16)
        self.scale = nn.Parameter(torch.tensor(2.5, dtype=torch.float64))
        self.tied = self.visual[0][0].bias
        self.turned = nn.Parameter(torch.randn(3, 5).T)
        self.register_buffer("rows", torch.arange(6).view(2, 3)[:, 1:])
        self.register_buffer("nothing", torch.empty(0, 3))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.sizes, self.lists, self.name, self.factor = [1, 2], [[1.5], [2.5]], "whole", 0.5

    def forward(self, images: Tensor) -> Tensor:
        return self.visual[0](images) * self.factor * self.lists[0][0] + self.sizes[1]


def saved(made: Callable[[nn.Module], torch.jit.ScriptModule], path: Path) -> Path:
    torch.jit.save(made(Whole().eval()), path)
    return path


MADE = {
    "scripted": torch.jit.script,
    "traced": lambda module: torch.jit.trace(module, torch.ones(1, 3, 8, 8)),
}


@pytest.mark.parametrize("how", MADE)
def test_the_tensors_are_those_of_torch(how: str, tmp_path: Path) -> None:
    found, wanted = read(saved(MADE[how], tmp_path / "a.pt")), torch.jit.load(tmp_path / "a.pt").state_dict()
    assert found.keys() == wanted.keys() >= {"visual.1.0.weight", "tied", "turned", "nothing"}
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def changed(path: Path, change: Callable[[str, bytes], bytes], *, compressed: bool = False) -> Path:
    """Write an archive again, with sound checksums. change: what a member of this name and content becomes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))
    return path


def test_code_is_neither_parsed_nor_run(tmp_path: Path) -> None:
    path = saved(torch.jit.script, tmp_path / "a.pt")
    wanted = torch.jit.load(path).state_dict()
    changed(path, lambda name, content: b"raise SystemExit" if "/code/" in name or "constants" in name else content)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in read(path).items())
    with pytest.raises(RuntimeError):
        torch.jit.load(path)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"


def tensor(
    size: int, stride: int = 1, storage: bytes = text("0"), offset: int = 0, kind: bytes = b"ctorch\nFloatStorage\n"
) -> bytes:
    held = b"(" + text("storage") + kind + storage + text("cpu") + numbers(1) + b"tQ"
    where = b"J" + offset.to_bytes(4, "little", signed=True) + numbers(size) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + held + where + b"\x89ccollections\nOrderedDict\n)RtR"


def module(*attributes: tuple[str, bytes]) -> bytes:
    return b"c__torch__.M\nM\n)\x81}(" + b"".join(text(name) + value for name, value in attributes) + b"ub"


def nested(depth: int) -> bytes:
    """A chain of modules, a tensor at its end."""
    return b"".join(b"c__torch__.M\nM\n)\x81}" + text("inner") for _ in range(depth)) + tensor(2) + b"sb" * depth


def archive(path: Path, content: bytes, held: bytes = bytes(8)) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, member in (("data.pkl", b"\x80\x02" + content + b"."), ("data/0", held), ("constants.pkl", b"")):
            made.writestr(f"a/{name}", member)
    return path


def test_the_handmade_archives_below_are_sound(tmp_path: Path) -> None:
    content = module(("a", module(("b", tensor(2)))), ("c", tensor(1, offset=1)))
    found = read(archive(tmp_path / "a.pt", content, torch.tensor([1.0, 2.0]).numpy().tobytes()))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a.b": [1, 2], "c": [2]}


SYSTEM = b"cos\nsystem\n" + text("touch ran") + b"\x85R"


def shared(objects: int, tensors: int) -> bytes:
    """A module of modules that share one dict of attributes, which stands in the memo at 0."""
    names = b"".join(text(f"t{n}") + b"h\x01" for n in range(tensors))
    attributes = tensor(2) + b"q\x010" + b"}q\x00(" + names + b"u0"
    inner = b"c__torch__.M\nM\n)\x81h\x00b"
    return attributes + module(*((f"m{n}", inner) for n in range(objects)))


HOSTILE = {
    "code": (module(("a", SYSTEM)), "os.system"),
    "code in place of a module": (SYSTEM, "os.system"),
    "another function of torch": (module(("a", b"ctorch.hub\nload\n)R")), "torch.hub.load"),
    "numbers beyond the storage": (module(("a", tensor(3))), "RuntimeError"),
    "numbers before the storage": (module(("a", tensor(1, offset=-1))), "RuntimeError"),
    "one number stored for a million": (module(("a", tensor(10**6, stride=0))), "a"),
    "no such storage": (module(("a", tensor(1, storage=text("1")))), "KeyError"),
    "a storage outside": (module(("a", tensor(1, storage=text("../../../etc/passwd")))), "KeyError"),
    "attributes that all modules share": (shared(300, 300), "UnpicklingError"),
    "a name that is no text": (
        module(("x", b"N")).replace(text("x"), text("y" * 10**4) + b"q\x000(" + b"h\x00" * 9 + b"t"),
        "UnpicklingError",
    ),
    "a storage of no type": (module(("a", tensor(1, kind=b")" + b"\x85" * 10**6))), "UnpicklingError"),
    "a storage without a name": (module(("a", tensor(1, storage=b"N"))), "UnpicklingError"),
    "a table of 4 billion objects": (b"Nr\xff\xff\xff\xff0" + module(), "UnpicklingError"),
    "a tensor alone": (tensor(2), "AttributeError"),
    "cut short": (module()[:-1], "AttributeError"),
    "a long way down": (nested(1000), "UnpicklingError"),
    "a changed class": (b"c__torch__.M\nM\nN}" + text("attributes") + b"Ns\x86b", "TypeError"),
    "a changed function": (b"ctorch.jit._pickle\nbuild_intlist\nN}" + text("a") + b"Ns\x86b", "AttributeError"),
    "a changed tensor": (module(("a", tensor(2) + b"N}" + text("offset") + b"Ns\x86b")), "AttributeError"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, says = HOSTILE[what]
    with refusal(CheckpointError, path := archive(tmp_path / "a.pt", content), says):
        read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_module_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    """Its memo's object 0."""
    itself = b"c__torch__.M\nM\n)\x81q\x00}(" + text("again") + b"h\x00" + text("a") + tensor(2) + b"ub"
    assert list(read(archive(tmp_path / "a.pt", itself))) == ["a"]


def test_a_flipped_bit_of_a_tensor_is_found(tmp_path: Path) -> None:
    content = bytes(range(64))
    path = archive(tmp_path / "a.pt", module(("a", tensor(16))), content)
    packed = bytearray(path.read_bytes())
    packed[packed.index(content) + 5] ^= 1
    path.write_bytes(packed)
    with refusal(CheckpointError, path, "BadZipFile"):
        read(path)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", module(("a", tensor(10**6))), bytes(4 * 10**6))
    changed(path, lambda _, content: content, compressed=True)
    assert path.stat().st_size < 10**5
    with refusal(CheckpointError, path, "BadZipFile"):
        read(path)
