"""Every data set's whole path, small: drawn in its layout, converted, verified, trained for a few steps, tested."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import eval as eval_script
import train_ffcv
from dns.evaluation.protocols import PROTOCOLS
from dns.training.options import Config
from ffcv_convert import __main__ as converter
from ffcv_convert.common.errors import CheckpointError, ConfigError, ProtocolError, ReportError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

Layout = Callable[[str], Path]
OWN = {  # layout -> protocols that fit it, beyond which it has none
    "sysu": {name for name in PROTOCOLS if name.startswith("sysu") and "official" not in name},
    "regdb": {"regdb-t2v", "regdb-v2t"},
    "llcm": {"llcm-i2v", "llcm-v2i", "llcm-v2i-transposed", "llcm-v2i-deen"},
    "market_sketch_1k": {"mask1k", "mask1k-multi"},
    "pku_sketch": {"pku"},
}
FAST = [
    "--model.architecture=resnet10_half", "--model.pretrained=none", "--optim.epochs=1", "--data.persons=4",
    "--data.pictures=2", "--eval.batch_size=32", "--data.workers=1", "--engine.device=cpu", "--augment.pad_px=2",
    "--report.write=false",
]  # fmt: skip


def options(folder: Path, runs: Path) -> list[str]:
    return [f"--data.beton_root={folder.parent}", f"--run.root={runs}", *FAST]


def train(folder: Path, runs: Path, *more: str) -> int:
    recipe = REPOSITORY / "configs" / f"{folder.name}.yaml"
    return train_ffcv.train(["--config-file", str(recipe), *options(folder, runs), *more])


def rows(run: Path) -> list[dict]:
    return json.loads((run / "result.json").read_text())["evaluation"]


@pytest.fixture(scope="module")
def sketches(converted_layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on PKU-Sketch's layout, whose configuration asks for re-ranking. Read only."""
    runs = tmp_path_factory.mktemp("runs")
    assert train(converted_layout("pku_sketch"), runs, "--run.repeats=1", "--eval.re_ranking=true") == 0
    return runs / "pku_sketch-seed0"


