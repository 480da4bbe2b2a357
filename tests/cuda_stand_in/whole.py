"""train_ffcv.py and eval.py as they start on a card, with numbers.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.whole BETON_ROOT WORK_FOLDER quick|whole

BETON_ROOT holds a converted set `sysu` of any size. Prints one JSON object. quick: the exit codes of capture.py's
training, with every check of a number as it is. whole: also what is equal in every bit, and how far float64 is from the
CPU's engine. A small ResNet, uncompiled; the rest is what `auto` chooses on a card: images on the
device, augmentation in the captured step, a fused optimiser.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import eval as eval_script
import train_ffcv
from benchmarks.training import options
from dns.training.stopping import Interruption
from tests.cuda_stand_in import capture, computing  # noqa: F401
from tests.cuda_stand_in.device import counts, violations
from tests.cuda_stand_in.order import computed

NETWORK = ["--model.architecture=resnet10_half", "--engine.compile=false", "--data.persons=3", "--data.pictures=2"]
HOW = [*NETWORK, "--report.write=false", "--optim.epochs=2", "--eval.every=1", "--run.log_every=1",
       "--eval.batch_size=16", "--data.workers=1"]  # fmt: skip
# The CPU's engine with what `auto` chooses on a card: then only the device differs.
ON_CPU = ["--engine.device=cpu", "--engine.channels_last=true", "--engine.fused=true", "--engine.augment=device"]
CASES = {
    "images on the device": ["--data.source=resident"],
    "images streamed": ["--data.source=stream"],
    "accumulated": ["--optim.accumulate=2", "--model.dropout=0"],  # a CPU seeds dropout for each batch, a graph once
}
RE_RANKED = [
    "--eval.protocols=sysu-all", "--eval.batch_size=16", "--eval.re_ranking=true", "--engine.compile=false",
]  # fmt: skip


@dataclass
class Trained:
    """What a training left: its losses and rank-1 as they were logged, and the content of its last checkpoint."""

    losses: list[list[float]]
    rank1: list[float]
    tensors: dict[str, torch.Tensor]


def trained(beton_root: Path, root: Path, name: str, *more: str, stop_after: int = 0) -> Trained:
    """Train, or stop after so many batches and train on. Raises AssertionError where not the device did it."""
    arguments = [*options(beton_root, [*HOW, *more]), f"--run.root={root}", f"--run.name={name}"]
    before, kernels = counts(), computed.total()
    if stop_after:
        with patch.object(Interruption, "before_stop", capture._stop_after(stop_after)):
            assert train_ffcv.train(arguments) == 143
        assert torch.load(root / name / "last.pt", weights_only=True)["iteration"] == stop_after  # inside an epoch
    assert train_ffcv.train(arguments) == 0
    found = _read(root / name)
    steps = json.loads((root / name / "result.json").read_text())["steps"]
    on_cuda, graph = "--engine.device=cpu" not in more, "--engine.graph=false" not in more
    assert (computed.total() - kernels > 100 * steps) == on_cuda, (name, computed.total() - kernels)
    replays = counts()["replay"] - before["replay"]
    warm_up = 4 * (2 if stop_after else 1)
    assert replays == (steps - warm_up if on_cuda and graph else 0), (name, replays, steps)
    assert violations() == []
    return found


def _read(run: Path) -> Trained:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line.get("kind") == "train"]
    names = ("identity", "circle", "alignment", "distillation", "total")
    content = torch.load(run / "last.pt", weights_only=True)
    state = {f"{number} {key}": value for number, one in content["optimiser"]["state"].items()
             for key, value in one.items()}  # fmt: skip
    rank1 = [line["rank1"] for line in lines if line.get("kind") == "eval"]
    return Trained([[line[name] for name in names] for line in steps], rank1, {**content["model"], **state})


def equal_bits(found: Trained, expected: Trained) -> bool:
    assert found.tensors.keys() == expected.tensors.keys()
    same = all(torch.equal(one, expected.tensors[name]) for name, one in found.tensors.items())
    return same and (found.losses, found.rank1) == (expected.losses, expected.rank1)


def apart(found: Trained, expected: Trained) -> dict[str, Any]:
    """Largest difference of a loss, relative to the step's largest one; whether both ranked alike."""
    a, b = (torch.tensor(one.losses, dtype=torch.float64) for one in (found, expected))
    return {"losses": float(((a - b).abs().amax(1) / b.abs().amax(1)).max()), "rank1": found.rank1 == expected.rank1}


def bits(beton_root: Path, root: Path) -> dict[str, bool]:
    """Trainings that must not differ in a single bit."""

    def run(name: str, *more: str, **how: int) -> Trained:
        return trained(beton_root, root, name, *more, **how)

    resident, accumulated = CASES["images on the device"], CASES["accumulated"]
    fp32 = run("fp32", *resident, "--engine.precision=fp32")
    whole = run("whole", *resident)
    return {
        "sources": equal_bits(run("stream", *CASES["images streamed"], "--engine.precision=fp32"), fp32),
        "captured and not, fp32": equal_bits(
            run("eager", *resident, "--engine.precision=fp32", "--engine.graph=false"), fp32
        ),
        "stopped in its first epoch": equal_bits(run("stopped", *resident, stop_after=5), whole),
        "accumulated, captured and not": equal_bits(
            run("accumulated", *accumulated), run("accumulated-eager", *accumulated, "--engine.graph=false")
        ),
    }


def float64(beton_root: Path, root: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for name, more in CASES.items():
        both = [
            trained(
                beton_root, root, f"fp64-{name.replace(' ', '-')}-{where}", *more, "--engine.precision=fp64", *engine
            )
            for where, engine in (("cuda", []), ("cpu", ON_CPU))
        ]
        found[name] = apart(*both)
    return found


def re_ranked(run: Path) -> dict[str, bool]:
    """Whether the device re-ranks a checkpoint as a CPU does, over every trial, in float32."""
    rows: list[dict[str, Any]] = []
    for engine in ([], ["--engine.device=cpu"]):
        kernels = computed.total()
        tested = [f"--eval.checkpoint={run / 'last.pt'}", *RE_RANKED, "--engine.precision=fp32", *engine]
        assert eval_script.evaluate(tested) == 0
        assert (computed.total() > kernels) == (not engine)
        rows.append(_re_ranked_row(run))
    return {name: abs(rows[0][name] - rows[1][name]) < 1e-6 for name in ("rank1", "mAP", "mINP")}


def _re_ranked_row(run: Path) -> dict[str, Any]:
    rows: Sequence[dict[str, Any]] = json.loads((run / "result.json").read_text())["evaluation"]
    [row] = [one for one in rows if one["re_ranking"] == "k-reciprocal" and one["protocol"] == "sysu-all"][-1:]
    return row


def exit_codes(beton_root: Path, root: Path) -> dict[str, int]:
    """Of capture.py's training with a stop and a resume, and its tests with and without re-ranking."""
    capture.SMALL.extend(NETWORK)
    return capture.train(beton_root, root / "codes", numbers=True)


def main(beton_root: str, folder: str, which: str) -> None:
    root, work = Path(beton_root), Path(folder)
    found: dict[str, Any] = {"exit_codes": exit_codes(root, work)}
    if which == "whole":
        found |= {"bits": bits(root, work), "float64": float64(root, work), "re-ranked": re_ranked(work / "fp32")}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
