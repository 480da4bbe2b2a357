"""What cannot be drawn is left out of a report, alone, and said on the screen and on the page."""

from collections.abc import Callable

import numpy as np
import pytest

from dns.report import paper, svg
from dns.report.figures import Chart, Figure, Series, roc_charts
from dns.report.page import Parts, left_out_on_error
from dns.report.study import roc
from ffcv_convert.common.errors import DataError
from tests.support.refusals import assert_tells

FAULTLESS = roc(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
ERRING = roc(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
CHARTS = [Chart(name, f"Title of {name}", "", "x", "y", [Series("s", [1, 2], [3, 4])]) for name in ("one", "two")]


def test_a_curve_without_two_kinds_of_errors_has_no_place_on_logarithmic_axes() -> None:
    assert [chart.name for chart in roc_charts({"a": FAULTLESS})] == ["roc"]
    found = {chart.name: [one.name for one in chart.series] for chart in roc_charts({"a": FAULTLESS, "b": ERRING})}
    assert found == {"roc": ["a", "b"], "det": ["b"]}
    (accepted,) = roc_charts({"a": FAULTLESS})[0].series
    assert (accepted.x[-1], max(accepted.y), accepted.y[accepted.x.index(0)]) == (100, 100, 0)


def test_every_figure_of_a_faultless_network_can_be_a_pdf() -> None:
    pytest.importorskip("matplotlib")
    for chart in roc_charts({"a": FAULTLESS}):
        assert paper.to_pdf(chart).startswith(b"%PDF")


def failing_for(name: str, real: Callable[..., object]) -> Callable[..., object]:
    def draw(figure: Figure, **options: bool) -> object:
        if figure.name == name:
            raise ValueError("no such font")
        return real(figure, **options)

    return draw


@pytest.mark.parametrize("fails", ["draw", "to_pdf"])
def test_one_figure_that_cannot_be_drawn_is_left_out_alone(
    fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(paper, "available", lambda: True)
    monkeypatch.setattr(paper, "to_pdf", failing_for("one" if fails == "to_pdf" else "", lambda _: b"%PDF"))
    monkeypatch.setattr(svg, "draw", failing_for("one" if fails == "draw" else "", svg.draw))
    parts = Parts()
    shown = parts.charts(CHARTS)
    missing = {"one.pdf"} if fails == "to_pdf" else {"one.csv", "one.svg", "one.pdf"}
    assert (
        parts.files().keys() == {f"{name}.{end}" for name in ("one", "two") for end in ("csv", "svg", "pdf")} - missing
    )
    assert ("<figcaption>" in shown, shown.count("<svg")) == (True, 2 if fails == "to_pdf" else 1)
    for said in (shown, capsys.readouterr().err):
        assert_tells(said, "Title of one", "ValueError", "no such font")


def test_an_error_that_the_user_can_mend_is_not_hidden() -> None:
    with pytest.raises(DataError), left_out_on_error("The map"):
        raise DataError("test.beton: damaged")
