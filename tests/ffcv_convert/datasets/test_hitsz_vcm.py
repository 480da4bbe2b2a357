"""HITSZ-VCM's listing, against a naive reading of the lists, and against lists and folders with mistakes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.common.errors import DataError, IncompleteError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import hitsz_vcm
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, Tracklet, by_tracklet, check_records
from ffcv_convert.survey import Part, see
from ffcv_convert.verify import verify
from ffcv_convert.video import tracklet_rows
from tests.support.refusals import assert_tells, refusal
from tests.support.trees import touch, write

LISTS = {
    "train_name.txt": "0001M1D2T1F1.jpg\n0001M1D2T1F6.jpg\n0001M2D3T1F1.jpg\n0002M1D2T1F1.jpg\n0002M2D3T1F11.jpg\n",
    "track_train_info.txt": "1 1 2 0001 2\n2 3 3 0001 3\n1 4 4 2 2\n2 5 5 2 3\n",
    "test_name.txt": "0503M2D3T1F1.jpg\n0503M2D3T1F6.jpg\n0503M1D12T1F1.jpg\n0503M1D12T2F16.jpg\n",
    "track_test_info.txt": "2 1 2 0503 3\n1 3 3 0503 12\n1 4 4 0503 12\n",
    "query_IDX.txt": "2 3\n",
}


def file_of(top: str, name: str) -> str:
    """0001M1D2T1F6.jpg -> Train/0001/ir/D2/6.jpg, cut by hand."""
    person, rest = name.split("M")
    modality, rest = rest.split("D")
    camera, rest = rest.split("T")
    return f"{top}{person}/{'ir' if modality == '1' else 'rgb'}/D{camera}/{rest.split('F')[1]}"


def make(root: Path, *, tops: bool = True, info: str = "info/") -> Path:
    for name, text in LISTS.items():
        write(root, info + name, text)
    for split in ("train", "test"):
        top = f"{split.title()}/" if tops else ""
        touch(root, *(file_of(top, name) for name in LISTS[f"{split}_name.txt"].split()))
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "HITSZ-VCM")


def naive(root: Path) -> Iterator[tuple]:
    """(image, identity, camera, modality, split, tracklet's line, is a query) of every frame, as a loader would."""
    for split, top in (("train", "Train/"), ("test", "Test/")):
        names = (root / f"info/{split}_name.txt").read_text().split("\n")
        queries = [int(number) for number in (root / "info/query_IDX.txt").read_text().split()]
        for line, text in enumerate((root / f"info/track_{split}_info.txt").read_text().split("\n")[:-1], start=1):
            modality, first, last, person, camera = (int(field) for field in text.split(" "))
            for name in names[first - 1 : last]:
                query = split == "test" and line in queries
                yield file_of(top, name), person, camera, 1 if modality == 1 else 0, split, line, query


def flat(records: list[Record]) -> list[tuple]:
    return [
        (r.image, r.person, r.camera, int(r.modality), r.split, r.tracklet.number + 1, r.tracklet.query)
        for r in records
        if r.tracklet
    ]


def test_records_are_those_of_a_naive_reading(tree: Path, drawn_root: Path) -> None:
    for root in (tree, drawn_root / "HITSZ-VCM"):
        records = hitsz_vcm.list_records(root)
        check_records(records, root)
        assert flat(records) == list(naive(root))
        assert all((root / record.image).exists() for record in records)


def test_a_tracklet_knows_its_frames_and_its_role(tree: Path) -> None:
    found = [one for one, _ in by_tracklet(hitsz_vcm.list_records(tree))]
    assert found == [
        Tracklet(0, 2),
        Tracklet(1, 1),
        Tracklet(2, 1),
        Tracklet(3, 1),
        Tracklet(0, 2, gallery=True),
        Tracklet(1, 1, query=True),
        Tracklet(2, 1, query=True),
    ]


@pytest.mark.parametrize(("tops", "info"), [(False, "info/"), (True, ""), (False, "")])
def test_other_ways_to_unpack_the_archives_are_read(tmp_path: Path, tree: Path, tops: bool, info: str) -> None:
    root = make(tmp_path / "other" / "VCM-HITSZ", tops=tops, info=info)
    assert hitsz_vcm.DATASET.find(tmp_path / "other") == root
    records = hitsz_vcm.list_records(root)
    assert all((root / record.image).exists() for record in records)
    usual = [(image if tops else image.split("/", 1)[1], *rest) for image, *rest in flat(hitsz_vcm.list_records(tree))]
    assert flat(records) == usual
    assert list(hitsz_vcm.remarks(root, records)) == []


def test_frames_of_others_in_a_range_are_kept_counted_and_named(tree: Path) -> None:
    write(tree, "info/track_train_info.txt", "1 1 3 1 2\n2 3 4 1 3\n1 4 4 2 2\n2 5 5 2 3\n")
    records = hitsz_vcm.list_records(tree)
    assert flat(records) == list(naive(tree))
    check_records(records, tree)  # frames 3 and 4 are in two tracklets each
    _, told = hitsz_vcm.remarks(tree, records)
    assert_tells(told, "2 in 2 of 4", "Train/0001/rgb/D3/1.jpg", "track_train_info.txt line 1")


def test_an_empty_range_is_left_out_and_named(tree: Path) -> None:
    before = hitsz_vcm.list_records(tree)
    write(tree, "info/track_train_info.txt", LISTS["track_train_info.txt"] + "2 6 5 2 3\n2 3 1 2 3\n")
    assert hitsz_vcm.list_records(tree) == before
    (told,) = hitsz_vcm.remarks(tree, before)
    assert_tells(told, 2, "track_train_info.txt line 5")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("train_name.txt", None, ["train_name.txt", "no such"]),
        ("query_IDX.txt", None, ["query_IDX.txt", "no such"]),
        ("train_name.txt", "", ["train_name.txt", "empty"]),
        ("train_name.txt", "0001M3D2T1F1.jpg\n", ["train_name.txt line 1", "'0001M3D2T1F1.jpg'"]),
        ("train_name.txt", "../0001M1D2T1F1.jpg\n", ["train_name.txt line 1", "'../0001M1D2T1F1.jpg'"]),
        ("train_name.txt", "0001M1D2T1F/../1.jpg\n", ["train_name.txt line 1", "'0001M1D2T1F/../1.jpg'"]),
        ("test_name.txt", LISTS["test_name.txt"][:34], ["track_test_info.txt line 2", "3", "2 frames"]),
        ("track_test_info.txt", "2 1 2 0503\n", ["track_test_info.txt line 1", "'2 1 2 0503'"]),
        ("track_test_info.txt", "3 1 2 0503 3\n", ["track_test_info.txt line 1", "'3 1 2 0503 3'"]),
        ("track_test_info.txt", "2 0 2 0503 3\n", ["track_test_info.txt line 1", "'2 0 2 0503 3'"]),
        ("track_test_info.txt", "2 1 2 0503 3.5\n", ["track_test_info.txt line 1", "'2 1 2 0503 3.5'"]),
        ("track_test_info.txt", "2 1 2 1 3\n1 3 4 1 12\n2 1 2 0503 3\n", ["", "identity 1"]),
        (
            "track_test_info.txt",
            "2 1 4 0503 3\n" * 11,
            ["track_test_info.txt line 11", "44", "has 4", "overlap"],
        ),
        ("query_IDX.txt", "2 4\n", ["query_IDX.txt line 1", "'4'", "3 tracklets"]),
        ("query_IDX.txt", "0 2\n", ["query_IDX.txt line 1", "'0'"]),
    ],
)
def test_damaged_lists_are_refused_by_name(tree: Path, name: str, text: str | None, told: list[str]) -> None:
    write(tree, f"info/{name}", text)
    with refusal(DataError, tree / "info" / told[0], *told[1:]):
        hitsz_vcm.list_records(tree)


