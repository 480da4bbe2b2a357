"""Sightings become rows: the mean of a track, embeddings of other programs, and what a list leaves unsaid."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dns.evaluation.embedding import Embeddings, save_features
from dns.search.adding import Embedded, Vector, join_tracks, read_embeddings
from dns.search.sightings import Box, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from tests.support.made_sets import make_set
from tests.support.refusals import refusal

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
WIDTH = 6


def seen(
    image: str, track: str = "", box: Sequence[float] | None = None, time_ms: int | None = None, camera: str = "c1",
    modality: Modality = VISIBLE, person: int | None = None,
) -> Sighting:  # fmt: skip
    return Sighting(image, Box(*box) if box else None, time_ms, camera, modality, track, person, f"line of {image}")


def drawn(rng: np.random.Generator, count: int) -> list[Vector]:
    """Draw sightings of a few tracks in two cameras and two modalities, some without a track, a time or a box."""
    found: list[Vector] = []
    for number in range(count):
        box = tuple(rng.integers(1, 9, 4).tolist()) if rng.random() < 0.8 else None
        time_ms = int(rng.integers(0, 1000)) if rng.random() < 0.8 else None
        track, camera = rng.choice(["", "1", "2", "3"]), rng.choice(["c1", "c2"])
        person = 100 * int(track) + int(camera[1]) if track else number  # a track is of one person
        one = seen(f"{number}.jpg", str(track), box, time_ms, str(camera), Modality(int(rng.integers(2))), person)
        vector_D = rng.standard_normal(WIDTH)
        found.append((one, (vector_D / np.linalg.norm(vector_D)).astype(np.float32), f"jpeg {number}".encode()))
    return found


def area(one: Sighting) -> float:
    return one.box.width * one.box.height if one.box else 0


def expected(came: Sequence[Vector]) -> dict[object, tuple[Any, ...]]:
    """What each row should hold, by its track or its image."""
    groups: dict[object, list[Vector]] = {}
    for vector in came:
        one = vector[0]
        groups.setdefault((one.camera, one.track, one.modality) if one.track else one.image, []).append(vector)
    found = {}
    for key, group in groups.items():
        total_D = np.zeros(WIDTH)
        for _, vector_D, _ in group:
            total_D += vector_D
        times = [one.time_ms for one, _, _ in group if one.time_ms is not None]
        shown, _, thumbnail = max(group, key=lambda vector: area(vector[0]))  # of equal ones the first
        first, last = (min(times), max(times)) if times else (None, None)
        held = shown.image, shown.box, thumbnail, shown.person, first, last, len(group), shown.camera, shown.modality
        found[key] = (held, total_D / np.linalg.norm(total_D))
    return found


def held(one: Embedded) -> tuple[Any, ...]:
    row = one.row
    seen_at = row.first_ms, row.last_ms, row.images
    return row.image, row.box, one.thumbnail, one.person, *seen_at, row.camera, row.modality


def test_a_track_of_two_people_is_refused() -> None:
    one, other = seen("a.jpg", "7", person=1), seen("b.jpg", "7", person=2)
    vectors = [(sighting, np.eye(WIDTH, dtype=np.float32)[0], b"") for sighting in (one, other)]
    with pytest.raises(
        DataError, match=r"line of b.jpg: track 7 of camera c1 is of person 2 here, and of 1 in line of a"
    ):
        list(join_tracks(vectors, [one, other]))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_of_a_loop_over_tracks(seed: int) -> None:
    """In any order, and although some of the listed boxes never come, whole tracks among them."""
    rng = np.random.default_rng(seed)
    listed = drawn(rng, 80)
    came = [listed[number] for number in rng.permutation(80) if listed[number][0].track != "3" or number % 4]
    came = [vector for vector in came if vector[0].camera == "c1" or vector[0].track != "2"]
    assert 40 < len(came) < 80
    wanted = expected(came)
    found = list(join_tracks(came, [one for one, _, _ in listed]))
    assert len(found) == len(wanted)
    for one in found:
        row = one.row
        mine, vector_D = wanted.pop((row.camera, row.track, row.modality) if row.track else row.image)
        assert held(one) == mine
        assert one.vector_D.dtype == np.float32
        assert np.allclose(one.vector_D, vector_D, atol=1e-6)
        assert np.linalg.norm(one.vector_D) == pytest.approx(1, abs=1e-6)
    assert not wanted


def test_a_track_by_hand() -> None:
    """(1, 0), (0, 1) and (0, 1) add up to (1, 2)."""
    track = [
        (seen("b.jpg", "7", (0, 0, 4, 5), 2000), np.array([1.0, 0.0]), b"b"),
        (seen("a.jpg", "7", (0, 0, 5, 5), None), np.array([0.0, 1.0]), b"a"),
        (seen("c.jpg", "7", (0, 0, 5, 4), 1000), np.array([0.0, 1.0]), b"c"),
    ]
    (found,) = join_tracks(track, [one for one, _, _ in track])
    assert np.allclose(found.vector_D, np.array([1, 2]) / 5**0.5)
    assert found.row == (0, "c1", VISIBLE, 1000, 2000, 3, "7", "a.jpg", Box(0, 0, 5, 5))
    assert found.thumbnail == b"a"


def test_a_camera_that_turns_infrared_begins_another_row() -> None:
    vector_D = np.array([1.0, 0.0])
    came = [
        (seen(f"{n}.jpg", "7", time_ms=n, modality=INFRARED if n > 1 else VISIBLE), vector_D, b"") for n in range(4)
    ]
    found = [one.row for one in join_tracks(came, [one for one, _, _ in came])]
    assert [(row.modality, row.first_ms, row.last_ms) for row in found] == [(VISIBLE, 0, 1), (INFRARED, 2, 3)]


def test_a_track_is_a_row_as_soon_as_its_last_box_came() -> None:
    """A list of a million tracks does not wait in memory for its end."""
    came = [(seen(f"{n}.jpg", track), np.array([1.0, 0.0]), b"") for n, track in enumerate("112")]
    read: list[str] = []

    def reading() -> Iterator[Vector]:
        for vector in came:
            read.append(vector[0].image)
            yield vector

    assert next(join_tracks(reading(), [one for one, _, _ in came])).row.track == "1"
    assert read == ["0.jpg", "1.jpg"]


def test_vectors_that_cancel_each_other_are_refused() -> None:
    came = [(seen(f"{n}.jpg", "7"), np.array([sign, 0.0]), b"") for n, sign in enumerate((1.0, -1.0))]
    with refusal(DataError, "line of 0.jpg", "track 7", "checkpoint"):
        list(join_tracks(came, [one for one, _, _ in came]))


def matrix(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def check_vectors(vectors: Iterator[Vector], matrix_ND: np.ndarray) -> None:
    for (_, vector_D, thumbnail), row_D in zip(vectors, matrix_ND, strict=True):
        assert np.allclose(vector_D, row_D / np.sqrt((row_D.astype(float) ** 2).sum()), atol=1e-7)
        assert thumbnail == b""


def test_what_eval_exports_says_all_of_its_rows(tmp_path: Path) -> None:
    """The method of this file compares what stands before the neck."""
    bn, z = matrix(3), matrix(3, seed=1)
    test = make_set([(7, 2, 1, "nir/a.jpg"), (7, 5, 0, "vis/a.jpg"), (9, 2, 1, "nir/b.jpg")])
    save_features(tmp_path / "a.npz", Embeddings(torch.from_numpy(bn), torch.from_numpy(z)), test, ["z"])
    known, vectors = read_embeddings(tmp_path / "a.npz", None, "ignored", None)
    assert known == [
        Sighting("nir/a.jpg", None, None, "2", INFRARED, "", 7, f"{tmp_path / 'a.npz'} row 1"),
        Sighting("vis/a.jpg", None, None, "5", VISIBLE, "", 7, f"{tmp_path / 'a.npz'} row 2"),
        Sighting("nir/b.jpg", None, None, "2", INFRARED, "", 9, f"{tmp_path / 'a.npz'} row 3"),
    ]
    check_vectors(vectors, z)


def test_what_another_program_saved_takes_camera_and_modality_from_the_command_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", feats=matrix(2))
    known, vectors = read_embeddings(tmp_path / "b.npz", None, "hall", INFRARED)
    assert [(one.image, one.camera, one.modality, one.track) for one in known] == [
        ("row 1", "hall", INFRARED, ""), ("row 2", "hall", INFRARED, ""),
    ]  # fmt: skip
    check_vectors(vectors, matrix(2))
    with refusal(DataError, tmp_path / "b.npz", "--modality=visible"):
        read_embeddings(tmp_path / "b.npz", None, "hall", None)
    with refusal(DataError, tmp_path / "b.npz", "--camera=NAME"):
        read_embeddings(tmp_path / "b.npz", None, None, VISIBLE)
    np.savez(tmp_path / "c.npz", feats=matrix(2), modality=np.array(["visible", "infrared"]), cameras=[3, 4])
    known, _ = read_embeddings(tmp_path / "c.npz", None, None, None)
    assert [(one.camera, one.modality) for one in known] == [("3", VISIBLE), ("4", INFRARED)]


def test_a_list_says_what_each_row_of_a_file_shows(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", matrix(2))
    listed = [seen("a.jpg", "1"), seen("b.jpg", "1")]
    known, vectors = read_embeddings(tmp_path / "b.npy", listed, None, None)
    assert known == listed
    check_vectors(vectors, matrix(2))
    with refusal(DataError, tmp_path / "b.npy", 2, 3, "in this order"):
        read_embeddings(tmp_path / "b.npy", [*listed, seen("c.jpg")], None, None)
