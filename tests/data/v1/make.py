"""Writes the files beside it: what this version of the program makes, for later versions to read.

    python tests/data/v1/make.py FOLDER

Run once, for version 1 of the manifest and of the checkpoint and FFCV's format 2; another version gets another folder.
What is there already stays: all.json was made later, when manifests had got a checksum of themselves.
A `.beton` is padded to 2 MB pages and a ResNet-18 with its momenta takes 110 MB. So both are compressed, and every
tensor is made of its own first 61 numbers, again and again: it can be trained on and tested, and repeats compress well.
"""

import json
import lzma
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY))

import eval as eval_script  # noqa: E402
import train_ffcv  # noqa: E402
from ffcv_convert.convert import convert  # noqa: E402
from ffcv_convert.datasets import regdb, synthetic  # noqa: E402
from ffcv_convert.images import ImageFormat  # noqa: E402
from ffcv_convert.synthetic import Options, synthesise  # noqa: E402

PEOPLE = Options(train_identities=4, test_identities=3, train_images=2, test_images=1, height_px=64)
LOSSES = ("identity", "circle", "alignment", "distillation", "total")
TRIALS = replace(PEOPLE, train_identities=3, test_identities=2, train_images=1, layout="regdb")
RUN = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=3", "--data.pictures=2",
    "--optim.epochs=2", "--optim.lr=0.01", "--eval.batch_size=16", "--run.log_every=1", "--data.workers=1",
    "--engine.device=cpu", "--engine.precision=fp32", "--run.name=v1",
    # What the recipe said then:
    "--model.architecture=resnet18", "--optim.name=sgd", "--optim.weight_decay=5e-4", "--engine.channels_last=false",
    "--engine.fused=false",
]  # fmt: skip
PERIOD = 61


def shortened(content: object) -> object:
    """Every tensor of a checkpoint made of its first numbers; the state of a generator as it is."""
    if isinstance(content, dict):
        return {key: value if key == "generators" else shortened(value) for key, value in content.items()}
    if isinstance(content, Tensor):
        flat = content.reshape(-1)
        return flat[torch.arange(flat.numel()) % PERIOD].reshape(content.shape).clone()
    return content


def seen(roots: list[str], run: Path) -> dict[str, object]:
    """What later versions must see too: the losses of the first step from the checkpoint, and its mAP in testing."""
    options = ["--eval.protocols=llcm-i2v", "--engine.precision=fp32", *roots]
    eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", *options])
    rows = {row["feature"]: row["mAP"] for row in json.loads((run / "result.json").read_text())["evaluation"]}
    (run / "result.json").unlink()
    (run / "log.jsonl").unlink(missing_ok=True)
    train_ffcv.train([*RUN, *roots])
    first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    return {"losses": {name: first[name] for name in LOSSES}, "mAP": rows}


def make(folder: Path) -> None:
    with TemporaryDirectory() as name:
        top = Path(name)
        synthesise(top / "data" / "synthetic", PEOPLE, workers=1)
        convert(synthetic.DATASET, top / "data", top / "beton", ImageFormat(32, 16), workers=1)
        roots = [f"--data.beton_root={top / 'beton'}", f"--run.root={top / 'runs'}"]
        train_ffcv.train([*RUN, *roots])
        last = top / "runs" / "v1" / "last.pt"
        content = torch.load(last, weights_only=True)
        content["config"]["data"]["beton_root"], content["config"]["run"]["root"] = "Beton", "runs"
        torch.save({**shortened(content), "epoch": 1, "iteration": 0, "config": content["config"]}, last)
        stored = last.read_bytes()
        (top / "runs" / "v1" / "result.json").unlink()
        expected = seen(roots, top / "runs" / "v1")
        for part in ("train", "test"):
            keep(top / "beton" / "synthetic" / f"{part}.beton", folder)
        (folder / "last.pt.xz").write_bytes(lzma.compress(stored, preset=9))
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def make_trials(folder: Path) -> None:
    """RegDB's layout: JPEG, and the trials in the manifest."""
    with TemporaryDirectory() as name:
        top = Path(name)
        synthesise(top / "RegDB", TRIALS, workers=1)
        (beton,) = convert(regdb.DATASET, top, top / "beton", ImageFormat(32, 16, "jpeg"), workers=1)
        keep(beton, folder)


def keep(beton: Path, folder: Path) -> None:
    (folder / beton.with_suffix(".json").name).write_text(beton.with_suffix(".json").read_text())
    (folder / f"{beton.name}.xz").write_bytes(lzma.compress(beton.read_bytes(), preset=9))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if not (target / "expected.json").exists():
        make(target)
    if not (target / "all.json").exists():
        make_trials(target)