@pytest.fixture
def sketch_run(sketches: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(sketches, tmp_path / "pku_sketch-seed0")


@pytest.mark.parametrize("layout", OWN)
def test_a_drawn_set_is_converted_verified_trained_and_tested(
    layout: str, data_root_of: Layout, converted_layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, data = converted_layout(layout), data_root_of(layout).parent
    roots = ["--data-root", str(data), "--beton-root", str(folder.parent), "--dataset", layout]
    assert converter.main(["verify", "--deep", *roots]) == 0
    said = capsys.readouterr()
    assert "converted again" in said.out
    assert "warning" not in said.err  # drawn people are not compared with the published numbers

    trial = ["--data.trial=2"] if layout == "regdb" else []
    assert train(folder, tmp_path, "--run.repeats=1", *trial) == 0
    run = tmp_path / f"{layout}-seed0" / ("trial-2" if trial else "")
    assert rows(run)[0]["dataset"] == f"{layout} (synthetic)"

    chosen = ",".join(sorted(OWN[layout]))
    tested = [f"--eval.checkpoint={run / 'last.pt'}", f"--eval.protocols={chosen}"]
    features = tmp_path / "features.npz"
    assert eval_script.evaluate([*tested, f"--eval.export={features}"]) == 0
    found = [row for row in rows(run) if row["checkpoint"].endswith("last.pt, epoch 1")]
    assert {(row["protocol"], row["feature"]) for row in found} == {
        (protocol, feature) for protocol in OWN[layout] for feature in ("BN(Z)", "Z")
    }
    assert {row["re_ranking"] for row in found} == {"off"}
    for row in found:
        assert 0 < row["mINP"] <= 1
        assert len(row["per_trial"]) == row["trials"] == (10 if layout in ("sysu", "llcm") else 1)
    with np.load(features, allow_pickle=False) as stored:
        assert stored["embeddings"].shape == (len(stored["paths"]), 256)
        assert set(stored["modality"].tolist()) == ({0, 2} if "sketch" in layout else {0, 1})


def test_a_protocol_of_another_set_is_refused_before_the_work(sketch_run: Path) -> None:
    checkpoint = sketch_run / "last.pt"
    with refusal(ProtocolError, "sysu-all", "infrared"):
        eval_script.evaluate([f"--eval.checkpoint={checkpoint}", "--eval.protocols=sysu-all"])


def test_re_ranking_and_flip_are_asked_for_and_named(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("market_sketch_1k")
    assert train(folder, tmp_path, "--data.styles=ABC", "--eval.styles=DEF") == 0
    run = tmp_path / "market_sketch_1k-seed0"
    assert rows(run)[0]["dataset"] == "market_sketch_1k (synthetic), styles ABC tested on DEF"
    more = ["--eval.re_ranking=true", "--eval.flip=normalised", "--eval.features=z"]
    assert eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", *more]) == 0
    with refusal(ConfigError, "eval.features", "'bn,bn'"):
        eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", "--eval.features=bn,bn"])
    assert eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", "--eval.protocols=auto,mask1k"]) == 0
    assert {row["trials"] for row in rows(run)} == {1}
    found = {(row["protocol"], row["re_ranking"], row["flip"], row["feature"]) for row in rows(run)}
    assert ("mask1k", "k-reciprocal", "normalised", "Z") in found
    assert ("mask1k", "off", "off", "BN(Z)") in found  # without flip, as the published figures of sketches


def test_regdb_trains_its_trials_in_turn_and_goes_on_where_it_stopped(
    converted_layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Two of the ten are enough: the others are taken out of what the set says of itself."""
    folder = converted_layout("regdb")
    for script in (train_ffcv, eval_script):
        monkeypatch.setattr(script, "trials_of", lambda folder: [3, 8])
    real, trained = train_ffcv.train_run, []

    def stopping(asked: Config) -> int:
        trained.append(asked.data.trial)
        return 143 if trained == [3, 8] else real(asked)

    monkeypatch.setattr(train_ffcv, "train_run", stopping)
    assert train(folder, tmp_path) == 143
    top = tmp_path / "regdb-seed0"
    assert not (top / "result.json").exists()
    before = (top / "trial-3" / "log.jsonl").read_bytes()
    assert train(folder, tmp_path) == 0
    assert trained == [3, 8, 3, 8]
    assert (top / "trial-3" / "log.jsonl").read_bytes() == before, "a finished trial is not trained again"
    assert "finished before" in capsys.readouterr().out

    single = [rows(top / f"trial-{trial}")[0] for trial in (3, 8)]
    row = rows(top)[0]
    assert (row["trials"], row["protocol"]) == (2, "regdb-t2v")
    assert row["rank1"] == pytest.approx(sum(one["rank1"] for one in single) / 2)
    assert row["rank1_std"] == pytest.approx(abs(single[0]["rank1"] - single[1]["rank1"]) / 2)

    pattern = f"--eval.checkpoint={top}/trial-{{trial}}/last.pt"
    assert eval_script.evaluate([pattern, "--eval.features=bn"]) == 0
    both = {one["protocol"]: one for one in rows(top) if one["checkpoint"] == "last.pt of 2 runs"}
    assert both["regdb-t2v"]["per_trial"] == [one["per_trial"][0] for one in single]
    assert set(both) == {"regdb-t2v", "regdb-v2t"}
    for other in (0, 8):
        with refusal(ConfigError, "data.trial", "trial 3", f"trial {other}"):
            eval_script.evaluate([f"--eval.checkpoint={top}/trial-3/last.pt", f"--data.trial={other}"])
    with refusal(CheckpointError, top / "trial-101" / "last.pt"):
        eval_script.evaluate([pattern, "--data.trial=101"])
    with refusal(ConfigError, "data.trial", "'abc'"):
        eval_script.evaluate([pattern, "--data.trial=abc"])
    (top / "trial-8" / "last.pt").unlink()
    with refusal(CheckpointError, top / "trial-8" / "last.pt", "1 of 2"):
        eval_script.evaluate([pattern])


def test_training_never_re_ranks_and_its_wish_is_not_inherited(sketch_run: Path) -> None:
    assert "re_ranking: true" in (sketch_run / "config.yaml").read_text()
    assert {row["re_ranking"] for row in rows(sketch_run)} == {"off"}
    assert eval_script.evaluate([f"--eval.checkpoint={sketch_run / 'last.pt'}"]) == 0
    assert {row["re_ranking"] for row in rows(sketch_run)} == {"off"}


def test_a_checkpoint_of_another_set_needs_its_protocols_named(converted_layout: Layout, sketch_run: Path) -> None:
    folder, checkpoint = converted_layout("market_sketch_1k"), sketch_run / "last.pt"
    arguments = [f"--eval.checkpoint={checkpoint}", "--data.set=market_sketch_1k", f"--data.beton_root={folder.parent}"]
    with refusal(ConfigError, "--eval.protocols", "pku_sketch", "market_sketch_1k"):
        eval_script.evaluate(arguments)
    assert eval_script.evaluate([*arguments, "--eval.protocols=mask1k", "--eval.features=bn"]) == 0
    assert "last.pt, epoch 1, trained on pku_sketch" in {row["checkpoint"] for row in rows(checkpoint.parent)}


def test_sysu_with_the_official_draw(data_root_of: Layout, tmp_path: Path) -> None:
    """Two images of each (identity, camera): the permutation decides which one is the gallery's."""
    root = tmp_path / "data" / "SYSU-MM01"
    shutil.copytree(data_root_of("sysu"), root)
    cells = np.empty((6, 1), dtype=object)
    for camera in range(6):
        cells[camera, 0] = np.empty((40, 1), dtype=object)
        for person in range(40):
            count = len(list((root / f"cam{camera + 1}" / f"{person + 1:04d}").glob("*.jpg")))
            rng = np.random.default_rng([camera, person])
            order = [rng.permutation(count) + 1 for _ in range(10)]
            cells[camera, 0][person, 0] = np.array(order, dtype=np.uint8).reshape(10, count)
    savemat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells})
    convert(DATASETS["sysu"], tmp_path / "data", tmp_path / "beton", ImageFormat(64, 32), workers=1)
    assert train(tmp_path / "beton" / "sysu", tmp_path) == 0
    run = tmp_path / "sysu-seed0"
    protocols = "sysu-all-official,sysu-indoor-official,sysu-all-official-multi"
    assert eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", f"--eval.protocols={protocols}"]) == 0
    found = {row["protocol"]: row for row in rows(run) if row["feature"] == "BN(Z)"}
    assert set(protocols.split(",")) <= set(found)
    assert found["sysu-all-official"]["trials"] == 10


@pytest.mark.parametrize("damage", ["config", "model", "size_px", "view", "nan", "result"])
def test_damaged_checkpoints_and_results_are_refused(sketch_run: Path, damage: str) -> None:
    path = sketch_run / "last.pt"
    content = torch.load(path, weights_only=True)
    if damage == "view":
        content["model"]["classifier.weight"] = torch.zeros(1, 1).expand(10**9, 256)
    elif damage == "nan":
        content["model"]["layer3.0.conv1.weight"].fill_(float("nan"))
    elif damage == "result":
        (path.parent / "result.json").write_text('{"evaluation": [')
    else:
        content[damage] = 5
    torch.save(content, path)
    error, file = (ReportError, path.with_name("result.json")) if damage == "result" else (CheckpointError, path)
    word = {"view": "classifier.weight", "nan": "finite", "result": "readable"}.get(damage, damage)
    with refusal(error, file, word):
        eval_script.evaluate([f"--eval.checkpoint={path}"])


def test_repeats_are_runs_of_one_seed_after_another(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("pku_sketch")
    assert train(folder, tmp_path, "--run.repeats=2", "--run.seed=4") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"pku_sketch-seed4", "pku_sketch-seed5", "pku_sketch-seeds4-5"}
    row, *_ = rows(tmp_path / "pku_sketch-seeds4-5")
    each = [rows(tmp_path / f"pku_sketch-seed{seed}")[0]["mAP"] for seed in (4, 5)]
    assert row["mAP"] == pytest.approx(sum(each) / 2)
    assert row["checkpoint"] == "last.pt of 2 runs"
    pattern = f"--eval.checkpoint={tmp_path}/pku_sketch-seed{{seed}}/last.pt"
    assert eval_script.evaluate([pattern, "--eval.features=bn"]) == 0
    assert (rows(tmp_path)[0]["trials"], rows(tmp_path)[0]["checkpoint"]) == (2, "last.pt of 2 runs")
