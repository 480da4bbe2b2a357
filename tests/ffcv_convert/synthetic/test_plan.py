"""Plans of synthetic sets: names, lists and numbers as in the real sets, before anything is drawn."""

import re
from collections import Counter

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.synthetic import FOLDERS, Options
from ffcv_convert.synthetic.options import PlannedImage
from ffcv_convert.synthetic.plan import plan
from tests.support.refusals import refusal

SIZES = {"train_identities": 9, "test_identities": 4, "train_images": 5, "test_images": 2}


def small(layout: str, **others: int) -> tuple[list[PlannedImage], dict[str, str]]:
    return plan(Options(**{**SIZES, **others}, layout=layout))  # type: ignore[arg-type]


def ids(line: str) -> list[int]:
    assert re.fullmatch(r"\d+(,\d+)*\n", line)
    return [int(field) for field in line.strip().split(",")]


@pytest.mark.parametrize("layout", FOLDERS)
def test_no_two_images_are_one_file_or_one_drawing(layout: str) -> None:
    images, _ = small(layout)
    assert len({image.path for image in images}) == len(images)
    drawings = {(p.person, p.camera, p.frame, p.modality) for p in images}
    assert len(drawings) == len(images)


@pytest.mark.parametrize("layout", FOLDERS)
def test_a_plan_follows_from_its_options(layout: str) -> None:
    assert small(layout) == small(layout)
    other = small(layout, seed=1)
    # Nothing but numbers is in SYSU-MM01's names: only what is drawn differs.
    assert (other == small(layout)) == (layout == "sysu")


def test_sysu_small() -> None:
    images, lists = small("sysu")
    assert set(lists) == {"exp/train_id.txt", "exp/val_id.txt", "exp/test_id.txt"}
    train, val, test = (ids(lists[f"exp/{name}_id.txt"]) for name in ("train", "val", "test"))
    assert (train, val, test) == ([1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11, 12, 13])
    assert {p.person for p in images} - {*train, *val, *test} == {14, 15}
    for image in images:
        place = re.fullmatch(r"cam([1-6])/(\d{4})/(\d{4})\.jpg", image.path)
        assert place
        assert (int(place[1]), int(place[2])) == (image.camera, image.person)
        assert (image.modality == Modality.INFRARED) == (image.camera in (3, 6))
    number = Counter((p.person, p.modality) for p in images)
    assert {number[person, m] for person in [*train, *val] for m in (Modality.VISIBLE, Modality.INFRARED)} == {5}
    seen = Counter((p.person, p.camera) for p in images)
    assert {seen[person, camera] for person in test for camera in range(1, 7)} == {2}
    for (person, camera), count in seen.items():
        numbers = sorted(int(p.path[-8:-4]) for p in images if (p.person, p.camera) == (person, camera))
        assert numbers == list(range(1, count + 1))


