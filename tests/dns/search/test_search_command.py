"""python -m dns.search search: the rows that the filters choose, in the order of a plain product, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dns.search import calibration
from dns.search.network import open_search_network
from dns.search.rows import Row
from dns.search.store import Index
from dns.search.times import to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.images import ImageFormat, load_image
from tests.support.png_files import exif
from tests.support.search_commands import CPU, ask, lines_of, rows_of, vectors_of

SIZE = ImageFormat(96, 48)
NIGHT, AFTER = "2026-03-02T20:00", "2026-03-03T00:30"


@pytest.fixture
def own_vector(query: Path, small_run: Path) -> np.ndarray:
    """Its vector by the network of the index, float64 (D,)."""
    return embedded(query, small_run)


def embedded(path: Path, small_run: Path) -> np.ndarray:
    network = open_search_network(small_run / "last.pt", CPU)
    pixels = np.stack([load_image(path, SIZE).pixels])
    return network.embed(pixels, Modality.INFRARED)[0].astype(np.float64)


def naive(folder: Path, vector_D: np.ndarray, keeps: Any, hits: int = 20) -> dict[str, list[tuple[Row, float]]]:
    """The hits of each modality, by a loop over all rows."""
    found: dict[str, list[tuple[Row, float]]] = {}
    for row, stored_D in zip(rows_of(folder), vectors_of(folder), strict=True):
        if keeps(row):
            found.setdefault(row.modality.name.lower(), []).append((row, float((stored_D * vector_D).sum())))
    return {name: sorted(rows, key=lambda one: (-one[1], one[0].number))[:hits] for name, rows in found.items()}


def check(answers: Sequence[dict[str, Any]], wanted: dict[str, list[tuple[Row, float]]]) -> None:
    assert [one["rows"] for one in answers] == list(wanted)
    for one in answers:
        rows = wanted[one["rows"]]
        assert [hit["rank"] for hit in one["hits"]] == list(range(1, len(rows) + 1))
        for hit, (row, similarity) in zip(one["hits"], rows, strict=True):
            assert hit["similarity"] == pytest.approx(similarity, abs=1e-9)
            told = {name: hit[name] for name in Row._fields}
            assert told == {**row._asdict(), "modality": row.modality.name.lower(), "box": list(row.box)}


FILTERS = {
    "nothing": ([], lambda row: True),
    "cameras": (["--cameras=cam1,cam4"], lambda row: row.camera in ("cam1", "cam4")),
    "rows": (["--rows=visible"], lambda row: row.modality == Modality.VISIBLE),
    "since": ([f"--since={AFTER}"], lambda row: row.first_ms >= to_ms(AFTER)),
    "until": ([f"--until={AFTER}"], lambda row: row.first_ms < to_ms(AFTER)),
    "all": (
        ["--cameras=cam2,cam5,cam9", "--rows=infrared", f"--since={NIGHT}", f"--until={AFTER}", "--hits=3"],
        lambda row: row.camera in ("cam2", "cam5", "cam9") and to_ms(NIGHT) <= row.first_ms < to_ms(AFTER),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_hits_are_those_of_a_plain_product_over_the_rows_that_a_loop_chooses(
    name: str, footage_index: Path, query: Path, own_vector: np.ndarray, capsys: pytest.CaptureFixture
) -> None:
    options, keeps = FILTERS[name]
    found = ask(capsys, footage_index, query, "--modality=infrared", *options)
    wanted = naive(footage_index, own_vector, keeps, 3 if name == "all" else 20)
    assert wanted
    check(found["answers"], wanted)
    chosen = [row for row in rows_of(footage_index) if keeps(row)]
    for one in found["answers"]:
        assert one["searched"] == sum(row.modality.name.lower() == one["rows"] for row in chosen)
    assert found["modality"] == "infrared"
    assert found["query"] == str(query)


def test_decision_and_strangers_are_the_calibration_s(
    footage_index: Path, query: Path, capsys: pytest.CaptureFixture
) -> None:
    known = calibration.load(footage_index, Index.open(footage_index).network)
    for fpir in (0.1, 0.9):
        found = ask(capsys, footage_index, query, "--modality=infrared", f"--fpir={fpir}")
        assert found["fpir"] == fpir
        for one in found["answers"]:
            direction = known.directions[Modality.INFRARED, Modality[one["rows"].upper()]]
            hits = [direction.expected(hit["similarity"], one["searched"]) for hit in one["hits"]]
            assert [(hit["strangers"], hit["at_most"]) for hit in one["hits"]] == hits
            decided = calibration.decide(one["hits"][0]["similarity"], one["searched"], fpir, direction)
            assert (one["decision"], one["threshold"], one["reason"]) == decided


def test_a_box_of_a_query_is_searched_for_as_its_cut_out_part(
    footage_index: Path, footage: Path, query: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The box of an indexed row finds this row first."""
    line = next(one for one in lines_of(footage) if one["modality"] == "infrared")
    box = [int(line[name]) for name in ("x", "y", "w", "h")]
    found = ask(capsys, footage_index, query, "--modality=infrared", f"--box={','.join(map(str, box))}")
    with Image.open(query) as image:
        image.crop((box[0], box[1], box[0] + box[2], box[1] + box[3])).save(tmp_path / "cut.png")
    check(found["answers"], naive(footage_index, embedded(tmp_path / "cut.png", small_run), lambda row: True))
    best = found["answers"][1]["hits"][0]
    assert best["track"] == line["track"]
    assert best["similarity"] == pytest.approx(1, abs=1e-3)


