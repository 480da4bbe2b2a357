"""Draws a result as a bar chart: medians, with the lowest and highest of the rounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(question: str, content: Mapping[str, Any], target: Path) -> None:
    """Write the chart as SVG. Needs matplotlib (pip install '.[bench]')."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    cases = content["cases"]
    medians = [case["median"] for case in cases.values()]
    spread = [
        [case["median"] - case["least"] for case in cases.values()],
        [case["most"] - case["median"] for case in cases.values()],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.35 * len(cases)), layout="constrained")
    bars = axes.barh(list(cases), medians, xerr=spread, color="tab:blue", error_kw={"elinewidth": 1, "capsize": 2})
    axes.bar_label(bars, labels=[f"{median:,.3g}" for median in medians], padding=12, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(content["unit"])
    place = content["environment"]
    axes.set_title(f"{question}: {place['device']}, {place['cores']} cores", fontsize=10)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)
