"""RegDB's listing and its ten trials, against a made-up tree and against lists with mistakes."""

from collections import Counter
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import regdb
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import check_records
from tests.support.refusals import refusal
from tests.support.trees import touch, write

KINDS = {1: "male_front", 2: "female_back", 10: "male_back", 33: "female_front", 127: "male_front", 412: "male_back"}
PERSONS = list(KINDS)
FIRST = {1: 7, 2: 1310, 10: 99, 33: 20411, 127: 8, 412: 9999}


def images(short: str, person: int) -> list[str]:
    folder = {"visible": "Visible", "thermal": "Thermal"}[short]
    name = f"{folder}/{person}/{KINDS[person]}_{short[0]}_{{:05d}}_{person}.bmp"
    return [name.format(FIRST[person] + 2 * frame) for frame in range(3)]


def members(split: str, trial: int) -> list[int]:
    """Four training and two test identities, different in each trial."""
    turned = PERSONS[trial % 6 :] + PERSONS[: trial % 6]
    return sorted(turned[:4] if split == "train" else turned[4:])


LISTS = {
    f"idx/{split}_{short}_{trial}.txt": "".join(
        f"{name} {label}\n" for label, person in enumerate(members(split, trial)) for name in images(short, person)
    )
    for split in ("train", "test")
    for short in ("visible", "thermal")
    for trial in range(1, 11)
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "RegDB"
    touch(root, *(name for short in ("visible", "thermal") for person in PERSONS for name in images(short, person)))
    for name, text in LISTS.items():
        write(root, name, text)
    return root


def refuse(root: Path, names: object, *holds: object) -> None:
    with refusal(DataError, names, *holds):
        regdb.list_trials(root, "all", regdb.list_records(root))


def test_every_image_is_one_record_visible_before_infrared(tree: Path) -> None:
    records = regdb.list_records(tree)
    check_records(records, tree)
    expected = [
        (name, person, modality)
        for modality, short in ((Modality.VISIBLE, "visible"), (Modality.INFRARED, "thermal"))
        for person in PERSONS  # 2 before 10, as numbers
        for name in images(short, person)
    ]
    assert [(r.image, r.person, r.modality) for r in records] == expected
    assert {(r.camera, r.split) for r in records} == {(0, "all")}


def test_each_trial_is_its_four_lists(tree: Path) -> None:
    records = regdb.list_records(tree)
    trials = regdb.list_trials(tree, "all", records)
    assert sorted(trials) == sorted(f"{split}-{trial}" for split in ("train", "test") for trial in range(1, 11))
    for name, samples in trials.items():
        split, trial = name.split("-")
        lines = "".join((tree / f"idx/{split}_{short}_{trial}.txt").read_text() for short in ("visible", "thermal"))
        assert [records[n].image for n in samples] == [line.split()[0] for line in lines.splitlines()]
        assert {records[n].person for n in samples} == set(members(split, int(trial)))


def test_a_image_that_trains_in_one_trial_and_tests_in_another_is_one_record(tree: Path) -> None:
    image = "Thermal/33/female_front_t_20411_33.bmp"
    records = regdb.list_records(tree)
    (number,) = (n for n, record in enumerate(records) if record.image == image)
    trials = regdb.list_trials(tree, "all", records)
    splits = Counter(name.split("-")[0] for name, samples in trials.items() if number in samples)
    assert splits["train"] + splits["test"] == 10
    assert min(splits["train"], splits["test"]) >= 3


def test_images_that_no_list_names_are_left_out(tree: Path) -> None:
    before = regdb.list_records(tree)
    touch(tree, "Visible/1/male_front_v_09999_1.bmp", "Visible/413/male_front_v_00001_413.bmp", "Visible/Thumbs.db")
    assert regdb.list_records(tree) == before


@pytest.mark.parametrize("change", [("\n", "\r\n"), (" ", "\t"), (" ", "  "), ("Visible/", "./Visible//")])
def test_lists_from_other_editors_read_the_same(tree: Path, change: tuple[str, str]) -> None:
    records = regdb.list_records(tree)
    expected = records, regdb.list_trials(tree, "all", records)
    write(tree, "idx/test_visible_4.txt", "\ufeff" + LISTS["idx/test_visible_4.txt"].replace(*change))
    assert (regdb.list_records(tree), regdb.list_trials(tree, "all", records)) == expected


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list_is_refused(tree: Path, name: str) -> None:
    write(tree, name, None)
    refuse(tree, tree / name, "no such")


FIRST_LINE = LISTS["idx/train_thermal_3.txt"].splitlines()[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["train_thermal_3.txt", "empty"]),
        (b"\xff\xfe\0", ["train_thermal_3.txt line 1", "UTF-16"]),
        (FIRST_LINE.replace(" ", ","), ["train_thermal_3.txt line 1", FIRST_LINE.replace(" ", ",")]),
        (f"{FIRST_LINE}\nThermal/2/x.bmp -1\n", ["train_thermal_3.txt line 2", "'Thermal/2/x.bmp -1'"]),
        (f"{FIRST_LINE}\n../Thermal/2/x.bmp 1\n", ["train_thermal_3.txt line 2", "'../Thermal/2/x.bmp'"]),
        ("Thermal/x.bmp 1", ["'Thermal/x.bmp'"]),
        ("x.bmp 1", ["'x.bmp'"]),
        (f"{FIRST_LINE}\n{FIRST_LINE}\n", ["train_thermal_3.txt", FIRST_LINE.split()[0], "twice", "train"]),
    ],
)
def test_bad_lists_are_refused(tree: Path, text: str | bytes, told: list[str]) -> None:
    write(tree, "idx/train_thermal_3.txt", text)
    refuse(tree, *told)


