"""What the service answers: the JSON of `make search`, the small images of the index, its page."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from dns.search.network import SearchNetwork
from dns.serve.metrics import Metrics
from tests.dns.search.conftest import Add
from tests.support.search_commands import ask, rows_of, some_boxes, thumbnails_of
from tests.support.served import Served, serving

PARAMETERS = {
    "nothing": {},
    "filters": {"cameras": "cam1,cam4", "rows": "visible", "since": "2026-03-02T08:00", "until": "2026-03-03T08:00"},
    "an empty span": {"since": "2000-01-01", "until": "2000-01-02"},
    "a box": {"box": "10,20,40,60"},
    "few hits, some FPIR": {"hits": 3, "fpir": 0.5},
    "another modality": {"modality": "visible"},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_answers_are_those_of_the_command(
    name: str, served: Served, footage_index: Path, query: Path, photo: bytes, capsys: pytest.CaptureFixture
) -> None:
    given = {"modality": "infrared", **PARAMETERS[name]}
    wanted = ask(capsys, footage_index, query, *(f"--{option}={value}" for option, value in given.items()))
    found = served.search(photo, **given)
    assert found.status == 200
    assert found.json == {"index": "Index", **{key: wanted[key] for key in ("modality", "fpir", "answers")}}
    assert bool(wanted["answers"]) == (name != "an empty span")


def test_every_kind_of_image_is_read(served: Served, photo: bytes) -> None:
    with Image.open(io.BytesIO(photo)) as image:
        for kind in ("bmp", "webp", "tiff", "ppm"):
            file = io.BytesIO()
            image.save(file, kind, **({"lossless": True} if kind == "webp" else {}))
            assert served.search(file.getvalue()).json == served.search(photo).json, kind


def test_a_thumbnail_is_the_index_s(served: Served, footage_index: Path) -> None:
    rows, thumbnails = rows_of(footage_index), thumbnails_of(footage_index)
    for at in (0, 41, 84):
        found = served.ask("GET", f"/thumbnails/{rows[at].number}")
        assert (found.status, found.headers["content-type"], found.body) == (200, "image/jpeg", thumbnails[at])


@pytest.mark.parametrize("row", ["85", "999999999999999999", "9" * 5000, "-1", "1.5", "one", "%00", "1%2F..%2F2"])
def test_a_row_that_is_not_there_has_none(row: str, served: Served) -> None:
    found = served.ask("GET", f"/thumbnails/{row}")
    assert found.status == 404
    assert found.error


def test_an_index_without_small_images_has_rows_all_the_same(
    add: Add, footage: Path, network: SearchNetwork, tmp_path: Path
) -> None:
    folder = add(*some_boxes(tmp_path / "some.csv", footage), "--images=false")
    with serving(folder, network) as served:
        assert served.ask("GET", "/thumbnails/0")[::2] == (204, b"")
        assert served.ask("GET", "/thumbnails/4").status == 404
        assert "no calibration" in served.ask("GET", "/about").json["trust"][0]


def test_the_page_and_its_files_come_from_here_alone(served: Served) -> None:
    page = served.ask("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    names = re.findall(r'(?:src|href)="([^":]+)"', page.body.decode())
    assert sorted(names) == ["demo.css", "main.js", "page.css", "serve.css"]
    for name in ("", *names):
        file = served.ask("GET", f"/{name}")
        assert file.status == 200
        assert b"http://" not in file.body
        assert b"https://" not in file.body
        assert file.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert (file.headers["cache-control"], file.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_what_the_page_says_of_the_index(served: Served) -> None:
    about = served.ask("GET", "/about").json
    assert (about["index"], about["rows"], about["modalities"]) == ("Index", 85, ["visible", "infrared"])
    assert about["cameras"] == [f"cam{number}" for number in range(1, 10)]
    assert "last.pt" in about["network"]
    assert "test set of synthetic" in about["trust"][1]


def test_its_description_for_programs_has_every_parameter(served: Served) -> None:
    found = served.ask("GET", "/openapi.json").json["paths"]["/search"]["post"]["parameters"]
    names = ["modality", "box", "rows", "cameras", "since", "until", "hits", "fpir"]
    assert [one["name"] for one in found] == names
    assert [one["name"] for one in found if one["required"]] == ["modality"]


def test_metrics_count_what_was_answered(footage_index: Path, network: SearchNetwork, photo: bytes) -> None:
    with serving(footage_index, network) as served:
        for content in (photo, photo, b"no image"):
            served.search(content)
        served.ask("GET", "/thumbnails/0")
        served.ask("GET", "/nothing/here")
        found = served.ask("GET", "/metrics")
        assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = dict(line.rsplit(" ", 1) for line in found.body.decode().splitlines() if not line.startswith("#"))
    assert lines['dns_requests_total{path="/search",code="200"}'] == "2"
    assert lines['dns_requests_total{path="/search",code="400"}'] == "1"
    assert lines['dns_requests_total{path="/thumbnails",code="200"}'] == "1"
    assert lines['dns_requests_total{path="other",code="404"}'] == "1"
    assert lines["dns_search_seconds_count"] == lines['dns_search_seconds_bucket{le="+Inf"}'] == "3"
    assert 0 < float(lines["dns_search_seconds_sum"]) < 60
    assert lines["dns_batch_size_count"] == lines['dns_batch_size_bucket{le="1"}'] == "3"
    assert lines["dns_queue_length"] == "0"
    assert lines["dns_index_rows"] == "85"


def test_metrics_of_many_rows_are_not_rounded() -> None:
    assert "\ndns_index_rows 12345678\n" in Metrics().text({"dns_index_rows": ("Rows of the index.", 12_345_678)})
