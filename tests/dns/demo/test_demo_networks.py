"""Which networks the page takes: those of a folder, or of a checkpoint, which is exported once."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dns.demo import exported as module
from dns.demo.__main__ import converted, main
from dns.demo.exported import open_networks
from dns.export import description
from dns.export.command import Wanted
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError
from tests.support.made_export import WIDTH, make_export
from tests.support.refusals import refusal


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What was asked of dns.export, which exports nothing here; the checkpoint is a published one."""
    found: list[Wanted] = []
    monkeypatch.setattr(module, "export", lambda wanted: found.append(wanted) or {})
    stored = SimpleNamespace(load_to_test=lambda *_: {"config": {"model": {"method": "dns"}}}, is_ours=lambda _: False)
    monkeypatch.setattr(module, "checkpoint", stored)
    return found


def lay_export(folder: Path, *, same: bool) -> None:
    """Put a checkpoint into the folder, and an export of it, or of another one, beside it."""
    pytest.importorskip("onnx")
    (folder / "best.pt").write_bytes(b"a checkpoint")
    about = make_export(folder / "best-float32") / "export.json"
    content = json.loads(about.read_text())
    if same:
        content["checkpoint"]["sha256"] = description.digest(folder / "best.pt")
    about.write_text(json.dumps(content))


def test_a_folder_is_taken_as_it_is(exported: Path) -> None:
    networks = open_networks(exported, [], Path("Beton"), None)
    assert (networks.size_px, networks.width) == ((96, 48), WIDTH)
    assert networks.network(Modality.INFRARED) == exported / "infrared.onnx"
    assert networks.network(Modality.SKETCH) is None
    with refusal(ConfigError, "--model.method=agw", exported):
        open_networks(exported, ["--model.method=agw"], Path("Beton"), None)


def test_a_checkpoint_is_exported_where_make_export_writes(asked: list[Wanted], tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"a checkpoint")
    open_networks(tmp_path / "best.pth", ["--model.method=agw"], tmp_path / "Beton", "sysu")
    (one,) = asked
    assert (one.checkpoint, one.to, one.precision) == (tmp_path / "best.pth", tmp_path / "best-float32", "float32")
    assert one.options == (f"--data.beton_root={tmp_path / 'Beton'}", "--data.set=sysu", "--model.method=agw")


@pytest.mark.parametrize("same", [True, False])
def test_an_export_of_the_same_checkpoint_is_not_made_again(same: bool, asked: list[Wanted], tmp_path: Path) -> None:
    lay_export(tmp_path, same=same)
    open_networks(tmp_path / "best.pt", [], Path("Beton"), None)
    assert bool(asked) is not same


def test_options_of_the_export_are_told_from_mistyped_ones(
    asked: list[Wanted], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """With options of its own, a checkpoint is exported again; another option that nobody reads is refused."""
    lay_export(tmp_path, same=True)
    open_networks(tmp_path / "best.pt", ["--model.method=agw"], Path("Beton"), None)
    assert len(asked) == 1
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "best.pt"), "--image=true"])
    assert left.value.code == 2
    assert "--image=true" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    with refusal(CheckpointError, tmp_path / "best.pt", "make demo CHECKPOINT=..."):
        open_networks(tmp_path / "best.pt", [], Path("Beton"), None)


def test_images_of_the_networks_size_come_first(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "llcm", "make data DATASET=llcm"):
        converted(tmp_path, "llcm", (384, 144))
    for folder in (tmp_path / "llcm", tmp_path / "384x144" / "llcm"):
        folder.mkdir(parents=True)
        assert converted(tmp_path, "llcm", (384, 144)) == folder
    assert converted(tmp_path, "llcm", (288, 144)) == tmp_path / "llcm"
