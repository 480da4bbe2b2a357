"""A set that is listed again between the parts of a run, or before a test: nothing goes on as if it were the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import eval as eval_script
import train_ffcv
from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import CheckpointError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from tests.faults.conftest import Tally
from tests.faults.training_child import OPTIONS
from tests.support.refusals import refusal

PLAIN = [
    *OPTIONS,
    "--run.name=run",
    "--data.persons=2",
    "--data.pictures=2",
]


class Set:
    """A copy of a small drawn set, converted."""

    def __init__(self, source: Path, name: str, folder: Path):
        self.dataset, self.data = DATASETS[name], folder / "data"
        self.root = self.data / self.dataset.folders[0]
        self.betons, self.runs = folder / "Beton", folder / "runs"
        shutil.copytree(source, self.root)
        self.convert()

    def convert(self) -> None:
        convert(self.dataset, self.data, self.betons, ImageFormat(32, 16), workers=1)

    def options(self) -> list[str]:
        return [
            f"--data.set={self.dataset.name}",
            f"--data.beton_root={self.betons}",
            f"--run.root={self.runs}",
            "--report.write=false",
        ]


@pytest.fixture
def regdb(data_root_of: Callable[[str], Path], tmp_path: Path) -> Set:
    return Set(data_root_of("regdb"), "regdb", tmp_path)


def swap_trial(regdb: Set) -> None:
    """In the first trial one who trained changes places with one who was tested; one file has the images of both."""
    for modality in ("visible", "thermal"):
        lists = [regdb.root / "idx" / f"{part}_{modality}_1.txt" for part in ("train", "test")]
        lines = [path.read_text().splitlines() for path in lists]
        first = [[line for line in part if line.endswith(" 0")] for part in lines]
        for path, part, own, other in zip(lists, lines, first, first[::-1], strict=True):
            path.write_text("\n".join([*other, *part[len(own) :]]) + "\n")
    before = open_beton(regdb.betons / "regdb" / "all.beton").manifest
    regdb.convert()
    after = open_beton(regdb.betons / "regdb" / "all.beton").manifest
    assert after.sha256 == before.sha256, "the file itself does not tell"
    assert after.trials["train-1"] != before.trials["train-1"]


def test_a_trial_of_other_lists_is_not_gone_on_with_or_tested(regdb: Set, tally: Tally) -> None:
    protocols = ["--eval.protocol=regdb-t2v", "--eval.protocols=auto"]
    trial = [*PLAIN, *regdb.options(), *protocols, "--data.trial=1"]
    assert train_ffcv.train(trial) == 0
    last = regdb.runs / "run" / "trial-1" / "last.pt"
    test = [f"--eval.checkpoint={last}", *regdb.options(), "--engine.precision=fp32"]
    assert eval_script.evaluate(test) == 0
    swap_trial(regdb)
    tally.did("hostile_inputs")
    with refusal(CheckpointError, last, "test set and training set"):
        train_ffcv.train(trial)
    with refusal(CheckpointError, last, "other images", "regdb"):
        eval_script.evaluate(test)
    swap_trial(regdb)
    assert train_ffcv.train(trial) == 0
    assert eval_script.evaluate(test) == 0


def test_a_run_does_not_go_on_with_another_test_set(data_root: Path, tmp_path: Path, tally: Tally) -> None:
    """Its best epoch would be chosen, and its untrained rank-1 be measured, on two sets."""
    synthetic = Set(data_root / "synthetic", "synthetic", tmp_path)
    options = [*PLAIN, *synthetic.options()]
    assert train_ffcv.train(options) == 0
    identities = synthetic.root / "idx" / "test_id.txt"
    whole = identities.read_text()
    identities.write_text(",".join(whole.strip().split(",")[:3]))
    synthetic.convert()
    tally.did("hostile_inputs")
    with refusal(CheckpointError, synthetic.runs / "run" / "last.pt", "test set and test set's file"):
        train_ffcv.train(options)
    identities.write_text(whole)
    synthetic.convert()
    assert train_ffcv.train(options) == 0
