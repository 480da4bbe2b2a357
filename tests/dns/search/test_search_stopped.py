"""What stops the commands of the search, such as a full disk: a message, and an index as it was before."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from dns.search import __main__ as command
from dns.search import calibration
from dns.search.__main__ import main
from tests.conftest import Refused
from tests.dns.search.conftest import Add
from tests.support.refusals import assert_tells
from tests.support.search_commands import (
    BOXES,
    FRAMES,
    NETWORK,
    contents,
    index,
    lines_of,
    rows_of,
    some_boxes,
    write_list,
)  # fmt: skip


def test_where_nothing_can_be_used_nothing_is_written(footage: Path, at: Path, capsys: pytest.CaptureFixture) -> None:
    lines = [{**line, "w": "0"} for line in lines_of(footage)[:3]]
    write_list(at / "none.csv", lines)
    with pytest.raises(SystemExit) as caught, command.user_errors("stopped"):
        main(["index", "New", "--boxes=none.csv", FRAMES, NETWORK])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert "note: 3 boxes without width or height: none.csv line 2" in shown.out
    assert_tells(shown.err, "none.csv", "nothing to add")
    assert not (at / "New").exists()


def test_on_a_full_disk_the_index_stays_as_it_was(at: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    before, rows = contents(at / "Index"), rows_of(at / "Index")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert_tells(refused(main, ["index", "Index", BOXES, FRAMES]), "Index", "Free some space")
        assert_tells(refused(main, ["index", "Index", "--remove", "--cameras=cam1"]), "Index", "Free some space")
    assert contents(at / "Index") == before
    index(at / "Index", BOXES, FRAMES)
    assert len(rows_of(at / "Index")) == 2 * len(rows)


def test_an_index_whose_network_is_gone_is_searched_with_a_copy_of_it(
    add: Add, footage: Path, at: Path, small_run: Path, refused: Refused
) -> None:
    shutil.copy(small_run / "last.pt", at / "moved.pt")
    shutil.rmtree(at / "Index")
    folder = add(*some_boxes(at / "a.csv", footage), checkpoint=at / "moved.pt")
    (at / "moved.pt").rename(at / "elsewhere.pt")
    asked: list[object] = ["search", folder, "photo.jpg", "--modality=infrared"]
    assert_tells(refused(main, asked), at / "moved.pt")
    assert main([*map(str, asked), "--checkpoint=elsewhere.pt"]) == 0


def test_rows_that_were_embedded_elsewhere_take_no_image(at: Path, refused: Refused) -> None:
    index(Path("Theirs"), "--embeddings=a.npz", "--camera=1", "--modality=visible")
    for network in ([], [NETWORK]):
        asked: list[object] = ["search", "Theirs", "photo.jpg", "--modality=infrared", *network]
        assert_tells(refused(main, asked), "Theirs", "a.npz", "QUERY=query.npz")
    assert_tells(refused(main, ["index", "Theirs", BOXES, FRAMES, NETWORK]), "last.pt", "Theirs", "a.npz")


def test_a_list_without_identities_is_no_calibration_and_a_damaged_one_is_made_again(
    footage: Path, at: Path, refused: Refused
) -> None:
    path = at / "Index" / calibration.FILE
    write_list(at / "unlabelled.csv", [{**line, "person": ""} for line in lines_of(footage)])
    write_list(at / "two.csv", [line for line in lines_of(footage) if line["person"] in ("9", "10")])
    before = contents(at / "Index")
    for name, tells in (("unlabelled.csv", "person"), ("two.csv", 2)):
        assert_tells(refused(main, ["index", "Index", BOXES, FRAMES, f"--calibrate={name}"]), name, tells)
    assert contents(at / "Index") == before
    path.write_text("{")
    assert_tells(refused(main, ["search", "Index", "photo.jpg", "--modality=infrared"]), path.relative_to(at))
    index(at / "Index", f"--calibrate={footage / 'boxes.csv'}", FRAMES)
    assert main(["search", "Index", "photo.jpg", "--modality=infrared"]) == 0


def test_too_few_people_in_the_test_set_are_a_note(
    footage: Path, beton_root: Path, at: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    refused: Refused,
) -> None:  # fmt: skip
    """Unless that set was asked for."""
    monkeypatch.setattr(calibration, "DECIDING", 1000)  # pairs of identities
    options = [*some_boxes(at / "a.csv", footage), NETWORK, f"--beton-root={beton_root}"]
    index(at / "New", *options)
    shown = capsys.readouterr().out
    assert "note: not calibrated" in shown
    assert "4 rows now" in shown
    assert_tells(refused(main, ["index", "New", *options, "--dataset=synthetic"]), "synthetic", 5)
    assert len(rows_of(at / "New")) == 4


def test_a_home_folder_is_known(at: Path, footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves ~ alone after --option=."""
    monkeypatch.setenv("HOME", str(at))
    index(Path("~/Other"), "--boxes=~/Footage/boxes.csv", "--frames=~/Footage", "--checkpoint=~/last.pt")
    assert len(rows_of(at / "Other")) == 85
    assert not (at / "~").exists()


def test_without_pyarrow_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert_tells(refused(main, ["verify", "Index"]), "pyarrow", "pip install")
