"""What the program computes, at small size, as text that two commits can be compared by.

    python -m tests.support.record compare COMMIT    run this script of COMMIT and of the working tree; must be equal
    python -m tests.support.record write FILE.json   the record of the working tree

For every recipe in configs/: the SHA-256 of the converted files, of each batch of an epoch (streamed and augmented by
the loader, streamed and augmented in the step, resident), the losses of 21 steps, the final weights, and the rank
tables of every protocol that fits the set, with and without re-ranking. No values are stored: results differ between
processors, so both commits run here, one after the other. COMMIT needs a script of its own at this path.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import savemat

import eval as eval_script
import train_ffcv
from dns.evaluation.protocols import PROTOCOLS
from dns.training import setup
from dns.training.config import read_config
from ffcv_convert.__main__ import main as ffcv_convert
from pipelines.augment.recipes import CROP_LEFT, CROP_TOP, EXCHANGE

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = "tests.support.record"
SIZE = ["--train-identities=8", "--test-identities=5", "--train-images=6", "--test-images=2", "--height-px=64"]
# Recipe -> the layout that is drawn for it, and the protocols that fit it.
SETS = {
    "sysu": ("sysu", "sysu-"),
    "regdb": ("regdb", "regdb-"),
    "llcm": ("llcm", "llcm-"),
    "market_sketch_1k": ("market_sketch_1k", "mask1k"),
    "pku_sketch": ("pku_sketch", "pku"),
    "custom": ("llcm", "regdb-"),
    "synthetic": ("llcm", "llcm-"),
    "hitsz_vcm": ("hitsz_vcm", "vcm-"),
    "buptcampus": ("buptcampus", "bupt-"),
}
ADDED = {"commit", "modified", "sources", "weights", "images", "matched", "queries", "also_trained", "started_from"}
SMALL = [
    "--data.persons=4", "--data.pictures=2", "--data.workers=1", "--model.pretrained=none", "--optim.epochs=3",
    "--optim.peak_epoch=1", "--eval.every=1", "--eval.batch_size=16", "--run.log_every=1", "--run.name=run",
    "--engine.device=cpu", "--engine.precision=fp32",
]  # fmt: skip
SOURCES = {
    "streamed, augmented by the loader": ["--data.source=stream", "--engine.augment=host"],
    "streamed, augmented in the step": ["--data.source=stream", "--engine.augment=device"],
    "resident": ["--data.source=resident", "--engine.augment=device"],
}


def record(folder: Path) -> dict[str, Any]:
    """Recipe -> what it computes. Everything is made below `folder`."""
    return {recipe: _record_of(recipe, folder / recipe) for recipe in SETS}


def _record_of(recipe: str, folder: Path) -> dict[str, Any]:
    data, beton, runs = folder / "Dataset", folder / "Beton", folder / "runs"
    _make_set(recipe, data)
    size = ["--height-px=64", "--width-px=32"]
    ffcv_convert(["convert", f"--data-root={data}", f"--beton-root={beton}", f"--dataset={recipe}", *size])
    options = [
        "--config-file", str(REPOSITORY / "configs" / f"{recipe}.yaml"), *SMALL, f"--data.beton_root={beton}",
        f"--run.root={runs}",
    ]  # fmt: skip
    options.append(f"--model.architecture={'resnet18' if recipe == 'sysu' else 'resnet10_half'}")
    if recipe == "regdb":
        options.append("--data.trial=1")
    train_ffcv.train(options)
    run = next(path.parent for path in sorted(runs.rglob("last.pt")))
    last = run / "last.pt"
    content = torch.load(last, weights_only=True)
    tables = [_computed(_tables(last, recipe, beton, re_ranking)) for re_ranking in ("false", "true")]
    return {
        "converted": {path.name: _sha256(path.read_bytes()) for path in sorted(beton.rglob("*.beton"))},
        "batches": {name: _batches([*options, *more]) for name, more in SOURCES.items()},
        "losses": [line for line in _log(run) if line["kind"] == "train"],
        "rank-1 between epochs": [line["rank1"] for line in _log(run) if line["kind"] == "eval"],
        "result": _computed(json.loads((run / "result.json").read_text())["training"]),
        "weights": {name: _digest(tensor) for name, tensor in content["model"].items()},
        "rank tables": tables,
    }


def _computed(value: Any) -> Any:
    """Return rows without what names their code and data, and without the counts that earlier commits did not make."""
    if isinstance(value, list):
        return [_computed(one) for one in value]
    return {key: _computed(one) for key, one in value.items() if key not in ADDED} if isinstance(value, dict) else value


def _make_set(recipe: str, data: Path) -> None:
    """Draw the recipe's set below `data`."""
    layout = SETS[recipe][0]
    folders = {"sysu": "SYSU-MM01", "regdb": "RegDB", "market_sketch_1k": "Market-Sketch-1K",
               "pku_sketch": "PKU-Sketch", "llcm": "LLCM", "synthetic": "synthetic", "custom": "drawn",
               "hitsz_vcm": "HITSZ-VCM", "buptcampus": "BUPTCampus"}  # fmt: skip
    drawn = data / folders[recipe]
    frames = ["--test-images=12"] if recipe == "hitsz_vcm" else []  # a tracklet that its published test takes
    ffcv_convert(["synthesise", f"--layout={layout}", f"--root={drawn}", "--workers=2", *SIZE, *frames])
    if recipe == "sysu":
        _write_official_draw(drawn)
    if recipe != "custom":
        return
    for short, modality in (("vis", "visible"), ("nir", "infrared")):
        for path in sorted(drawn.glob(f"{short}/*/*.jpg")):
            _copy(path, data / "custom" / "train" / modality / path.parent.name / path.name)
        for path in sorted(drawn.glob(f"test_{short}/*/*/*.jpg")):
            camera, person = path.parts[-3:-1]
            _copy(path, data / "custom" / "test" / modality / person / camera / path.name)


