"""make export: a folder that computes what the checkpoint computes, or nothing."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import eval as eval_script
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.results import read_rows
from dns.evaluation.trial import Trial
from dns.export import command, description, parity
from dns.export.__main__ import main
from dns.export.description import FILE
from dns.export.graph import ExportedBranch
from dns.network import Network
from dns.training.setup import open_checkpoint
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError
from tests.conftest import Refused
from tests.support.configs import small_set
from tests.support.made_sets import random_set
from tests.support.refusals import assert_tells, refusal


def use_made(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command take the ONNX files of `export`: to make them takes seconds."""
    modalities = (Modality.VISIBLE, Modality.INFRARED)
    made = {modality: (export / description.file_of(modality)).read_bytes() for modality in modalities}
    monkeypatch.setattr(command, "_networks", lambda *arguments: made)


def described(folder: Path) -> dict[str, Any]:
    return json.loads((folder / FILE).read_text())


def rows_of(checkpoint: Path, beton_root: Path, root: Path) -> list[dict[str, Any]]:
    """What eval.py reports of a copy of the checkpoint, so that its rows go beside the copy."""
    copy = root / checkpoint.name
    (shutil.copytree if checkpoint.is_dir() else shutil.copy)(checkpoint, copy)
    assert eval_script.evaluate([f"--eval.checkpoint={copy}", *small_set(beton_root), "--engine.precision=fp32"]) == 0
    return [dict(row) for row in read_rows(root / "result.json", "evaluation")]


def test_the_description_says_what_the_files_are_and_how_they_were_compared(export: Path, small_run: Path) -> None:
    about = described(export)
    assert sorted(path.name for path in export.iterdir()) == ["export.json", "infrared.onnx", "visible.onnx"]
    assert about["size_px"] == [96, 48]
    assert about["resize"] == "lanczos"
    assert about["checkpoint"]["file"] == "last.pt"
    assert about["parity"]["not_run"] is None
    assert set(about["parity"]["outputs"]) == {"1", "3", "48"}
    assert 0 < max(about["parity"]["outputs"].values()) < 1e-5
    assert about["parity"]["openvino"]["f32"] < 1e-4
    for row in about["parity"]["protocols"]:
        assert row["torch"] == pytest.approx(row["export"], abs=0.05)
        assert row["farthest"] < 2e-4
        assert row["of"] > 0
    assert [row["protocol"] for row in about["parity"]["protocols"]] == ["llcm-i2v", "llcm-v2i"]
    assert {"torch", "onnxruntime", "commit"} <= about["versions"].keys()


def test_eval_tests_the_folder_like_the_checkpoint(
    export: Path, small_run: Path, beton_root: Path, tmp_path: Path
) -> None:
    of_export = rows_of(export, beton_root, tmp_path)
    (tmp_path / "other").mkdir()
    of_checkpoint = rows_of(small_run / "last.pt", beton_root, tmp_path / "other")
    assert len(of_export) == len(of_checkpoint) == 4
    for ours, theirs in zip(of_export, of_checkpoint, strict=True):
        assert {key: ours[key] for key in ("protocol", "feature", "flip", "images", "matched")} == {
            key: theirs[key] for key in ("protocol", "feature", "flip", "images", "matched")
        }
        assert ours["rank1"] == pytest.approx(theirs["rank1"], abs=1e-3)
        assert ours["mAP"] == pytest.approx(theirs["mAP"], abs=1e-4)
        assert ours["weights"] != theirs["weights"]
        assert ours["precision"] == "onnxruntime float32"
        assert ours["checkpoint"] == "export: last.pt, epoch 1"