@pytest.mark.parametrize("text", ["2\n3\n", "2,3", " 3 2 \n\n", "2\t3\r\n"])
def test_queries_are_read_however_they_are_separated(tree: Path, text: str) -> None:
    before = hitsz_vcm.list_records(tree)
    write(tree, "info/query_IDX.txt", text)
    assert hitsz_vcm.list_records(tree) == before


def converted(data: Path, **options: bool) -> tuple[list[str], Path]:
    said: list[str] = []
    size = ImageFormat(64, 32)
    convert(hitsz_vcm.DATASET, data, data / "Beton", size, workers=1, say=said.append, **options)  # type: ignore[arg-type]
    return said, data / "Beton" / "hitsz_vcm"


def test_missing_frames_are_counted_named_and_make_the_set_incomplete(drawn_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn_root / "HITSZ-VCM", tmp_path / "HITSZ-VCM")
    records = hitsz_vcm.list_records(root)
    train, test = ([r for r in records if r.split == split] for split in ("train", "test"))
    (root / train[1].image).unlink()  # one of a tracklet's two
    (root / test[3].image).unlink()  # a tracklet's only one
    with refusal(IncompleteError, root, f"2 of {len(records)}", train[1].image, 1, test[3].image):
        converted(tmp_path, allow_incomplete=False)
    said, folder = converted(tmp_path)
    assert any(line.startswith("warning") and train[1].image in line for line in said)
    parts = [open_beton(folder / f"{part}.beton").manifest for part in ("train", "test")]
    assert {manifest.dataset for manifest in parts} == {"hitsz_vcm (synthetic) (incomplete)"}
    assert parts[0].column("path") == [r.image for r in train if r != train[1]]
    assert parts[1].column("path") == [r.image for r in test if r != test[3]]
    assert [row[:4] for row in parts[0].tracklets] == [[1, 0, 0, 1], *[[2, 0, 0, 2]] * (len(train) // 2 - 1)]
    assert len(parts[1].tracklets) == len(test) - 1
    verified = list(verify(hitsz_vcm.DATASET, tmp_path, folder.parent, deep=False, workers=1))
    assert any(line.startswith("warning") and "images were missing" in line for line in verified)


def test_identities_whose_second_modality_was_not_unpacked_yet_are_left_out(drawn_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn_root / "HITSZ-VCM", tmp_path / "HITSZ-VCM")
    train = [r for r in hitsz_vcm.list_records(root) if r.split == "train"]
    half = train[-1].person
    shutil.rmtree(root / "Train" / f"{half:04d}" / "rgb")
    said, folder = converted(tmp_path)
    (told,) = (line for line in said if "no frame of a modality left" in line)
    assert_tells(told, "warning", 1, half)
    stored = open_beton(folder / "train.beton").manifest.column("path")
    assert stored == [r.image for r in train if r.person != half]


def test_frames_that_are_spelled_otherwise_are_named(drawn_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn_root / "HITSZ-VCM", tmp_path / "HITSZ-VCM")
    image = root / hitsz_vcm.list_records(root)[0].image
    image.rename(image.with_suffix(".JPG"))
    said, _ = converted(tmp_path)
    assert any("not there: 1 of" in line and ".JPG is there" in line for line in said)


def test_ranges_that_share_frames_are_told_of(tree: Path) -> None:
    write(tree, "info/track_train_info.txt", LISTS["track_train_info.txt"] + "1 2 2 0001 2\n")
    (told,) = hitsz_vcm.remarks(tree, hitsz_vcm.list_records(tree))
    assert_tells(told, "track_train_info.txt line 5", 1)


def test_visible_queries_are_told_of(tree: Path) -> None:
    write(tree, "info/query_IDX.txt", "1 3\n")
    (told,) = hitsz_vcm.remarks(tree, hitsz_vcm.list_records(tree))
    assert_tells(told, "visible", "track_test_info.txt line 1", 1)


def test_half_an_archive_is_told_of(drawn_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn_root / "HITSZ-VCM", tmp_path / "HITSZ-VCM")
    shutil.rmtree(root / "Test")
    with refusal(DataError, root, "test", "48 of 64", "Test/0005/ir/D10/1.jpg", 48):
        converted(tmp_path)


def test_a_real_set_of_this_size_is_incomplete(drawn_root: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_root / "HITSZ-VCM", tmp_path / "HITSZ-VCM")
    (tmp_path / "HITSZ-VCM" / "synthetic.json").unlink()
    with refusal(
        IncompleteError,
        tmp_path / "HITSZ-VCM",
        "4 train identities, published 500",
        "16 train images, published 232,496",
    ):
        converted(tmp_path, allow_incomplete=False)


def test_the_modality_of_a_track_line_counts(tree: Path) -> None:
    modalities = {r.image: r.modality for r in hitsz_vcm.list_records(tree)}
    assert modalities["Train/0001/ir/D2/1.jpg"] == Modality.INFRARED
    assert modalities["Train/0001/rgb/D3/1.jpg"] == Modality.VISIBLE


def write_full_size(root: Path) -> None:
    """Lists with the real set's numbers: identities, frames, tracklets, queries. No image is needed to list them."""
    published = hitsz_vcm.DATASET.counts
    for split, first_person in (("train", 1), ("test", 501)):
        persons, frames, tracklets = (published[f"{split} {what}"] for what in ("identities", "images", "tracklets"))
        names, lines = [], []
        for number in range(tracklets):
            begin, end = number * frames // tracklets, (number + 1) * frames // tracklets
            person = first_person + number % persons
            # The queries are the infrared ones of the test; in training, tracklets alternate.
            infrared = number < published["test queries"] if split == "test" else number // persons % 2 == 0
            modality, camera = (1 if infrared else 2), 1 + number % 12
            lines.append(f"{modality} {begin + 1} {end} {person} {camera}")
            names += [f"{person:04d}M{modality}D{camera}T{number}F{frame}.jpg" for frame in range(begin, end)]
        write(root, f"info/{split}_name.txt", "\n".join(names))
        write(root, f"info/track_{split}_info.txt", "\n".join(lines))
    write(root, "info/query_IDX.txt", " ".join(map(str, range(1, published["test queries"] + 1))))


@pytest.mark.slow
def test_lists_of_the_real_size_are_listed_with_the_published_numbers(tmp_path: Path) -> None:
    write_full_size(tmp_path)
    records = hitsz_vcm.list_records(tmp_path)
    check_records(records, tmp_path)
    parts = [[record for record in records if record.split == split] for split in ("train", "test")]
    seen = see(Part([(r.person, r.camera, r.modality, r.split) for r in p], {}, tracklet_rows(p)) for p in parts)
    assert {key: seen.counts[key] for key in hitsz_vcm.DATASET.counts} == hitsz_vcm.DATASET.counts
    assert list(hitsz_vcm.remarks(tmp_path, records)) == []
