"""Rows and tables: numbers by hand, how each came about, and old rows beside new ones."""

from collections.abc import Mapping
from typing import Any

import pytest

from dns.evaluation import report
from dns.evaluation.metrics import RANKS, Metrics

HOW = {
    "dataset": "llcm",
    "feature": "BN(Z)",
    "flip": "published",
    "re_ranking": "off",
    "checkpoint": "last.pt, epoch 9",
}


def metrics(rank1: float, mAP: float = 0.5) -> Metrics:
    return Metrics([rank1] + [1.0] * (RANKS - 1), mAP, 0.25, 0.1)


def row(rank1: float = 0.5, protocol: str = "llcm-i2v", **how: str) -> Mapping[str, Any]:
    return report.make_row(protocol, [metrics(rank1)], **{**HOW, **how})


def test_a_row_is_mean_and_deviation_over_trials() -> None:
    made = report.make_row("llcm-i2v", [metrics(0.2, 0.3), metrics(0.6, 0.3)], **HOW)
    assert (made["rank1"], made["rank1_std"], made["rank5"]) == (pytest.approx(0.4), pytest.approx(0.2), 1.0)
    assert (made["mAP"], made["mAP_std"], made["mINP"], made["chance"]) == (0.3, 0.0, 0.25, 0.1)
    assert (made["trials"], made["feature"], [trial["cmc"][0] for trial in made["per_trial"]]) == (
        2,
        "BN(Z)",
        [0.2, 0.6],
    )


def test_the_table_names_each_rows_feature() -> None:
    header, *cells = report.table([row(0.5), row(0.25, feature="Z", re_ranking="k-reciprocal")])
    named = [dict(zip(header, line, strict=True)) for line in cells]
    assert [line["feature"] for line in named] == ["BN(Z)", "Z"]
    assert [line["re-ranking"] for line in named] == ["off", "k-reciprocal"]
    assert [line["rank1"] for line in named] == ["50.00 ± 0.00", "25.00 ± 0.00"]
    for text in (report.screen([row(feature="Z")], "title"), report.markdown([row(feature="Z")], "title")):
        assert "feature" in text
        assert "| Z " in text


@pytest.mark.parametrize(
    "other",
    [
        {"feature": "Z"},
        {"re_ranking": "k-reciprocal"},
        {"flip": "off"},
        {"checkpoint": "best.pt, epoch 3"},
        {"protocol": "llcm-v2i"},
        {"dataset": "market_sketch_1k, styles A"},
    ],
)
def test_a_row_that_came_about_otherwise_is_kept(other: dict[str, str]) -> None:
    old, new = row(0.5, **other), row(0.7)
    assert report.merge([old], [new]) == [old, new]


def test_a_new_row_stands_where_the_old_one_stood() -> None:
    """The last epoch's row comes first, however often it is tested again: dns/series.py reads that one."""
    last, best, again, added = row(0.5), row(0.6, checkpoint="best.pt"), row(0.55), row(0.4, feature="Z")
    assert report.merge([last, best], [added, again]) == [again, best, added]
    assert report.merge([], [last, best]) == [last, best]
    assert report.merge([last, best], []) == [last, best]


def test_json_is_written_whole_and_without_nan(tmp_path: Any) -> None:
    path = tmp_path / "result.json"
    report.write_json(path, {"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        report.write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1.5\n}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
