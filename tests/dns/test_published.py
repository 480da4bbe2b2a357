"""Published checkpoints: read with numpy's numbers beside the tensors, under both numpys' names, and never as code."""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dns import published
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.training import checkpoint
from dns.training.checkpoint import load_model, load_to_test
from ffcv_convert.common.errors import CheckpointError
from tests.support import goldens
from tests.support.goldens import relative_error, tensor
from tests.support.refusals import refusal

pytestmark = pytest.mark.numerical


def layout(net: Mapping[Any, Any], **others: object) -> dict[str, Any]:
    """What the published code saves."""
    return {
        "net": net, "cmc": np.linspace(0.5, 1, 20), "mAP": np.float64(0.61), "mINP": np.float32(0.5), "epoch": 57,
        **others,
    }  # fmt: skip


def as_numpy_1(source: Path, target: Path) -> Path:
    """The same file as numpy 1 would have written it: its private module was numpy.core."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert content.count(b"cnumpy._core.multiarray\n") >= 2
                content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            new.writestr(entry.filename, content)
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The goldens' network (270 MB) as saved under numpy 2 and under numpy 1; removed afterwards."""
    folder = tmp_path_factory.mktemp("published")
    new = folder / "llcm_p6_n4_lr_0.2_seed_0_best.pth"
    torch.save(layout(goldens.published_net(), epoch=np.int64(57)), new)
    found = {"numpy 2": new, "numpy 1": as_numpy_1(new, folder / "llcm_p6_n4_lr_0.2_seed_1_best.pth")}
    yield found
    for path in found.values():
        path.unlink()


@pytest.mark.parametrize("writer", ["numpy 2", "numpy 1"])
def test_a_published_file_gives_the_published_embeddings(files: dict[str, Path], writer: str) -> None:
    content = load_to_test(files[writer])
    assert (content["epoch"], type(content["epoch"]), content["config"]) == (57, int, {"model": {"method": "dns"}})
    model = DNS(12, ModelOptions(), LossOptions())
    load_model(model, content["model"], files[writer])
    golden = goldens.arrays("model_float64.npz")
    for modality in ("visible", "infrared"):
        with torch.inference_mode():
            z, bn = model.eval().embed(tensor(golden[f"x_{modality}"]), visible=modality == "visible")
        assert relative_error(z, golden[f"eval_{modality}_pooled"]) < 1e-4
        assert relative_error(bn, golden[f"eval_{modality}_embedding"]) < 1e-4


def test_the_goldens_have_the_published_size() -> None:
    assert len(goldens.published_net()) == 632


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """A ResNet-18's tensors in the published names."""
    back = {ours: name for name, ours in published.NAMES.items()}
    net = {}
    for name, value in DNS(4, ModelOptions(architecture="resnet18"), LossOptions()).state_dict().items():
        prefix = next(ours for ours in back if name.startswith(ours) and (ours[-1] == "." or name == ours))
        net[back[prefix] + name[len(prefix) :]] = value
    return net


def load_into_model(path: Path) -> None:
    load_model(DNS(4, ModelOptions(architecture="resnet18"), LossOptions()), load_to_test(path)["model"], path)


@pytest.mark.parametrize("epoch", [3, np.int64(3), np.int32(3), torch.tensor(3)])
def test_numbers_of_all_kinds_are_read(tmp_path: Path, small: dict[str, Tensor], epoch: object) -> None:
    path = tmp_path / "small.pth"
    torch.save(layout(small, epoch=epoch, mAP=np.float16(1), flags=np.zeros(3, bool), large=np.longdouble(1)), path)
    assert load_to_test(path)["epoch"] == load_to_test(as_numpy_1(path, tmp_path / "1.pth"))["epoch"] == 3
    load_into_model(path)


def test_what_nothing_uses_is_left_out(tmp_path: Path, small: dict[str, Tensor]) -> None:
    unused = ("base.base.layer1.0.conv1.weight", "visible.visible.bn1.num_batches_tracked", "thermal.thermal.fc.weight")
    torch.save(layout(small | {name: torch.zeros(1) for name in unused}), tmp_path / "more.pth")
    load_into_model(tmp_path / "more.pth")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base.extra.weight": torch.zeros(1)}, ["base.extra.weight"]),
        ({"classifier.extra": torch.zeros(1)}, ["classifier.extra and 0 other"]),
        ({"bottleneck.weight": torch.zeros(7)}, ["neck.weight and 0 other"]),
        ({"bottleneck.weight": None}, ["neck.weight and 0 other"]),
        ({"bottleneck.weight": np.ones(512, np.float32)}, ["neck.weight and 0 other"]),
        ({"classifier.weight": torch.zeros(9, 512)}, ["9 training identities", 4]),
        ({5: torch.zeros(1)}, [5]),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, small: dict[str, Tensor], change: dict, told: list[object]) -> None:
    path = tmp_path / "other.pth"
    torch.save(layout(small | change), path)
    with refusal(CheckpointError, path, *told):
        load_into_model(path)