def test_the_report_of_a_folder_has_no_look_into_the_network(export: Path, beton_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "export"
    shutil.copytree(export, copy)
    options = [f"--eval.checkpoint={copy}", *small_set(beton_root), "--report.write=true"]
    assert eval_script.evaluate(options) == 0
    page = (tmp_path / "report.html").read_text()
    assert "onnxruntime float32" in page
    assert str(copy / FILE) in page


def test_the_lines_of_python_that_it_states_run(
    export: Path, small_run: Path, beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    generator = np.random.default_rng(0)
    photo = Image.fromarray(generator.integers(0, 256, (200, 90, 3), dtype=np.uint8))
    photo.save(folder / "photo.png")
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec("\n".join(described(folder)["python"]), found)
    opened = open_checkpoint(
        small_run / "last.pt", *small_set(beton_root), "--engine.precision=fp32", "--engine.device=cpu"
    )
    assert isinstance(opened.model, Network)
    pixels = np.array(photo.resize((48, 96), Image.Resampling.LANCZOS))[None]
    with torch.inference_mode():
        wanted = ExportedBranch(opened.model, "bn", visible=True).eval()(torch.from_numpy(pixels))[0]
    assert np.allclose(found["embedding"], wanted, atol=1e-5)


def test_without_a_test_set_it_says_that_no_protocol_was_run(
    small_run: Path, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_made(export, monkeypatch)
    to = tmp_path / "export"
    arguments = [f"--eval.checkpoint={small_run / 'last.pt'}", f"--data.beton_root={tmp_path}", f"--to={to}"]
    assert main(arguments) == 0
    assert "the protocols were not run: the test set is not converted here" in capsys.readouterr().out
    about = described(to)
    assert about["parity"]["images"] == "random"
    assert about["parity"]["protocols"] == []
    assert set(about["networks"]) == {"visible", "infrared"}
    assert main(arguments) == 0  # an export is replaced
    (to / FILE).unlink()
    with refusal(ConfigError, to, "--to=FOLDER"):  # what is no export is not
        main(arguments)
    assert {path.name for path in to.iterdir()} == {"visible.onnx", "infrared.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "smaller"), [("float16", 0.6), ("int8", 0.35)])
def test_coarser_numbers_are_smaller_and_refused_where_they_lose_too_much(
    precision: str, smaller: float, export: Path, small_run: Path, beton_root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = [f"--eval.checkpoint={small_run / 'last.pt'}", *small_set(beton_root), f"--precision={precision}"]
    to = tmp_path / "made" / precision
    assert main([*arguments, f"--to={to}", "--max-loss=100"]) == 0
    about, whole = described(to), described(export)
    for name, network in about["networks"].items():
        assert network["bytes"] < smaller * whole["networks"][name]["bytes"]
    assert 1e-5 < about["parity"]["outputs"]["48"] < 0.2
    rows = rows_of(to, beton_root, tmp_path)
    assert rows[0]["precision"] == f"onnxruntime {precision}"
    assert 100 * rows[0]["rank1"] == pytest.approx(about["parity"]["protocols"][0]["export"]["rank1"], abs=1e-6)
    use_made(to, monkeypatch)
    with refusal(CheckpointError, "llcm-i2v", "--max-loss=-101"):  # nothing loses so little
        main([*arguments, f"--to={tmp_path / 'refused'}", "--max-loss=-101"])
    assert {path.name for path in tmp_path.iterdir()} == {"made", precision, "result.json", "result.md"}


@pytest.mark.parametrize(
    ("limits", "tells"),
    [
        (parity.Limits(output=0.0), "visible.onnx"),
        (parity.Limits(points=-1.0), "llcm-i2v"),
        (parity.Limits(near=-1.0), "llcm-i2v"),
    ],
)
def test_what_differs_by_more_than_is_allowed_is_not_written(
    limits: parity.Limits, tells: str, small_run: Path, beton_root: Path, export: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    use_made(export, monkeypatch)
    monkeypatch.setattr(parity.Limits, "of", lambda *arguments: limits)
    with refusal(CheckpointError, tells, "Nothing was written"):
        main([f"--eval.checkpoint={small_run / 'last.pt'}", *small_set(beton_root), f"--to={tmp_path / 'export'}"])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_former_export(
    small_run: Path, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    to = tmp_path / "export"
    shutil.copytree(export, to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}

    def full(path: Path, content: bytes) -> None:
        if path.name == "infrared.onnx":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(content)

    use_made(export, monkeypatch)
    monkeypatch.setattr(command, "write_flushed", full)
    arguments: list[object] = [f"--eval.checkpoint={small_run / 'last.pt'}", f"--data.beton_root={tmp_path}"]
    message = refused(main, [*arguments, f"--to={to}"])
    assert "No space left on device" in message
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def other_file(folder: Path) -> str:
    shutil.copy(folder / "infrared.onnx", folder / "visible.onnx")
    return "visible.onnx"


def flipped_byte(folder: Path) -> str:
    content = bytearray((folder / "infrared.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "infrared.onnx").write_bytes(content)
    return "infrared.onnx"


def without_a_file(folder: Path) -> str:
    (folder / "infrared.onnx").unlink()
    return "infrared.onnx"


def rewritten(folder: Path, **changes: object) -> str:
    (folder / FILE).write_text(json.dumps({**described(folder), **changes}))
    return FILE


def no_json(folder: Path) -> str:
    (folder / FILE).write_text("{")
    return FILE


def foreign_network(folder: Path) -> str:
    """An ONNX file that does something else, with the JSON that belongs to it."""
    import onnx

    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", 96, 48, 3])
    other = onnx.helper.make_tensor_value_info("other", onnx.TensorProto.UINT8, ["batch", 96, 48, 3])
    node = onnx.helper.make_node("Identity", ["images"], ["other"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "foreign", [images], [other]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    return resigned(folder, model.SerializeToString())


def frozen_batch(folder: Path) -> str:
    """The network as an exporter freezes it: one image a batch."""
    import onnx

    model = onnx.load(folder / "visible.onnx")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    batch.Clear()
    batch.dim_value = 1
    return resigned(folder, model.SerializeToString())


def weights_elsewhere(folder: Path) -> str:
    import onnx

    path = folder / "visible.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return resigned(folder, path.read_bytes())


def resigned(folder: Path, network: bytes) -> str:
    """Replace the network of visible images, with the checksum that belongs to it."""
    (folder / "visible.onnx").write_bytes(network)
    networks = described(folder)["networks"]
    networks["visible"]["sha256"] = description.digest(folder / "visible.onnx")
    rewritten(folder, networks=networks)
    return "visible.onnx"


def no_network(folder: Path) -> str:
    return resigned(folder, b"text")


def other_widths(folder: Path) -> str:
    rewritten(folder, outputs={"embedding": 128, "bn": 128, "z": 128})
    return "visible.onnx"


@pytest.mark.parametrize(
    "damage",
    [
        other_file, flipped_byte, without_a_file, no_json, foreign_network, no_network,
        frozen_batch, weights_elsewhere, other_widths, lambda folder: rewritten(folder, parts=7),
        lambda folder: rewritten(folder, outputs={"embedding": 10**13, "bn": 10**13, "z": 10**13}),
        lambda folder: rewritten(folder, networks={"visible": described(folder)["networks"]["visible"]}),
        lambda folder: rewritten(folder, checkpoint={**described(folder)["checkpoint"], "dataset": "../synthetic"}),
        lambda folder: rewritten(folder, checkpoint={**described(folder)["checkpoint"], "config": {"model": 5}}),
        lambda folder: rewritten(folder, format="another"), lambda folder: rewritten(folder, version=2),
        lambda folder: rewritten(folder, size_px=[0, 1]), lambda folder: rewritten(folder, outputs={"bn": 1}),
        lambda folder: rewritten(folder, networks={}), lambda folder: rewritten(folder, checkpoint={}),
        lambda folder: rewritten(folder, checkpoint={**described(folder)["checkpoint"], "config": {"data": 1}}),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_folder_is_refused(
    damage: Callable[[Path], str], export: Path, beton_root: Path, tmp_path: Path, refused: Refused
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    named = damage(folder)
    message = refused(eval_script.evaluate, [f"--eval.checkpoint={folder}", *small_set(beton_root)])
    assert_tells(message, folder / named, "make export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_numbers_that_are_not_finite_are_not_written(
    small_run: Path, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one network alone, whatever may be lost."""
    import onnx

    model = onnx.load(export / "visible.onnx")
    neck = next(one for one in model.graph.initializer if one.name.endswith("neck.weight"))
    values = onnx.numpy_helper.to_array(neck).copy()
    values[0] = np.nan
    neck.CopyFrom(onnx.numpy_helper.from_array(values, neck.name))
    infrared = (export / "infrared.onnx").read_bytes()
    made = {Modality.VISIBLE: model.SerializeToString(), Modality.INFRARED: infrared}
    monkeypatch.setattr(command, "_networks", lambda *arguments: made)
    for precision in ("float32", "float16"):
        with refusal(CheckpointError, "visible.onnx", "not finite"):
            options = [f"--data.beton_root={tmp_path}", f"--to={tmp_path / 'export'}", f"--precision={precision}"]
            main([f"--eval.checkpoint={small_run / 'last.pt'}", *options])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--max-loss=1", "--engine.device=cuda", "--eval.features=z"])
def test_options_that_would_change_nothing_are_refused(option: str, small_run: Path, tmp_path: Path) -> None:
    with refusal(ConfigError, option.partition("=")[0]):
        main([f"--eval.checkpoint={small_run / 'last.pt'}", option, f"--to={tmp_path / 'export'}"])


def test_a_loss_that_is_no_number_is_refused(small_run: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([f"--eval.checkpoint={small_run / 'last.pt'}", "--precision=int8", "--max-loss=nan"])
    assert "--max-loss" in capsys.readouterr().err


def test_a_folder_that_is_no_export_is_named(tmp_path: Path, refused: Refused, export: Path) -> None:
    assert_tells(refused(eval_script.evaluate, [f"--eval.checkpoint={tmp_path}"]), tmp_path, "export.json")
    assert_tells(refused(main, [f"--eval.checkpoint={export}", f"--to={tmp_path / 'x'}"]), export, "best.pt")


def test_swaps_are_counted_as_a_plain_loop_counts_them() -> None:
    test = random_set([(1, 0), (2, 1)], seed=3)
    protocol = next(name for name in ("llcm-i2v", "llcm-v2i") if PROTOCOLS[name].trials(test))
    generator = torch.Generator().manual_seed(0)
    before = torch.nn.functional.normalize(torch.randn(len(test.person_N), 6, generator=generator))
    after = before + 0.05 * torch.randn(before.shape, generator=generator)
    places, of, farthest = 0, 0, 0.0
    trial: Trial
    for trial in PROTOCOLS[protocol].trials(test):
        for query in trial.query_rows:
            first, second = ([float(rows[query] @ rows[row]) for row in trial.gallery_rows] for rows in (before, after))
            orders = [sorted(range(len(found)), key=lambda at, found=found: -found[at]) for found in (first, second)]
            places += sum(one != two for one, two in zip(*orders, strict=True))
            of += len(first)
            for later, image in enumerate(orders[1]):
                farthest = max([farthest, *(first[image] - first[one] for one in orders[1][:later])])
    found = parity.swaps(protocol, test, before, after)
    assert (found.places, found.of) == (places, of)
    assert found.farthest == pytest.approx(farthest, abs=1e-6)
    assert places > 0