def test_a_query_is_seen_as_a_viewer_shows_it(
    footage_index: Path, query: Path, own_vector: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The same picture, held sideways and through a link; and one on transparent paper."""
    with Image.open(query) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "held.png", exif=exif(6))
        clear = Image.merge("RGBA", [*image.convert("RGB").split(), Image.new("L", image.size, 255)])
        clear.paste((255, 0, 0, 0), (0, 0, 20, 20))
        white = image.convert("RGB")
        white.paste((255, 255, 255), (0, 0, 20, 20))
    (tmp_path / "link.jpg").symlink_to("held.png")
    clear.save(tmp_path / "clear.png")
    white.save(tmp_path / "white.png")
    for name in ("held.png", "link.jpg"):
        found = ask(capsys, footage_index, tmp_path / name, "--modality=infrared")
        check(found["answers"], naive(footage_index, own_vector, lambda row: True))
    on_paper, on_white = (
        ask(capsys, footage_index, tmp_path / name, "--modality=infrared")["answers"]
        for name in ("clear.png", "white.png")
    )
    assert on_paper == on_white


def test_a_query_may_be_an_embedding(
    footage_index: Path, own_vector: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of any length; no network is opened for it."""
    np.savez(tmp_path / "query.npz", features=5 * own_vector[None])
    found = ask(capsys, footage_index, tmp_path / "query.npz", "--modality=infrared")
    wanted = naive(footage_index, own_vector.astype(np.float32).astype(np.float64), lambda row: True)
    assert [hit["similarity"] for one in found["answers"] for hit in one["hits"]] == pytest.approx(
        [similarity for rows in wanted.values() for _, similarity in rows], abs=1e-6
    )


def test_an_export_searches_the_index_of_its_checkpoint(
    footage_index: Path, query: Path, export: Path, own_vector: np.ndarray, capsys: pytest.CaptureFixture
) -> None:
    found = ask(capsys, footage_index, query, "--modality=infrared", f"--checkpoint={export}", "--hits=99")
    similarity = {row.number: value for rows in naive(footage_index, own_vector, lambda row: True, 99).values()
                  for row, value in rows}  # fmt: skip
    hits = [hit for one in found["answers"] for hit in one["hits"]]
    assert len(hits) == 85
    assert [hit["similarity"] for hit in hits] == pytest.approx([similarity[hit["number"]] for hit in hits], abs=1e-4)