def test_sysu_at_its_official_size() -> None:
    images, lists = plan(Options(layout="sysu", official_size=True))
    train, val, test = (ids(lists[f"exp/{name}_id.txt"]) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (296, 99, 96)
    assert len({*train, *val, *test}) == 296 + 99 + 96
    assert len(images) == len({p.path for p in images}) == 45_863
    assert max(p.person for p in images) == 533
    number = Counter((p.person in {*train, *val}, p.person in set(test), p.modality) for p in images)
    assert number[True, False, Modality.VISIBLE] == 22_258
    assert number[True, False, Modality.INFRARED] == 11_909
    assert number[False, True, Modality.VISIBLE] == 6_775
    assert number[False, True, Modality.INFRARED] == 3_803
    assert sum(number[False, False, m] for m in Modality) == 1_118
    assert Counter(p.camera for p in images) == {1: 6289, 2: 7528, 3: 9812, 4: 8030, 5: 8224, 6: 5980}
    # One image for each identity and camera in a gallery.
    gallery = {(p.person, p.camera) for p in images if p.person in set(test) and p.modality == Modality.VISIBLE}
    assert len(gallery) == 301
    assert sum(camera in (1, 2) for _, camera in gallery) == 112


def test_regdb() -> None:
    images, lists = small("regdb")
    kinds = {}
    for image in images:
        name = re.fullmatch(
            r"(Visible|Thermal)/([1-9]\d*)/((?:fe)?male_(?:front|back))_([vt])_\d{5}_\2\.bmp", image.path
        )
        assert name
        assert (name[1], name[4]) == (("Visible", "v") if image.modality == Modality.VISIBLE else ("Thermal", "t"))
        assert kinds.setdefault(image.person, name[3]) == name[3]
        assert int(name[2]) == image.person
    number = Counter((p.person, p.modality) for p in images)
    assert number == {(person, m): 5 for person in range(1, 14) for m in (Modality.VISIBLE, Modality.INFRARED)}
    names = [
        f"idx/{part}_{m}_{trial}.txt"
        for part in ("train", "test")
        for m in ("visible", "thermal")
        for trial in range(1, 11)
    ]
    assert sorted(lists) == sorted(names)


def test_each_regdb_trial_has_its_own_split_of_the_identities() -> None:
    images, lists = small("regdb")
    person_of = {p.path: p.person for p in images}
    splits = set()
    for trial in range(1, 11):
        members = {}
        for part, size in (("train", 9), ("test", 4)):
            label: dict[int, int] = {}
            for modality, folder in (("visible", "Visible/"), ("thermal", "Thermal/")):
                lines = lists[f"idx/{part}_{modality}_{trial}.txt"].splitlines()
                assert len(lines) == size * 5
                for path, number in (line.split(" ") for line in lines):
                    assert path.startswith(folder)
                    assert label.setdefault(person_of[path], int(number)) == int(number)
            assert sorted(label.values()) == list(range(size))
            members[part] = frozenset(label)
        assert members["train"] | members["test"] == set(range(1, 14))
        splits.add(members["train"])
    assert len(splits) == 10


def test_market_sketch_1k() -> None:
    images, lists = small("market_sketch_1k", train_identities=60, test_identities=40)
    assert lists == {}
    photo = re.compile(r"photo/(train|query)/(\d{4})_c([1-6])s[1-6]_\d{6}_\d{2}\.jpg")
    sketch = re.compile(r"sketch/([A-F])/(train|query)/(\d{4})\.jpg")
    photos, styles = Counter(), Counter()
    for image in images:
        if image.modality == Modality.SKETCH:
            name = sketch.fullmatch(image.path)
            assert name
            folder, person, camera = name[2], int(name[3]), "ABCDEF".index(name[1]) + 1
            styles[person] += 1
        else:
            name = photo.fullmatch(image.path)
            assert name
            folder, person, camera = name[1], int(name[2]), int(name[3])
            photos[person] += 1
        assert (person, camera) == (image.person, image.camera)
        assert folder == ("train" if person <= 60 else "query")
    assert photos == {person: 5 if person <= 60 else 2 for person in range(1, 101)}
    assert set(styles) == set(photos)
    assert len(set(styles.values())) > 2
    assert 400 < sum(styles.values()) < 540
    assert [p.modality for p in images if p.grey_file] == [Modality.VISIBLE] * 2


def test_an_identity_that_no_artist_drew_gets_one_sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffcv_convert.synthetic.plan_sketch_sets.SKETCHED_SHARE", 0.0)
    images, _ = small("market_sketch_1k", train_identities=60, test_identities=40)
    assert Counter(p.person for p in images if p.modality == Modality.SKETCH) == dict.fromkeys(range(1, 101), 1)


@pytest.mark.parametrize(("train", "test"), [(6, 4), (1, 1)])
def test_every_artist_sketches_for_training_and_for_testing(train: int, test: int) -> None:
    images, _ = small("market_sketch_1k", train_identities=train, test_identities=test)
    sketches = {(p.path.split("/")[2], p.camera) for p in images if p.modality == Modality.SKETCH}
    assert sketches == {(part, artist) for part in ("train", "query") for artist in range(1, 7)}


def test_pku_sketch() -> None:
    images, lists = small("pku_sketch")
    assert list(lists) == ["trainPKUList_train.txt", "trainPKUList_test.txt"]
    persons = {}
    running = []
    for part in ("train", "test"):
        lines = [line.split(" ") for line in lists[f"trainPKUList_{part}.txt"].splitlines()]
        for fields in lines:
            assert re.fullmatch(r"sketch/\d+\.jpg" if fields[-2] == "1" else r"photo/\d+_0[12]_\d+\.jpg", fields[-1])
            running.append((int(fields[0]), int(fields[1]), fields[-1]))
        assert Counter((fields[1], fields[-2]) for fields in lines) == {
            (fields[1], kind): int(kind) for fields in lines for kind in ("1", "2")
        }
        persons[part] = {int(fields[1]) for fields in lines}
    assert (persons["train"], persons["test"]) == (set(range(1, 10)), set(range(10, 14)))
    assert running == [(number, p.person, p.path) for number, p in enumerate(images)]
    assert {p.camera for p in images if p.modality == Modality.SKETCH} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"layout": "cuhk"}, "'cuhk'"),
        ({"layout": "regdb", "official_size": True}, "--official-size"),
        ({"layout": "sysu", "train_identities": 1}, "train_identities = 1"),
        ({"layout": "market_sketch_1k", "train_identities": 9999}, 9999),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(wrong: dict, named: object) -> None:
    with refusal(DataError, "synthetic people", named):
        Options(**wrong)


