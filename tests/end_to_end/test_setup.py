"""One way in: a training embeds and ranks its last weights once, and a checkpoint opens in a few lines of Python."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train_ffcv
from dns.evaluation import evaluator as evaluator_module
from dns.evaluation.evaluator import Evaluator
from dns.report import write
from dns.training import checkpoint
from dns.training.run_folder import RunFolder
from dns.training.setup import open_checkpoint, open_training
from ffcv_convert.common.errors import CheckpointError
from ffcv_convert.common.world import World
from tests.conftest import REPOSITORY
from tests.support.configs import make_config, stored_config
from tests.support.refusals import assert_tells, refusal
from tests.support.scripts import REFUSED

CPU = torch.device("cpu")

OPTIONS = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=4", "--data.workers=1",
    "--optim.epochs=1", "--eval.batch_size=32", "--engine.device=cpu", "--engine.precision=fp32", "--run.name=run",
]  # fmt: skip


@pytest.fixture(scope="module")
def counted(beton_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Counter[str]]]:
    """A finished run, and what its training did; what the same command did once more; and with the report gone."""
    folder, did = tmp_path_factory.mktemp("runs"), []
    arguments = [*OPTIONS, f"--data.beton_root={beton_root}", f"--run.root={folder}"]
    embed, rank, load = Evaluator.embed, evaluator_module.rank_trials, checkpoint.load
    with pytest.MonkeyPatch.context() as patch:

        def counting_embed(
            self: Evaluator, model: object, row_N: object = None, *more: object, **how: object
        ) -> object:
            did[-1]["embedded some" if row_N is not None else "embedded all"] += 1
            return embed(self, model, row_N, *more, **how)  # type: ignore[arg-type]

        def counting_rank(*arguments: object, **how: object) -> object:
            did[-1]["ranked"] += 1
            return rank(*arguments, **how)  # type: ignore[arg-type]

        def counting_load(path: Path) -> object:
            did[-1][f"read {path.name}"] += 1
            return load(path)

        patch.setattr(Evaluator, "embed", counting_embed)
        patch.setattr(evaluator_module, "rank_trials", counting_rank)
        patch.setattr(checkpoint, "load", counting_load)
        for gone in (False, False, True):
            if gone:
                (folder / "run" / write.PAGE).unlink()
            did.append(Counter())
            assert train_ffcv.train(arguments) == 0
    return folder / "run", did


def test_the_last_weights_are_embedded_and_ranked_once(counted: tuple[Path, list[Counter[str]]]) -> None:
    """For result and report together. The other ones: the untrained network, and the evaluation that chooses."""
    run, (trained, _, _) = counted
    assert (run / write.PAGE).exists()
    assert trained == {"embedded all": 2, "embedded some": 1, "ranked": 3}


def test_a_run_that_goes_on_reads_its_last_checkpoint_once(counted: tuple[Path, list[Counter[str]]]) -> None:
    """A finished one embeds nothing, unless its report is gone."""
    _, (_, again, without_report) = counted
    assert again == {"read last.pt": 1}
    assert without_report == {"read last.pt": 1, "embedded all": 1, "ranked": 1}


def test_a_checkpoint_opens_embeds_ranks_and_says_which_query_failed(
    counted: tuple[Path, list[Counter[str]]],
) -> None:
    opened = open_checkpoint(counted[0] / "last.pt", "--engine.precision=fp32")
    test, embeddings = opened.evaluator.test_set, opened.embed()
    ranking = opened.evaluator.rankings(embeddings.bn, "llcm-i2v", trials=[0])[0]
    missed = ranking.missed(test)
    similarity = embeddings.bn.double() @ embeddings.bn.double().T
    for row in ranking.trial.query_rows:
        gallery = ranking.trial.gallery_rows
        same = (test.person_N[gallery] == test.person_N[row]) & (test.camera_N[gallery] == test.camera_N[row])
        counting = gallery[~same]
        if (test.person_N[counting] == test.person_N[row]).any():
            first = counting[int(similarity[row, torch.from_numpy(counting)].argmax())]
            assert (test.person_N[first] != test.person_N[row]) == (row in missed)
    assert 1 - len(missed) / len(ranking.trial.query_rows) == pytest.approx(ranking.metrics.cmc[0])


def test_a_training_opens_from_its_configuration(beton_root: Path) -> None:
    training = open_training(make_config(
        f"--data.beton_root={beton_root}", "--data.workers=1", "--data.persons=4", "--engine.device=cpu",
        "--loss.alignment=0", "--loss.circle_margin=0.3",
    ))  # fmt: skip
    with training.loader.epoch(0) as batches:
        batch = next(batches)
        losses = training.step(batch.images, batch.augmentation, batch.person_B)
    assert list(losses) == ["identity", "circle", "distillation", "total"]
    assert np.isfinite([float(loss) for loss in losses.values()]).all()


@pytest.mark.parametrize(("script", "argument"), REFUSED.items())
def test_a_program_that_refuses_ends_with_2_and_a_message(scripts: Path, script: str, argument: str) -> None:
    code, out, errors = ((scripts / f"{script}.{ending}").read_text() for ending in ("code", "out", "err"))
    assert (code, out) == ("2", "")
    assert_tells(errors, "error:", argument.partition("=")[2])
    assert "Traceback" not in errors


def test_a_run_whose_checkpoint_vanishes_before_its_lock_does_not_begin_again(
    counted: tuple[Path, list[Counter[str]]], tmp_path: Path
) -> None:
    """Its network was made without initial weights, to take those of the checkpoint."""
    shutil.copytree(counted[0], tmp_path / "run")
    config = stored_config(checkpoint.load(tmp_path / "run" / "last.pt")["config"])
    run = RunFolder(replace(config, run=replace(config.run, root=str(tmp_path))), World(CPU))
    assert run.resumed
    run.last.unlink()
    with run.training(), refusal(CheckpointError, run.last):
        assert run.resumed
        run.take_last()
