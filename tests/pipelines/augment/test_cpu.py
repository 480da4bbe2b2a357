"""The CPU's one-pass augmentation gives the same bits as apply.py for the same parameters."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from pipelines.augment.apply import apply
from pipelines.augment.cpu import augment
from pipelines.augment.draw import draw
from pipelines.augment.normalisation import NORMALISATIONS
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    COLUMNS,
    ERASE,
    EXCHANGE,
    FLIP,
    GREYED,
    HUE,
    RECIPES,
    RGB_GREY,
    ModalityRecipe,
    Recipe,
)
from pipelines.numba_setup import allowed_workers

pytestmark = pytest.mark.numerical

BATCH, HIGH, WIDE = 12, 40, 24
WORKERS = [1, 2][: allowed_workers(2)]


@pytest.fixture(autouse=True)
def _threads() -> None:
    numba.set_num_threads(WORKERS[-1])


def random_images(seed: int) -> np.ndarray:
    """Noise; the second half has grey images, coloured images, and coloured images with grey pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (BATCH, HIGH, WIDE, 3), dtype=np.uint8)
    pixels[BATCH // 2 : BATCH // 2 + 2] = pixels[BATCH // 2 : BATCH // 2 + 2, :, :, :1]
    pixels[-1, ::2] = pixels[-1, ::2, :, :1]
    pixels[:, :4] = rng.choice([0, 255], (BATCH, 4, WIDE, 3))
    return pixels


def compare(
    images: np.ndarray, parameters: np.ndarray, recipe: Recipe, dtype: torch.dtype, workers: int, out=None
) -> None:
    expected = torch.cat(apply(torch.from_numpy(images), torch.from_numpy(parameters), recipe)).to(dtype)
    out = torch.empty(expected.shape, dtype=dtype) if out is None else out
    out.fill_(float("nan"))
    before = images.copy(), parameters.copy()
    assert augment(images, parameters, recipe, out, workers=workers) is out
    assert torch.equal(out, expected)
    assert np.array_equal(images, before[0])
    assert np.array_equal(parameters, before[1])


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_the_same_bits(name: str, dtype: torch.dtype, workers: int) -> None:
    for seed in range(4):
        parameters = draw(RECIPES[name], BATCH, HIGH, WIDE, seed=seed, epoch=0, iteration=0)
        compare(random_images(seed), parameters, RECIPES[name], dtype, workers)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_every_normalisation_gives_the_same_bits(name: str) -> None:
    recipe = replace(RECIPES["sysu"], normalisation=NORMALISATIONS[name])
    parameters = draw(recipe, BATCH, HIGH, WIDE, seed=1, epoch=0, iteration=0)
    compare(random_images(1), parameters, recipe, torch.float32, WORKERS[-1])


def test_every_step_in_every_image_at_the_edges_too() -> None:
    everything = ModalityRecipe(erase=True, hue=0.5, channel_erase=True, exchange=RGB_GREY, grey=True)
    recipe, rng = Recipe(everything, everything, pad_px=6), np.random.default_rng(0)
    parameters = np.zeros((BATCH, COLUMNS), dtype=np.float32)
    parameters[:, :2] = rng.integers(-6, 7, (BATCH, 2))
    parameters[:4, :2] = [[-6, -6], [6, 6], [-6, 6], [6, -6]]
    parameters[:, FLIP] = np.arange(BATCH) % 2
    parameters[:, HUE] = rng.uniform(-0.5, 0.5, BATCH)
    parameters[:5, HUE] = [-0.5, 0.5, 1e-6, 1 / 3, -1 / 6]
    parameters[:, ERASE : ERASE + 4] = [HIGH - 5, WIDE - 7, 5, 7]
    parameters[:, CHANNEL_ERASE : CHANNEL_ERASE + 4] = [0, 0, 3, WIDE - 1]
    parameters[:, EXCHANGE] = np.arange(BATCH) % 5
    parameters[:, GREYED] = np.arange(BATCH) % 3 == 1
    compare(random_images(9), parameters, recipe, torch.float32, WORKERS[-1])


def test_any_memory_format_can_be_filled() -> None:
    """In one type alone: Numba compiles everything for it."""
    parameters = draw(RECIPES["sysu"], BATCH, HIGH, WIDE, seed=3, epoch=0, iteration=0)
    out = torch.empty(BATCH, 3, HIGH, WIDE).to(memory_format=torch.channels_last)
    compare(random_images(3), parameters, RECIPES["sysu"], torch.float32, 1, out)


@pytest.mark.parametrize("pad_px", [0, 1, 30])
def test_borders_wider_than_the_image_are_black(pad_px: int) -> None:
    recipe = replace(RECIPES["regdb"], pad_px=pad_px)
    parameters = draw(recipe, BATCH, HIGH, WIDE, seed=1, epoch=0, iteration=0)
    compare(random_images(1), parameters, recipe, torch.float32, WORKERS[-1])


@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize("workers", WORKERS)
def test_rows_of_whole_cache_lines_are_the_same_in_any_place(workers: int, offset: int) -> None:
    """Rows that start at a multiple of 64 bytes are written past the caches; others are not."""
    recipe, size = RECIPES["sysu"], (BATCH, 3, 40, 48)
    images = np.random.default_rng(2).integers(0, 256, (BATCH, 40, 48, 3), dtype=np.uint8)
    parameters = draw(recipe, BATCH, 40, 48, seed=2, epoch=0, iteration=0)
    memory = np.empty(4 * int(np.prod(size)) + 128, dtype=np.uint8)
    first = -memory.ctypes.data % 64 + offset
    out = torch.from_numpy(memory[first : first + 4 * int(np.prod(size))].view(np.float32).reshape(size))
    assert (out.data_ptr() % 64 == 0) == (offset == 0)
    assert torch.equal(
        augment(images, parameters, recipe, out, workers=workers),
        torch.cat(apply(torch.from_numpy(images), torch.from_numpy(parameters), recipe)),
    )