def test_a_missing_tensor_is_refused(tmp_path: Path, small: dict[str, Tensor]) -> None:
    path = tmp_path / "less.pth"
    torch.save(layout({name: value for name, value in small.items() if name != "base.HSS3.conv_h.weight"}), path)
    with refusal(CheckpointError, path, "hss3.expand_height.weight and 0 other"):
        load_into_model(path)


NET = {"classifier.weight": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({k: v for k, v in layout(NET).items() if k != "epoch"}, "epoch"),
        (layout(NET, epoch=np.float64(3.5)), "epoch"),
        (layout(NET, epoch="3"), "epoch"),
        (layout(NET, epoch=np.arange(3)), "epoch"),
        ({"net": [1, 2], "epoch": 3}, "not a checkpoint"),
        (NET, "not a checkpoint"),
        ([1, 2], "not a checkpoint"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, word: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with refusal(CheckpointError, tmp_path / "other.pth", word):
        load_to_test(tmp_path / "other.pth")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "short.pth"
    torch.save(layout({"classifier.weight": torch.zeros(300, 30)}), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with refusal(CheckpointError, path, "readable"):
        load_to_test(path)


@pytest.mark.parametrize("text", ["", "epoch 3, rank-1 77\n", "<!DOCTYPE html>\n", "version https://git-lfs\n"])
def test_a_text_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.pth"
    path.write_text(text)
    with refusal(CheckpointError, path, "readable"):
        load_to_test(path)


class Reduced:
    """Whatever is to be called when the file is read."""

    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


CODE = Reduced(os.system, ("touch executed",))


@pytest.mark.parametrize(
    "evil",
    [
        {"cmc": CODE},
        {"net": {"classifier.weight": CODE}},
        {"cmc": np.array([CODE, 1], dtype=object)},
        {"epoch": np.array(CODE, dtype=object)},
    ],
)
@pytest.mark.parametrize("load", [load_to_test, checkpoint.load])
def test_code_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: dict[str, object], load: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(layout(NET) | evil, "evil.pth")
    with refusal(CheckpointError, "evil.pth", f"{os.name}.system"):
        load(Path("evil.pth"))
    assert not Path("executed").exists()


@pytest.mark.parametrize("kind", ["O", np.dtype("O")])
def test_numpy_is_not_made_to_read_an_address_from_the_file(tmp_path: Path, kind: object) -> None:
    """np.ndarray((1,), object, bytes) takes the bytes for a pointer: looking at it ends the program."""
    pointers = Reduced(np.ndarray, ((1,), kind, b"A" * 8))
    torch.save(layout(NET, cmc=Reduced(OrderedDict, (pointers,))), tmp_path / "evil.pth")
    with refusal(CheckpointError, tmp_path / "evil.pth", "readable"):
        load_to_test(tmp_path / "evil.pth")
    number = Reduced(np.float64(0).__reduce__()[0], (np.dtype("O"), b"A" * 8))
    torch.save(layout(NET, cmc=number), tmp_path / "evil.pth")
    with refusal(CheckpointError, tmp_path / "evil.pth", "readable"):
        load_to_test(tmp_path / "evil.pth")


def test_a_network_that_was_saved_through_data_parallel_loads(tmp_path: Path) -> None:
    torch.save(layout(NET), tmp_path / "plain.pth")
    torch.save(layout({f"module.{name}": value for name, value in NET.items()}), tmp_path / "parallel.pth")
    plain, parallel = (load_to_test(tmp_path / f"{name}.pth")["model"] for name in ("plain", "parallel"))
    assert plain.keys() == parallel.keys()
    assert all(torch.equal(plain[name], parallel[name]) for name in plain)


def test_training_does_not_go_on_from_it(tmp_path: Path) -> None:
    torch.save(layout(NET), tmp_path / "last.pt")
    with refusal(CheckpointError, tmp_path / "last.pt", "eval.py", "--run.resume=never"):
        checkpoint.load(tmp_path / "last.pt")