def test_hitsz_vcm_cuts_an_identity_s_frames_into_tracklets() -> None:
    images, lists = small("hitsz_vcm", train_images=50)
    for split, persons in (("train", range(1, 10)), ("test", range(10, 14))):
        names = lists[f"info/{split}_name.txt"].splitlines()
        own = [p for p in images if p.person in persons]
        assert len(names) == len(own)
        tracks = [tuple(map(int, line.split())) for line in lists[f"info/track_{split}_info.txt"].splitlines()]
        assert [first for _, first, *_ in tracks] == [1, *(1 + last for _, _, last, *_ in tracks[:-1])]
        assert tracks[-1][2] == len(names)
        for modality, first, last, person, camera in tracks:
            for name, image in zip(names[first - 1 : last], own[first - 1 : last], strict=True):
                assert name.startswith(f"{person:04d}M{modality}D{camera}T{image.walk}F")
                assert (image.person, image.camera, image.modality) == (person, camera, 1 if modality == 1 else 0)
        lengths = Counter(1 + last - first for _, first, last, *_ in tracks)
        assert set(lengths) == ({16, 17} if split == "train" else {2})  # 50 frames in tracklets of 24 at most
    infrared = [n for n, track in enumerate(tracks, start=1) if track[0] == 1]  # of the test
    assert lists["info/query_IDX.txt"] == " ".join(map(str, infrared)) + "\n"


def test_buptcampus_draws_pairs_and_leaves_the_query_s_camera_out_of_the_gallery() -> None:
    images, lists = small("buptcampus", train_images=8, train_identities=14)
    count = Counter((p.person, p.modality) for p in images)
    assert {count[person, m] for person in range(1, 15) for m in (Modality.VISIBLE, Modality.INFRARED)} == {8}
    walks = {m: {(p.person, p.camera, p.walk, p.frame) for p in images if p.modality == m} for m in Modality}
    paired = {walk for walk in walks[Modality.VISIBLE] if not 14 < walk[0] <= 18}
    assert paired == {walk for walk in walks[Modality.INFRARED] if not 14 < walk[0] <= 18}
    queries, gallery = (lists[f"{name}.txt"].splitlines() for name in ("query", "gallery"))
    assert [line.split()[:2] for line in queries] == [["15", "IR"], ["16", "RGB"], ["17", "IR"], ["18", "RGB"]]
    for line in queries:
        person, _, camera, _ = line.split()
        others = [(c, word) for p, word, c, _ in map(str.split, gallery) if p == person]
        assert len(others) == len(set(others)) == 2 * 5
        assert camera not in {c for c, _ in others}
    auxiliary = [line.split() for line in lists["train_auxiliary.txt"].splitlines()]
    assert [int(fields[0]) for fields in auxiliary] == list(range(19, 19 + 12))  # 14 x 930 / 1074
