"""The whole path of the sets of video, small: trained by tracklet, tested by every protocol, reported and judged."""

import json
from pathlib import Path

import numpy as np
import pytest

import eval as eval_script
import train_ffcv
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.tables import OF_TRACKLETS
from dns.judge import __main__ as judge
from dns.training.setup import open_checkpoint
from ffcv_convert import __main__ as converter
from ffcv_convert.common.errors import CheckpointError, ConfigError
from ffcv_convert.datasets import DATASETS
from ffcv_convert.synthetic import Options
from tests.conftest import REPOSITORY
from tests.support.drawing import draw_here
from tests.support.refusals import refusal

SHORT = {"hitsz_vcm": "vcm", "buptcampus": "bupt"}
FRAMES = {"hitsz_vcm": 13, "buptcampus": 3}  # of a test tracklet; vcm's published protocol wants 12
REPORTED = "buptcampus"  # one is enough: it takes the longest
FAST = [
    "--model.architecture=resnet10_half", "--model.pretrained=none", "--optim.epochs=2", "--data.persons=2",
    "--eval.batch_size=64", "--data.workers=1", "--engine.device=cpu", "--augment.pad_px=2", "--run.log_every=1",
]  # fmt: skip


@pytest.fixture(scope="module", params=list(SHORT))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run. Beside it lie Beton/ and runs/, made with a frame in two."""
    name, top = request.param, tmp_path_factory.mktemp("video")
    options = Options(
        train_identities=3, test_identities=2, train_images=16, test_images=FRAMES[name], height_px=32, layout=name
    )
    draw_here(top / "Dataset" / DATASETS[name].folders[0], options)
    roots = ["--data-root", top / "Dataset", "--beton-root", top / "Beton", "--dataset", name, "--workers", "1"]
    size = ["--height-px", "32", "--width-px", "24", "--every", "2"]
    assert converter.main(["convert", *map(str, [*roots, *size])]) == 0
    report = "true" if name == REPORTED else "false"
    assert train(top, name, f"--report.write={report}") == 0
    return top / "runs" / f"{name}-seed0"


def train(top: Path, name: str, *more: str) -> int:
    recipe = REPOSITORY / "configs" / f"{name}.yaml"
    roots = [f"--data.beton_root={top / 'Beton'}", f"--run.root={top / 'runs'}"]
    return train_ffcv.train(["--config-file", str(recipe), *roots, *FAST, *more])


def set_of(run: Path) -> str:
    return run.name.partition("-")[0]


def rows(run: Path) -> list[dict]:
    return json.loads((run / "result.json").read_text())["evaluation"]


def test_a_set_of_video_trains_by_tracklet_and_its_rows_say_what_they_are_of(trained: Path) -> None:
    name = set_of(trained)
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    steps = max(line["step"] for line in lines if line["kind"] == "train")
    tracklets = json.loads((trained.parents[1] / "Beton" / name / "train.json").read_text())["tracklets"]
    assert steps == 2 * (len(tracklets) // 2 // (2 * 2) + 1)  # half of them visible; P = 2, K / F = 2; 2 epochs
    row = rows(trained)[0]
    assert (row["protocol"], row["dataset"]) == (
        f"{SHORT[name]}-i2v-published", f"{name} (synthetic), one frame in 2"
    )  # fmt: skip
    assert row["feature"] == "BN(Z)" + OF_TRACKLETS
    if name == REPORTED:
        page = (trained / "report.html").read_text()
        assert "The image of a tracklet is its first frame" in page
        assert "not a video network" in page


def test_every_protocol_is_tested_and_only_its_frames_are_embedded(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, asked = set_of(trained), []
    embed = Evaluator.embed
    monkeypatch.setattr(Evaluator, "embed", lambda self, model, rows=None, flip=None: (
        asked.append(rows) or embed(self, model, rows, flip)
    ))  # fmt: skip
    checkpoint = f"--eval.checkpoint={trained / 'last.pt'}"
    assert eval_script.evaluate([checkpoint, "--eval.protocols=auto", "--eval.features=bn"]) == 0
    evaluator = open_checkpoint(trained / "last.pt").evaluator
    few = PROTOCOLS[f"{SHORT[name]}-i2v-published"].rows(evaluator.test_set)
    assert np.array_equal(asked[0], few)
    assert len(few) < len(evaluator.test_set.person_N)
    assert eval_script.evaluate([checkpoint]) == 0
    found = {(row["protocol"], row["feature"]) for row in rows(trained) if row["checkpoint"] == "last.pt, epoch 2"}
    assert found >= {
        (f"{SHORT[name]}-{way}-{how}", feature + OF_TRACKLETS)
        for way in ("i2v", "v2i") for how in ("published", "all-frames") for feature in ("BN(Z)", "Z")
    }  # fmt: skip


def test_written_features_are_of_every_frame_and_judge_ranks_them_to_the_same_numbers(
    trained: Path, tmp_path: Path
) -> None:
    name, features = set_of(trained), tmp_path / "features.npz"
    assert eval_script.evaluate([f"--eval.checkpoint={trained / 'last.pt'}", f"--eval.export={features}"]) == 0
    beton = trained.parents[1] / "Beton"
    assert judge.main([str(features), f"--dataset={name}", f"--beton-root={beton}", f"--write={tmp_path}"]) == 0
    judged = {row["protocol"]: row for row in json.loads((tmp_path / "judge.json").read_text())["rows"][::-1]}
    assert {row["dataset"] for row in judged.values()} == {f"{name} (synthetic), one frame in 2"}
    last = [row for row in rows(trained) if row["checkpoint"] == "last.pt, epoch 2"]
    wanted = {row["protocol"]: row for row in last if row["feature"] == "BN(Z)" + OF_TRACKLETS}
    assert set(judged) == {one for one in PROTOCOLS if one.startswith(SHORT[name])}
    for protocol, row in judged.items():
        assert row["feature"] == "BN(Z); cosine, Euclidean" + OF_TRACKLETS
        assert (row["rank1"], row["mAP"]) == pytest.approx((wanted[protocol]["rank1"], wanted[protocol]["mAP"]))
    with refusal(ConfigError, "--order=published", f"{SHORT[name]}-i2v-published"):
        judge.main([str(features), f"--dataset={name}", f"--beton-root={beton}", "--order=published"])


def test_other_bounds_of_tracklets_are_another_training_set(trained: Path) -> None:
    """A run does not go on with them, and its checkpoint is not tested on what it may know."""
    name = set_of(trained)
    root, beton = trained.parents[1], trained.parents[1] / "Beton" / name
    said = (beton / "train.json").read_text()
    manifest = json.loads(said)
    first, second, *rest = manifest["tracklets"]
    joined = [[first[0] + second[0], *first[1:3], first[3] + second[3], *first[4:]], *rest]
    manifest.pop("checksum")
    (beton / "train.json").write_text(json.dumps({**manifest, "tracklets": joined}))
    try:
        with refusal(CheckpointError, trained / "last.pt"):
            eval_script.evaluate([f"--eval.checkpoint={trained / 'last.pt'}"])
        with refusal(CheckpointError, trained / "last.pt"):
            train(root, name)
    finally:
        (beton / "train.json").write_text(said)


def test_single_frames_can_be_drawn_too(trained: Path) -> None:
    name, top = set_of(trained), trained.parents[1]
    more = ["--data.samples=images", "--run.name=images", "--optim.epochs=1", "--report.write=false"]
    assert train(top, name, *more) == 0
    manifest = json.loads((top / "Beton" / name / "train.json").read_text())
    lines = [json.loads(line) for line in (top / "runs" / "images" / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines if line["kind"] == "train") == len(manifest["samples"]) // 2 // 8 + 1
