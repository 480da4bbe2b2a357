"""The Lanczos resize gives Pillow's pixels for any image and size."""

import numpy as np
import pytest
from PIL import Image

from ffcv_convert import lanczos
from ffcv_convert.lanczos import resize

pytestmark = pytest.mark.numerical


def noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def black_and_white(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Edges everywhere, so that sums overshoot 8 bits at both ends."""
    return (255 * rng.integers(0, 2, shape)).astype(np.uint8)


@pytest.mark.parametrize("draw", [noise, black_and_white])
@pytest.mark.parametrize("seed", range(40))
def test_pixels_are_pillow_s(draw, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (high, wide), (height, width) = rng.integers(1, 400, 2).tolist(), rng.integers(1, 320, 2).tolist()
    if seed % 4 == 0:
        height = high
    if seed % 4 == 1:
        width = wide
    image = draw(rng, (high, wide, 3))
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    assert np.array_equal(resize(image, height, width), expected)


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (1, 300), (300, 1), (2, 2), (288, 144), (3000, 700)])
def test_odd_sizes_become_the_stored_one(high: int, wide: int) -> None:
    image = noise(np.random.default_rng(0), (high, wide, 3))
    expected = np.asarray(Image.fromarray(image).resize((144, 288), Image.Resampling.LANCZOS))
    assert np.array_equal(resize(image, 288, 144), expected)


def test_a_read_only_image_is_taken_and_left_as_it_is() -> None:
    image = noise(np.random.default_rng(1), (90, 40, 3))
    image.flags.writeable = False
    before = image.copy()
    resize(image, 33, 55)
    assert np.array_equal(image, before)


def test_what_is_kept_of_weights_is_little() -> None:
    """Weights for the sides of crops are cached; those of very large images are not."""
    lanczos._kept_weights.cache_clear()
    for size in (*range(30, 60), 16_384, 5000):
        lanczos._taps(size, 288)
        lanczos._taps(size, 288)
    kept = lanczos._kept_weights.cache_info()
    assert (kept.currsize, kept.hits) == (30, 30)
    assert kept.maxsize * sum(part.nbytes for part in lanczos._taps(lanczos.KEPT_PX, 288)) < 50e6
