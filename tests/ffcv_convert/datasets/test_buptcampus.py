"""BUPTCampus's listing, against a naive reading of the lists, and against lists and folders with mistakes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import buptcampus
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Tracklet, by_tracklet, check_records
from ffcv_convert.survey import Part, see
from ffcv_convert.verify import verify
from ffcv_convert.video import Selection, tracklet_rows
from tests.support.refusals import refusal
from tests.support.trees import touch, write

CAMERAS = {"LS3": 1, "G25": 2, "CQ1": 3, "W4": 4, "TSG1": 5, "TSG2": 6}
LISTS = {
    "train.txt": "2 RGB/IR TSG2 1\n2 RGB/IR LS3 2\n",
    "train_auxiliary.txt": "9 RGB/IR W4 1\n",
    "query.txt": "5 RGB G25 1\n6 IR CQ1 1\n",
    "gallery.txt": "5 IR LS3 1\n5 RGB G25 1\n6 RGB LS3 1\n",
}


def paths_of(listed: str) -> dict[str, Any]:
    """data_paths.json: two frames, or one of a tracklet 2, for each line of the lists, in FakeIR too."""
    paths: dict[str, Any] = {}
    for line in listed.splitlines():
        person, words, camera, tracklet = line.split()
        for word in (*words.split("/"), "FakeIR"):
            frames = [f"{person}/{word}/{camera}/{person}_{word}_{camera}_{tracklet}_{n}.jpg" for n in (851, 852)]
            own = paths.setdefault(person, {}).setdefault(word, {}).setdefault(camera, {})
            own[tracklet] = frames[: 3 - int(tracklet)]
    return paths


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "BUPTCampus"
    for name, text in LISTS.items():
        write(root, name, text)
    paths = paths_of("".join(LISTS.values()))
    write(root, "data_paths.json", json.dumps(paths))
    for person in paths.values():
        for word in person.values():
            touch(root, *(f"DATA/{f}" for camera in word.values() for frames in camera.values() for f in frames))
    return root


def naive(root: Path) -> list[tuple]:
    """(image, identity, camera, modality, split) of every frame. A query in the gallery is read once."""
    paths = json.loads((root / "data_paths.json").read_text())
    rows = []
    for split, lists in (("train", ["train"]), ("auxiliary", ["train_auxiliary"]), ("test", ["query", "gallery"])):
        for name in lists:
            for line in (root / f"{name}.txt").read_text().split("\n")[:-1]:
                person, modality, camera, tracklet = line.split(" ")
                for word in ("RGB", "IR") if modality == "RGB/IR" else (modality,):
                    for path in paths[person][word][camera][tracklet]:
                        row = (f"DATA/{path}", int(person), CAMERAS[camera], 1 if word == "IR" else 0, split)
                        if row not in rows:
                            rows.append(row)
    return rows


def test_records_are_those_of_a_naive_reading(tree: Path, drawn_root: Path) -> None:
    for root in (tree, drawn_root / "BUPTCampus"):
        records = buptcampus.list_records(root)
        check_records(records, root)
        assert [(r.image, r.person, r.camera, int(r.modality), r.split) for r in records] == naive(root)
        assert not any("FakeIR" in record.image for record in records)
        assert all((root / record.image).exists() for record in records)


def test_a_tracklet_knows_its_frames_and_its_role(tree: Path) -> None:
    found = [one for one, frames in by_tracklet(buptcampus.list_records(tree)) if frames[0].split != "auxiliary"]
    assert found == [
        Tracklet(0, 2),
        Tracklet(1, 2),
        Tracklet(2, 1),
        Tracklet(3, 1),
        Tracklet(0, 2, query=True, gallery=True),
        Tracklet(1, 2, query=True),
        Tracklet(2, 2, gallery=True),
        Tracklet(3, 2, gallery=True),
    ]


def test_the_list_of_auxiliary_identities_may_be_missing(tree: Path) -> None:
    before = buptcampus.list_records(tree)
    (tree / "train_auxiliary.txt").unlink()
    assert buptcampus.list_records(tree) == [record for record in before if record.split != "auxiliary"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("query.txt", None, ["query.txt", "no such"]),
        ("train.txt", "", ["train.txt", "empty"]),
        ("train.txt", "2 RGB/IR TSG2\n", ["train.txt line 1", "'2 RGB/IR TSG2'"]),
        ("train.txt", "2 RGB/FakeIR TSG2 1\n", ["train.txt line 1"]),
        ("train.txt", "2 RGB/IR TSG3 1\n", ["train.txt line 1", "TSG2"]),
        ("train.txt", "two RGB/IR TSG2 1\n", ["train.txt line 1"]),
        ("train.txt", "2 RGB/IR TSG2 1\n2 RGB/IR TSG2 1\n", ["train.txt line 2", "train.txt line 1"]),
        ("gallery.txt", "5 IR LS3 7\n", ["gallery.txt line 1", "'5 IR LS3 7'", "data_paths.json"]),
        ("gallery.txt", "7 IR LS3 1\n", ["gallery.txt line 1", "'7 IR LS3 1'"]),
        ("gallery.txt", "2 IR TSG2 1\n", ["", "identity 2"]),
        ("data_paths.json", None, ["data_paths.json", "no such"]),
        ("data_paths.json", "{", ["data_paths.json", "JSON"]),
        ("data_paths.json", "[" * 100_000, ["data_paths.json"]),
        ("data_paths.json", "[]", ["data_paths.json"]),
        ("data_paths.json", '{"2": 3}', ["train.txt line 1"]),
        ("data_paths.json", '{"2": {"RGB": {"TSG2": {"1": []}}}}', ["train.txt line 1"]),
        ("data_paths.json", '{"2": {"RGB": {"TSG2": {"1": [3]}}}}', ["train.txt line 1"]),
        (
            "data_paths.json",
            '{"2": {"RGB": {"TSG2": {"1": ["../../x.jpg"]}}}}',
            ["", "data_paths.json", "'DATA/../../x.jpg'"],
        ),
    ],
)
def test_damaged_lists_are_refused_by_name(tree: Path, name: str, text: str | None, told: list[str]) -> None:
    write(tree, name, text)
    with refusal(DataError, tree / told[0], *told[1:]):
        buptcampus.list_records(tree)


def test_the_same_frame_twice_in_a_tracklet_is_refused(tree: Path) -> None:
    paths = paths_of("".join(LISTS.values()))
    paths["2"]["IR"]["TSG2"]["1"] *= 2
    write(tree, "data_paths.json", json.dumps(paths))
    with refusal(DataError, tree / "DATA/2/IR/TSG2/2_IR_TSG2_1_851.jpg", "twice"):
        check_records(buptcampus.list_records(tree), tree)


def test_auxiliary_identities_train_if_asked_for(drawn_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn_root / "BUPTCampus", tmp_path / "BUPTCampus")
    touch(root, "DATA/1/FakeIR/CQ1/1.jpg")
    said: list[str] = []
    manifests = []
    for auxiliary in (False, True):
        convert(
            buptcampus.DATASET, tmp_path, tmp_path / "Beton", ImageFormat(64, 32), Selection(1, auxiliary), workers=1,
            say=said.append,
        )  # fmt: skip
        manifests.append(open_beton(tmp_path / "Beton" / "buptcampus" / "train.beton").manifest)
    assert set(manifests[0].column("split")) == {"train"}
    assert set(manifests[1].column("split")) == {"train", "auxiliary"}
    assert [manifest.identities for manifest in manifests] == [4, 7]
    assert "buptcampus (synthetic)/auxiliary: 3 identities" in "\n".join(said)
    assert "passed over" not in "\n".join(said)  # neither made-up infrared nor auxiliary identities
    lines = list(verify(buptcampus.DATASET, tmp_path, tmp_path / "Beton", deep=False, workers=1))
    assert "buptcampus (synthetic): 3 auxiliary identities" in lines
    (root / "train_auxiliary.txt").unlink()
    with refusal(DataError, root, "--no-auxiliary"):
        convert(
            buptcampus.DATASET, tmp_path, tmp_path / "Beton", ImageFormat(64, 32), Selection(auxiliary=True), workers=1
        )


def write_full_size(root: Path) -> None:
    """Lists with the real set's numbers: identities, frames, tracklets, queries. No image is needed to list them."""
    paths: dict[str, Any] = {}
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    walks: dict[tuple[int, str], int] = {}

    def add(name: str, persons: range, words: str, tracklets: int, frames: int) -> None:
        for number in range(tracklets):
            person, camera = persons[number % len(persons)], list(CAMERAS)[number // len(persons) % 6]
            walk = walks[person, camera] = walks.get((person, camera), 0) + 1
            lists[name].append(f"{person} {words} {camera} {walk}")
            count = (number + 1) * frames // tracklets - number * frames // tracklets
            for word in words.split("/"):
                own = paths.setdefault(str(person), {}).setdefault(word, {}).setdefault(camera, {})
                own[str(walk)] = [
                    f"{person}/{word}/{camera}/{person}_{word}_{camera}_{walk}_{frame}.jpg" for frame in range(count)
                ]

    add("train.txt", range(1, 1_075), "RGB/IR", 3_574, 398_069)
    add("train_auxiliary.txt", range(1_075, 2_005), "RGB/IR", 930, 104_575)
    add("query.txt", range(2_005, 2_541), "IR", 536, 53_417)
    add("query.txt", range(2_541, 3_081), "RGB", 540, 48_521)
    for word in ("RGB", "IR"):
        add("gallery.txt", range(2_005, 3_081), word, 2_422, 298_771)
    for name, lines in lists.items():
        write(root, name, "\n".join(lines))
    write(root, "data_paths.json", json.dumps(paths))


@pytest.mark.slow
def test_lists_of_the_real_size_are_listed_with_the_published_numbers(tmp_path: Path) -> None:
    write_full_size(tmp_path)
    records = buptcampus.list_records(tmp_path)
    seen = see([Part([(r.person, r.camera, r.modality, r.split) for r in records], {}, tracklet_rows(records))])
    assert {key: seen.counts[key] for key in buptcampus.DATASET.counts} == buptcampus.DATASET.counts
    assert seen.counts["train images"] + seen.counts["auxiliary images"] + seen.counts["test images"] == 1_704_768
