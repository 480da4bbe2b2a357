"""How long a published recipe takes at least, beside values worked by hand."""

import json
from pathlib import Path

import pytest

from benchmarks import duration
from tests.conftest import REPOSITORY

# Sizes that the heads of the recipes and the papers name: steps an epoch, images a step, runs.
KNOWN = {
    "sysu": (928, 48, 1), "llcm": (707, 48, 1), "regdb": (86, 48, 10), "market_sketch_1k": (98, 48, 1),
    "pku_sketch": (38, 16, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_the_sizes_are_those_that_the_recipes_name(name: str) -> None:
    sizes = duration.recipe(name)
    assert (sizes.steps, sizes.images, sizes.runs) == KNOWN[name]
    assert f"{sizes.steps} steps of {sizes.images} images" in (REPOSITORY / "configs" / f"{name}.yaml").read_text()


def test_minutes_by_hand(tmp_path: Path) -> None:
    """PKU-Sketch with a roofline of 9 ms, and a network whose image takes 1 ms to embed: 513.5 TFLOP/s / 1000 = 0.5135
    TFLOP, of which the convolutions of a step with 48 images have 3 x 48 times as many.

    Training, a run: 100 epochs x 38 steps x 3 ms = 11.4 s. Embedding, a run: 100 epochs x (50 sketches + 100 photos)
    + 2 x 150 images = 15,300 ms. Ten runs: 267 s = 4.45 minutes.
    """
    sizes = duration.recipe("pku_sketch")
    assert sizes.embedded == 15_300
    assert sizes.minutes(9.0, 73.944) == pytest.approx(4.45, rel=1e-9)
    # With 12 ms the ten runs train for 100 x 38 x 4 ms x 10 = 152 s: with embedding, 305 s.
    check = tmp_path / "check.json"
    stored = {"roofline_ms": {"H100": 12.0}, "convolution_tflop": 73.944, "commit": "0123456789"}
    check.write_text(json.dumps(stored))
    assert "| `configs/pku_sketch.yaml` | 10 | 100 | 38 | 16 | 15,300 | 5.1 |" in duration.table(check)


def test_embedded_images_by_hand() -> None:
    """SYSU-MM01: 3,803 queries and at least one image of 96 identities an epoch; twice all 10,578, and mirrored."""
    assert duration.recipe("sysu").embedded == 100 * (3_803 + 96) + 2 * 2 * 10_578
    assert duration.recipe("regdb").embedded == 100 * (2_060 + 2_060) + 2 * 2 * 4_120
