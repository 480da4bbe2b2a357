"""eval.py on a file in the published code's layout: its embeddings are the goldens', and a bad file is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import eval as eval_script
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from pipelines.augment.normalisation import IMAGENET, Normalisation
from tests.conftest import REPOSITORY, Refused
from tests.support import goldens
from tests.support.goldens import relative_error, tensor
from tests.support.refusals import assert_tells

pytestmark = pytest.mark.numerical

NAME = "llcm_p6_n4_lr_0.2_seed_0_best"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Path]:
    """The goldens' network with the published code's numpy numbers beside it; 270 MB, removed afterwards."""
    path = tmp_path / f"{NAME}.pth"
    numbers = {"cmc": np.linspace(0.5, 1, 20), "mAP": np.float64(0.6), "mINP": np.float64(0.5), "epoch": 57}
    torch.save({"net": goldens.published_net(), **numbers}, path)
    yield path
    path.unlink()


@pytest.fixture
def beton_root(tmp_path: Path) -> Path:
    """Your own set of 6 visible and 6 infrared test images of 3 identities, 96 x 48."""
    for split, modality in (("train", "visible"), ("train", "infrared"), ("test", "visible"), ("test", "infrared")):
        for number in range(6):
            folder = tmp_path / "data" / "custom" / split / modality / f"{number // 2:04d}" / f"c{number % 2 + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 96), (40 * number, 90, 120)).save(folder / f"{number}.png")
    convert(DATASETS["custom"], tmp_path / "data", tmp_path / "beton", ImageFormat(96, 48), workers=1)
    return tmp_path / "beton"


def test_embeddings_through_eval_are_the_goldens(
    checkpoint: Path, beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The goldens' inputs are noise that no image gives, so they take the place of the normalised test images."""
    golden = goldens.arrays("model_float64.npz")
    inputs = iter([tensor(golden["x_visible"]), tensor(golden["x_infrared"])])

    def prepare(images_BHWC: Tensor, normalisation: Normalisation) -> Tensor:
        assert (images_BHWC.shape, normalisation) == ((6, 96, 48, 3), IMAGENET)
        return next(inputs)

    monkeypatch.setattr("pipelines.data.normalise", prepare)
    features = tmp_path / "features.npz"
    arguments = [
        "--config-file", str(REPOSITORY / "configs" / "llcm.yaml"), f"--eval.checkpoint={checkpoint}",
        "--data.set=custom", f"--data.beton_root={beton_root}", "--eval.flip=off", "--eval.batch_size=6",
        "--engine.precision=fp32", "--engine.device=cpu", f"--eval.export={features}", f"--run.root={tmp_path}",
    ]  # fmt: skip
    assert eval_script.evaluate(arguments) == 0
    with np.load(features) as stored:
        for modality, code in (("visible", 0), ("infrared", 1)):
            rows = stored["modality"] == code
            assert relative_error(stored["embeddings"][rows], golden[f"eval_{modality}_embedding"]) < 1e-4
            assert relative_error(stored["before_neck"][rows], golden[f"eval_{modality}_pooled"]) < 1e-4
    said = capsys.readouterr()
    assert_tells(said.err, checkpoint, "12 identities", "custom", 3, "288 x 144", "96 x 48")
    rows = json.loads((tmp_path / NAME / "result.json").read_text())["evaluation"]
    assert {row["checkpoint"] for row in rows} == {f"{NAME}.pth, epoch 57, chosen by rank-1 on the test set"}
    assert {row["protocol"] for row in rows} == {"llcm-i2v", "llcm-v2i", "llcm-v2i-transposed", "llcm-v2i-deen"}


@pytest.mark.parametrize("damage", ["cut", "key", "code", "recipe"])
def test_a_bad_file_ends_with_2_and_a_reason(beton_root: Path, tmp_path: Path, damage: str, refused: Refused) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / f"{NAME}.pth"
    net = dict(goldens.published_net())
    if damage in ("cut", "code"):  # refused before any tensor is looked at: a part of them will do
        net = {name: net[name] for name in net if name.startswith("base.base.layer3")}
    elif damage == "key":
        del net["bottleneck.weight"]
    torch.save({"net": net, "epoch": 57, **({"mAP": Evil()} if damage == "code" else {})}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1_000_000])
    recipe = [] if damage == "recipe" else ["--config-file", REPOSITORY / "configs" / "llcm.yaml"]
    options = [
        *([] if damage == "recipe" else ["--data.set=custom"]),
        f"--data.beton_root={beton_root}",
        f"--run.root={tmp_path}",
        "--engine.device=cpu",
    ]
    message = refused(eval_script.evaluate, [*recipe, f"--eval.checkpoint={path}", *options])
    path.unlink()
    word = {"cut": "readable", "key": "neck.weight and 0 other", "code": "holds code", "recipe": "--data.set=llcm"}
    assert_tells(message, "error", *([] if damage == "recipe" else [path]), word[damage])
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / NAME).exists()
