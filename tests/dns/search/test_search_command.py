"""python -m dns.search search: the rows that the filters choose, in the order of a plain product; JSON, text, page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dns.search import calibration
from dns.search.__main__ import main
from dns.search.network import open_search_network
from dns.search.page import PROMISE
from dns.search.rows import Row
from dns.search.store import Index
from dns.search.times import to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.images import ImageFormat, load_image
from tests.dns.search.conftest import Add
from tests.support.png_files import exif
from tests.support.read_page import read_page
from tests.support.search_commands import CPU, ask, lines_of, rows_of, some_boxes, vectors_of

SIZE = ImageFormat(96, 48)
DAY, NIGHT = "2026-03-02T08:00", "2026-03-02T20:00"
AFTER = "2026-03-03T00:30"


@pytest.fixture
def query(footage: Path, tmp_path: Path) -> Path:
    """An infrared frame with two people. Other processes may read the footage."""
    line = next(one for one in lines_of(footage) if one["modality"] == "infrared")
    with Image.open(footage / line["frame"]) as frame:
        frame.save(tmp_path / "query.png")
    return tmp_path / "query.png"


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
            assert one["threshold"] == direction.threshold(one["searched"], fpir)
            decision = "somebody" if hits[0].strangers <= fpir else "unknown" if hits[0].at_most else "nobody"
            assert one["decision"] == decision


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


def test_nothing_fits_the_filters(
    footage_index: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = "--modality=infrared", "--since=2031-01-01", f"--page={tmp_path / 'page.html'}"
    assert ask(capsys, footage_index, query, *asked)["answers"] == []
    assert main(["search", str(footage_index), str(query), *asked, *CPU]) == 0
    assert "No row fits the filters: nobody" in capsys.readouterr().out
    (one,) = ask(capsys, footage_index, query, *asked, "--rows=visible")["answers"]
    assert (one["searched"], one["decision"], one["hits"]) == (0, "nobody", [])
    assert "No row fits the filters." in read_page((tmp_path / "page.html").read_text()).text


def test_the_screen_shows_what_the_json_says_and_the_page_shows_the_query_and_the_hits(
    footage_index: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = ["--modality=infrared", "--hits=4", "--cameras=cam1,cam2", f"--since={DAY}"]
    answers = ask(capsys, footage_index, query, *asked)["answers"]
    page = tmp_path / "page.html"
    assert main(["search", str(footage_index), str(query), *asked, f"--page={page}", *CPU]) == 0
    shown = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line.startswith("|")]
    lines = [line for line in cells if line[0] != "rank"]
    hits = [hit for one in answers for hit in one["hits"]]
    assert len(lines) == len(hits) == 8
    for line, hit in zip(lines, hits, strict=True):
        assert [line[0], line[1], line[3], line[7], line[8]] == [
            str(hit["rank"]), f"{hit['similarity']:.3f}", hit["camera"], str(hit["number"]), hit["image"],
        ]  # fmt: skip
        assert to_ms(line[4]) == hit["first_ms"]
    assert all(one["reason"] in shown for one in answers)
    assert PROMISE in shown
    assert f"written: {page}" in shown
    found = read_page(page.read_text())
    assert len([tag for tag, _ in found.tags if tag == "img"]) == 2 * (1 + 4)  # the query stands beside its hits
    assert "cameras cam1, cam2, since 2026-03-02 08:00:00" in found.text
    assert "The rows were embedded by last.pt, epoch 1" in found.text
    assert [line[0] for table in found.tables.values() for line in table[1:]] == list("12341234")


def test_an_index_that_is_not_calibrated_cannot_tell(
    add: Add, footage: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = add(*some_boxes(tmp_path / "a.csv", footage))
    (one,) = ask(capsys, folder, query, "--modality=infrared", f"--page={tmp_path / 'page.html'}")["answers"]
    assert (one["decision"], one["threshold"], one["hits"][0]["strangers"]) == ("unknown", None, None)
    assert main(["search", str(folder), str(query), "--modality=infrared", *CPU]) == 0
    shown = capsys.readouterr().out
    assert "Among 4 visible rows: cannot tell" in shown
    assert PROMISE not in shown


def test_names_from_a_list_do_no_harm_on_the_screen(
    add: Add, footage: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A camera may be called anything; what a terminal would obey is shown escaped."""
    line = {**lines_of(footage)[0], "camera": "cam\x1b[2J"}
    (tmp_path / "a.csv").write_text(",".join(line) + "\n" + ",".join(line.values()) + "\n")
    folder = add(f"--boxes={tmp_path / 'a.csv'}", f"--frames={footage}")
    assert main(["search", str(folder), str(query), "--modality=infrared", *CPU]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "cam\\x1b[2J" in shown
    assert main(["search", str(folder), str(query), "--modality=infrared", "--json", *CPU]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert json.loads(printed)["answers"][0]["hits"][0]["camera"] == "cam\x1b[2J"
