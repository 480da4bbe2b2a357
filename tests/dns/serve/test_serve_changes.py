"""An index that changes while it is served: what is added is found, what is removed is gone, from memory as well."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dns.search import calibration, manifest
from dns.search.network import SearchNetwork
from tests.dns.search.conftest import at, other_network
from tests.support.refusals import assert_tells
from tests.support.search_commands import BOXES, FRAMES, NETWORK, index, other_checkpoint, rows_of
from tests.support.served import Served, serving, wait_for

__all__ = ["at", "other_network"]  # fixtures of the search


@pytest.fixture
def changing(at: Path, network: SearchNetwork) -> Iterator[Served]:
    """A service of at / "Index"."""
    with serving(at / "Index", network) as running:
        yield running


def searched(served: Served, photo: bytes) -> int:
    return sum(one["searched"] for one in served.search(photo).json["answers"])


def maps_of(folder: Path) -> set[str]:
    """Return the files of the folder that this process has mapped, with a note where they were removed."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line[line.index("/") :] for line in lines if str(folder) in line}


def test_rows_that_are_added_are_searched(changing: Served, at: Path, photo: bytes) -> None:
    assert searched(changing, photo) == 85
    index(at / "Index", BOXES, FRAMES, NETWORK)
    assert searched(changing, photo) == 170
    assert changing.ask("GET", "/thumbnails/169").status == 200
    assert changing.ask("GET", "/about").json["rows"] == 170


def test_rows_that_are_removed_are_gone(changing: Served, at: Path, photo: bytes) -> None:
    """Without a request in between, their files are let go of as well: the system frees what nobody has mapped."""
    gone = [row.number for row in rows_of(at / "Index") if row.camera == "cam1"]
    kept = next(row.number for row in rows_of(at / "Index") if row.camera == "cam2")
    wait_for(lambda: maps_of(at / "Index"))
    assert changing.ask("GET", f"/thumbnails/{gone[0]}").status == 200
    index(at / "Index", "--remove", "--cameras=cam1")
    wait_for(lambda: not any("000001" in name for name in maps_of(at / "Index")))
    assert any("000002" in name for name in maps_of(at / "Index"))
    assert {changing.ask("GET", f"/thumbnails/{number}").status for number in gone} == {404}
    assert changing.ask("GET", f"/thumbnails/{kept}").status == 200
    assert searched(changing, photo) == 85 - len(gone)
    assert_tells(changing.search(photo, cameras="cam1").error, "cam1")


def test_a_calibration_that_is_made_or_deleted_counts(changing: Served, at: Path, photo: bytes) -> None:
    def strangers() -> set[bool]:
        answers = changing.search(photo).json["answers"]
        return {hit["strangers"] is None for one in answers for hit in one["hits"]}

    assert strangers() == {False}
    (at / "Index" / calibration.FILE).rename(at / "kept.npz")
    assert strangers() == {True}
    (at / "kept.npz").rename(at / "Index" / calibration.FILE)
    assert strangers() == {False}


def test_an_index_that_cannot_be_read_now_is_told_and_taken_again(changing: Served, at: Path, photo: bytes) -> None:
    path = at / "Index" / manifest.FILE
    path.rename(at / "kept.json")
    found = changing.search(photo)
    assert (found.status, found.headers["retry-after"]) == (503, "10")
    assert_tells(found.error, manifest.FILE)
    path.write_text("{")
    assert changing.ask("GET", "/thumbnails/0").status == 503
    shutil.copy(at / "kept.json", path)
    assert changing.search(photo).status == 200


def test_an_index_of_another_network_is_not_searched_with_this_one(
    changing: Served, at: Path, small_run: Path, photo: bytes
) -> None:
    shutil.rmtree(at / "Index")
    other_checkpoint(small_run / "last.pt", at / "second.pt")
    index(at / "Index", BOXES, FRAMES, f"--checkpoint={at / 'second.pt'}", f"--beton-root={at / 'none'}")
    found = changing.search(photo)
    assert found.status == 503
    assert_tells(found.error, "last.pt", "another network")