@pytest.mark.parametrize("short", ["visible", "thermal"])
def test_a_label_of_two_identities_is_refused(tree: Path, short: str) -> None:
    """Within one list, or between the two lists of a split, which then come from different archives."""
    name = f"idx/test_{short}_2.txt"
    wrong = images(short, members("test", 2)[1])[0]
    write(tree, name, LISTS[name].replace(f"{wrong} 1", f"{wrong} 0"))
    refuse(tree, tree / name, "label 0", members("test", 2)[0], wrong, members("test", 2)[1])


def test_lists_of_two_archives_are_refused(tree: Path) -> None:
    write(tree, "idx/test_thermal_2.txt", LISTS["idx/test_thermal_5.txt"])
    refuse(tree, tree / "idx/test_thermal_2.txt", "label 0")


def test_a_trial_that_trains_and_tests_on_one_identity_is_refused(tree: Path) -> None:
    for short in ("visible", "thermal"):
        write(tree, f"idx/test_{short}_7.txt", LISTS[f"idx/test_{short}_8.txt"])
    leaked = min({*members("test", 8)} & {*members("train", 7)})
    refuse(tree, tree / "idx", "trial 7", f"identity {leaked}")


def test_what_a_list_names_must_be_there(tree: Path) -> None:
    (tree / images("thermal", 412)[1]).unlink()
    with refusal(DataError, tree / images("thermal", 412)[1], "not found"):
        convert(regdb.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)


@pytest.mark.parametrize("there", ["male_front_t_00007_1.BMP", "male_front_t_00007_1.png", "male_front_t_00007_1.jpg"])
def test_an_image_of_another_ending_is_named_as_what_it_is(tree: Path, there: str) -> None:
    image = tree / "Thermal/1/male_front_t_00007_1.bmp"
    image.rename(image.with_name(there))
    with refusal(DataError, image, image.with_name(there)):
        convert(regdb.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)


def test_a_folder_in_other_capitals_is_named(tree: Path) -> None:
    (tree / "Thermal").rename(tree / "thermal")
    with refusal(DataError, tree / images("thermal", 1)[0], tree / "thermal"):
        convert(regdb.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)


@pytest.mark.parametrize(("one", "other"), [("visible", "thermal"), ("thermal", "visible")])
def test_swapped_lists_are_refused(tree: Path, one: str, other: str) -> None:
    write(tree, f"idx/test_{one}_7.txt", LISTS[f"idx/test_{other}_7.txt"])
    refuse(tree, tree / f"idx/test_{one}_7.txt", "6 of its 6", other)