def _write_official_draw(root: Path) -> None:
    """exp/rand_perm_cam.mat of SYSU-MM01: cameras of identities of permutations, one row a trial."""
    rng, identities = np.random.default_rng(0), 1 + max(int(path.name) for path in root.glob("cam?/*"))
    cameras = np.empty((6, 1), dtype=object)
    for camera in range(6):
        cameras[camera, 0] = np.empty((identities, 1), dtype=object)
        for person in range(identities):
            images = len(list(root.glob(f"cam{camera + 1}/{person + 1:04d}/*")))
            orders = [rng.permutation(images) + 1 for _ in range(10)]
            cameras[camera, 0][person, 0] = np.array(orders, dtype=np.int64).reshape(10, images)
    savemat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cameras})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _batches(arguments: Sequence[str]) -> list[str]:
    """SHA-256 of each batch of the first epoch: as it comes, and as the network sees it."""
    asked = read_config(arguments, description="")
    loader = setup.open_loader(setup.open_session(asked))
    digests = []
    with loader.epoch(0) as batches:
        for batch in batches:
            images = loader.augment(batch.images, batch.augmentation)
            augmentation = batch.augmentation[:, : EXCHANGE + 1].clone()  # the columns that older commits have
            augmentation[:, [CROP_TOP, CROP_LEFT]] += asked.augment.pad_px  # as older commits count: from the border
            tensors = (batch.images, batch.person_B, batch.index_B, augmentation, torch.cat(images))
            digests.append(_sha256("".join(map(_digest, tensors)).encode()))
    return digests


def _tables(checkpoint: Path, recipe: str, beton: Path, re_ranking: str) -> list[dict[str, Any]]:
    """The rows that eval.py adds to the result: both features under every protocol that fits."""
    protocols = ",".join(name for name in PROTOCOLS if name.startswith(SETS[recipe][1]))
    eval_script.evaluate(
        [f"--eval.checkpoint={checkpoint}", f"--eval.protocols={protocols}", f"--eval.re_ranking={re_ranking}",
         f"--data.beton_root={beton}", "--eval.batch_size=16", "--engine.device=cpu", "--engine.precision=fp32"]
    )  # fmt: skip
    return json.loads((checkpoint.parent / "result.json").read_text())["evaluation"]


def _log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def _digest(tensor: torch.Tensor) -> str:
    return _sha256(f"{tensor.dtype} {list(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        content = record(Path(folder))
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Where two records differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{where} / {key}" if where else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where} {number}")
    elif one != other:
        yield f"{where}: {one!r} before, {other!r} now"


def compare(commit: str) -> int:
    """Run the script of `commit`, in a checkout of its own, and that of the working tree."""
    with tempfile.TemporaryDirectory() as folder:
        before, now, tree = Path(folder, "before.json"), Path(folder, "now.json"), Path(folder, "tree")
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], cwd=REPOSITORY, check=True)
        try:
            for place, target in ((tree, before), (REPOSITORY, now)):
                environment = {**os.environ, "PYTHONPATH": str(place)}
                command = [sys.executable, "-m", SCRIPT, "write", str(target)]
                subprocess.run(command, cwd=place, env=environment, check=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=REPOSITORY, check=True)
        records = [json.loads(path.read_text()) for path in (before, now)]
    found = list(differences(*records))
    print("\n".join(found[:40]))
    values = sum(1 for _ in _values(records[1]))
    print(f"{len(found)} of {values} values differ between {commit} and the working tree")
    return 1 if found else 0


def _values(content: Any) -> Iterator[Any]:
    if isinstance(content, (dict, list)):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _values(part)
    else:
        yield content


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("compare", "write"):
        print(__doc__)
        return 2
    if arguments[0] == "compare":
        return compare(arguments[1])
    write(Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
