"""The augmentation: parameters against published statistics, pixels against a naive image-by-image oracle."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as vision

from pipelines.augment import recipes
from pipelines.augment.apply import apply as apply_to_halves
from pipelines.augment.apply import normalise, shift_hue
from pipelines.augment.draw import draw
from pipelines.augment.normalisation import IMAGENET, NORMALISATIONS
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    COLUMNS,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FLIP,
    GREY,
    GREYED,
    HUE,
    RECIPES,
    RGB_GREY,
    Exchange,
    ModalityRecipe,
    Recipe,
)
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.numerical

GOLDEN = json.loads((REPOSITORY / "tests" / "data" / "augmentation_statistics.json").read_text("utf-8"))
GOLDEN_DRAWS, DRAWS, HEIGHT_PX, WIDTH_PX = 40_000, 1_000_000, 288, 144
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, HIGH, WIDE = 16, 32, 20  # small images for the pixel tests


def draw_many(half: ModalityRecipe, draws: int = DRAWS) -> np.ndarray:
    """Rows of `half`: many times the golden sample, whose own sampling error (1 % of a quantile) is most of the 2 %."""
    both = Recipe(half, half)
    drawn = [draw(both, draws // 50, HEIGHT_PX, WIDTH_PX, seed=1, epoch=2, iteration=step) for step in range(50)]
    return np.concatenate(drawn).astype(np.float64)


@pytest.fixture(scope="module")
def sysu_draws() -> np.ndarray:
    return draw_many(RECIPES["sysu"].visible)


@pytest.mark.parametrize(
    ("name", "first"),
    [("random_erasing_before_normalise", ERASE), ("channel_random_erasing_after_normalise", CHANNEL_ERASE)],
)
def test_rectangles_have_the_published_statistics(sysu_draws: np.ndarray, name: str, first: int) -> None:
    golden = GOLDEN[name]
    assert (GOLDEN["image_height"], GOLDEN["image_width"], golden["n"]) == (HEIGHT_PX, WIDTH_PX, GOLDEN_DRAWS)
    top, left, high, wide = sysu_draws[sysu_draws[:, first + 2] > 0, first : first + 4].T
    assert len(top) / DRAWS == pytest.approx(golden["applied_fraction"], abs=0.01)
    area, levels = high * wide / (HEIGHT_PX * WIDTH_PX), golden["quantile_levels"]
    assert np.quantile(area, levels) == pytest.approx(golden["area_fraction_quantiles"], rel=0.02)
    assert np.quantile(high / wide, levels) == pytest.approx(golden["aspect_h_over_w_quantiles"], rel=0.02)
    assert area.mean() == pytest.approx(golden["area_fraction_mean"], rel=0.02)
    for values, key in ((top, "top_mean"), (left, "left_mean"), (high, "height_mean"), (wide, "width_mean")):
        assert values.mean() == pytest.approx(golden[key], rel=0.02), key
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= HEIGHT_PX).all()
    assert (left + wide <= WIDTH_PX).all()
    assert (top + high == HEIGHT_PX).any(), "the last row is never erased"
    assert (left + wide == WIDTH_PX).any(), "the last column is never erased"


@pytest.mark.parametrize(("recipe", "grey"), [("sysu", 3), ("llcm", 2)])
def test_channel_exchange_has_the_published_fractions(sysu_draws: np.ndarray, recipe: str, grey: int) -> None:
    drawn = sysu_draws if recipe == "sysu" else draw_many(RECIPES[recipe].visible, DRAWS // 5)  # of 1 %, 0.1 %
    choice = drawn[:, EXCHANGE].astype(int)
    counts = np.bincount(choice, minlength=5)
    assert len(counts) == 5
    given = GOLDEN["visible_images_given_to_channel_exchange_fraction"]
    assert counts[1:].sum() / len(drawn) == pytest.approx(given, abs=0.01)
    fractions = GOLDEN[f"channel_exchange_gray{grey}_fraction_R_G_B_grey"]
    assert counts[1:] / counts[1:].sum() == pytest.approx(fractions, abs=0.01)


def test_crop_flip_and_hue_are_uniform(sysu_draws: np.ndarray) -> None:
    for column in (CROP_TOP, CROP_LEFT):
        counts = np.bincount(sysu_draws[:, column].astype(int) + 10)
        assert len(counts) == 21, "offsets -10 to 10: the image may move by 10 px either way"
        assert ((counts - DRAWS / 21) ** 2 / (DRAWS / 21)).sum() < 52.4  # 99.99 % point of chi-square, 20 degrees
    assert sysu_draws[:, FLIP].mean() == pytest.approx(0.5, abs=0.01)
    assert set(sysu_draws[:, FLIP]) == {0.0, 1.0}
    parameters = draw(RECIPES["sysu"], 20_000, HEIGHT_PX, WIDTH_PX, seed=0, epoch=0, iteration=0)
    hue = parameters[10_000:, HUE]
    assert np.abs(hue).max() <= 0.5
    assert np.quantile(hue, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx([-0.49, -0.25, 0, 0.25, 0.49], abs=0.01)
    assert not parameters[:10_000, HUE].any(), "visible images keep their colours"


def test_columns_are_independent(sysu_draws: np.ndarray) -> None:
    """No two columns share a random number: correlations stay within five standard errors."""
    applied = sysu_draws[:, [ERASE + 2, CHANNEL_ERASE + 2, EXCHANGE]] > 0
    columns = np.column_stack([sysu_draws[:, [CROP_TOP, CROP_LEFT, FLIP]], applied])
    off_diagonal = np.corrcoef(columns.T)[~np.eye(columns.shape[1], dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(DRAWS)
    both = applied[:, 0] & applied[:, 1]
    tops = sysu_draws[both][:, [ERASE, CHANNEL_ERASE]] / (HEIGHT_PX - sysu_draws[both][:, [ERASE + 2, 10]] + 1)
    assert abs(np.corrcoef(tops.T)[0, 1]) < 5 / math.sqrt(both.sum())


# What each half of DNS's batches gets, by set, written out by hand from the published table: erase, hue, channel erase,
# exchange. test_method_recipes.py has the other methods.
PUBLISHED = {
    "sysu": ((True, 0, True, 3), (True, 0.5, True, 0)),
    "llcm": ((False, 0, True, 2), (False, 0.5, True, 0)),
    "regdb": ((True, 0, False, 2), (True, 0, False, 0)),
    "market_sketch_1k": ((True, 0, False, 2), (True, 0, False, 0)),
    "pku_sketch": ((False, 0, False, 0), (False, 0, False, 0)),
}


def test_recipes_are_the_published_table() -> None:
    found = {name: tuple(map(values_of, (RECIPES[name].visible, RECIPES[name].other))) for name in PUBLISHED}
    assert found == PUBLISHED
    assert not any(RECIPES[name].second for name in PUBLISHED)
    assert {recipe.pad_px for recipe in RECIPES.values()} == {10}


def values_of(half: ModalityRecipe) -> tuple:
    exchanges: dict[Exchange | None, int] = {None: 0, Exchange((1, 2, 3)): 2, Exchange((1, 2, 3, 4)): 3}
    assert not half.grey
    return half.erase, half.hue, half.channel_erase, exchanges[half.exchange]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_parameters_use_only_the_columns_of_their_recipe(name: str) -> None:
    parameters = draw(RECIPES[name], 400, HEIGHT_PX, WIDTH_PX, seed=0, epoch=0, iteration=0)
    assert parameters.shape == (400, COLUMNS)
    assert parameters.dtype == np.float32
    for half, (erase, hue, channel_erase, exchange) in zip(np.split(parameters, 2), PUBLISHED[name], strict=True):
        assert half[:, CROP_TOP].any()
        assert half[:, FLIP].any()
        assert half[:, ERASE : ERASE + 4].any() == erase
        assert half[:, HUE].any() == bool(hue)
        assert half[:, CHANNEL_ERASE : CHANNEL_ERASE + 4].any() == channel_erase
        assert half[:, EXCHANGE].max() == {0: 0, 2: 3, 3: 4}[exchange]
        assert not half[:, GREYED].any()


def test_switches_of_a_recipe_do_not_move_the_other_columns() -> None:
    """Runs that differ in one option see the same crops, so that a comparison of recipes compares nothing else."""
    drawn = {
        name: draw(RECIPES[name], BATCH, HIGH, WIDE, seed=3, epoch=1, iteration=7)
        for name, recipe in RECIPES.items()
        if recipe.views == 1
    }
    for parameters in drawn.values():
        assert np.array_equal(parameters[:, [CROP_TOP, CROP_LEFT, FLIP]], drawn["sysu"][:, [CROP_TOP, CROP_LEFT, FLIP]])
    erase, channel_erase = slice(ERASE, ERASE + 4), slice(CHANNEL_ERASE, CHANNEL_ERASE + 4)
    assert np.array_equal(drawn["regdb"][:, erase], drawn["sysu"][:, erase])
    assert np.array_equal(drawn["llcm"][:, channel_erase], drawn["sysu"][:, channel_erase])
    assert np.array_equal(drawn["llcm"][:, HUE], drawn["sysu"][:, HUE])


def test_draws_depend_on_seed_epoch_iteration_and_rank_and_on_nothing_else() -> None:
    base = {"seed": 1, "epoch": 2, "iteration": 3, "rank": 0}

    def parameters(**changes: int) -> np.ndarray:
        return draw(RECIPES["sysu"], BATCH, HEIGHT_PX, WIDTH_PX, **{**base, **changes})

    assert np.array_equal(parameters(), parameters())
    changes: list[dict[str, int]] = [{}, {"seed": 2}, {"epoch": 1}, {"iteration": 4}, {"rank": 1}]
    changes.append({"seed": 2, "epoch": 1})  # adding seed and epoch would give the same numbers
    assert len({parameters(**change).tobytes() for change in changes}) == len(changes)


def test_every_image_has_a_draw_of_its_own() -> None:
    parameters = draw(RECIPES["sysu"], 48, HEIGHT_PX, WIDTH_PX, seed=0, epoch=0, iteration=0)
    assert len(np.unique(parameters, axis=0)) == 48
    assert all(len(np.unique(parameters[:, column])) > 1 for column in range(GREYED))


# --- pixels ---------------------------------------------------------------------------------------------------------


def apply(images: Tensor, parameters: Tensor, recipe: Recipe) -> Tensor:
    """All blocks, joined."""
    return torch.cat(apply_to_halves(images, parameters, recipe))


def random_images(batch: int = BATCH, seed: int = 0, high: int = HIGH, wide: int = WIDE) -> Tensor:
    """Noise that includes pure, black, white and grey pixels: uint8 (batch, high, wide, 3)."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (batch, high, wide, 3), dtype=np.uint8)
    pixels[:, :4, :4] = rng.choice([0, 255], (batch, 4, 4, 3))
    pixels[:, 4:8, :4] = rng.integers(0, 256, (batch, 4, 4, 1), dtype=np.uint8)
    return torch.from_numpy(pixels)


def random_parameters(recipe: Recipe, seed: int, batch: int = BATCH) -> Tensor:
    return torch.from_numpy(draw(recipe, batch, HIGH, WIDE, seed=seed, epoch=0, iteration=0))


def oracle(image_HWC: Tensor, row: list[float], half: ModalityRecipe, recipe: Recipe) -> Tensor:
    """One image by Pillow, torchvision and plain loops, step by step as published: float32 (3, H, W)."""
    high, wide = image_HWC.shape[:2]
    image = vision.pad(image_HWC.permute(2, 0, 1), [recipe.pad_px] * 4)
    if half.grey and row[GREYED]:
        grey = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).convert("L")
        image = torch.from_numpy(np.array(grey)).expand(3, -1, -1)
    image = vision.crop(image, recipe.pad_px + int(row[CROP_TOP]), recipe.pad_px + int(row[CROP_LEFT]), high, wide)
    if row[FLIP]:
        image = vision.hflip(image)
    image = vision.convert_image_dtype(image, torch.float32)
    if half.hue:
        image = vision.adjust_hue(image, row[HUE])
    if half.erase:
        image = fill_rectangle(image, row[ERASE : ERASE + 4], recipe.erasing.fill)
    image = vision.normalize(image, list(MEAN), list(STD))
    if half.channel_erase:
        image = fill_rectangle(image, row[CHANNEL_ERASE : CHANNEL_ERASE + 4], recipe.channel_erasing.fill)
    if half.exchange and row[EXCHANGE]:
        red, green, blue = image
        choices = [red, green, blue, GREY[0] * red + GREY[1] * green + GREY[2] * blue]
        image = torch.stack([choices[int(row[EXCHANGE]) - 1]] * 3)
    return image


def fill_rectangle(image: Tensor, rectangle: list[float], fill: recipes.Colour) -> Tensor:
    top, left, high, wide = map(int, rectangle)
    image = image.clone()
    for y in range(top, top + high):
        for x in range(left, left + wide):
            for channel in range(3):
                image[channel, y, x] = fill[channel]
    return image


def expected(images: Tensor, parameters: Tensor, recipe: Recipe) -> Tensor:
    visible, other = images.chunk(2)
    views = [(image, recipe.visible) for image in visible]
    views += [(image, recipe.second) for image in visible if recipe.second]
    views += [(image, recipe.other) for image in other]
    rows = parameters.double().tolist()
    return torch.stack([oracle(image, row, half, recipe) for (image, half), row in zip(views, rows, strict=True)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(RECIPES))
def test_pixels_equal_the_naive_oracle(name: str, seed: int) -> None:
    recipe = RECIPES[name]
    images, parameters = random_images(seed=seed), random_parameters(recipe, seed)
    torch.testing.assert_close(
        apply(images, parameters, recipe), expected(images, parameters, recipe), rtol=0, atol=1e-5
    )


def test_pixels_equal_the_oracle_with_every_step_in_every_image() -> None:
    """`draw` applies a step to some images only; here every image gets all of them, also at the edges."""
    everything = ModalityRecipe(erase=True, hue=0.5, channel_erase=True, exchange=RGB_GREY, grey=True)
    recipe = Recipe(everything, everything, pad_px=6)
    rng, parameters = np.random.default_rng(0), np.zeros((BATCH, COLUMNS), dtype=np.float32)
    parameters[:, [CROP_TOP, CROP_LEFT]] = rng.integers(-6, 7, (BATCH, 2))
    parameters[:4, [CROP_TOP, CROP_LEFT]] = [[-6, -6], [6, 6], [-6, 6], [6, -6]]
    parameters[:, FLIP] = np.arange(BATCH) % 2
    parameters[:, HUE] = rng.uniform(-0.5, 0.5, BATCH)
    parameters[:5, HUE] = [-0.5, 0.5, 0.0, 1 / 3, -1 / 6]
    parameters[:, ERASE : ERASE + 4] = [HIGH - 5, WIDE - 7, 5, 7]
    parameters[:, CHANNEL_ERASE : CHANNEL_ERASE + 4] = [0, 0, 3, WIDE - 1]
    parameters[:, EXCHANGE] = np.arange(BATCH) % 5
    parameters[:, GREYED] = np.arange(BATCH) % 3 == 1
    images = random_images(seed=9)
    found = apply(images, torch.from_numpy(parameters), recipe)
    torch.testing.assert_close(found, expected(images, torch.from_numpy(parameters), recipe), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pad_px", [0, 1, 10])
def test_crop_and_flip_move_whole_pixels(pad_px: int) -> None:
    """Exact: 255 x the result before normalising is the integer image, black where the crop leaves the image."""
    recipe = replace(RECIPES["pku_sketch"], pad_px=pad_px)
    images, parameters = random_images(seed=pad_px), random_parameters(recipe, seed=pad_px)
    found = apply(images, parameters, recipe) * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    for image, row, result in zip(images.tolist(), parameters.tolist(), (found * 255).round().int(), strict=True):
        for y in range(HIGH):
            for x in range(WIDE):
                source_x = (WIDE - 1 - x if row[FLIP] else x) + int(row[CROP_LEFT])
                source_y = y + int(row[CROP_TOP])
                there = 0 <= source_y < HIGH and 0 <= source_x < WIDE
                assert result[:, y, x].tolist() == (image[source_y][source_x] if there else [0, 0, 0])


@pytest.mark.parametrize("name", list(RECIPES))
def test_parameters_that_change_nothing_give_the_normalised_images(name: str) -> None:
    """Exactly without a hue step; with one, up to the rounding of the hue shift."""
    recipe, images = RECIPES[name], random_images()
    visible, other = normalise(images).chunk(2)
    wanted = torch.cat([visible] * recipe.views + [other])
    tolerance = 1e-5 if recipe.other.hue else 0
    found = apply(images, torch.zeros(len(wanted), COLUMNS), recipe)
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalise_is_torchvision_s(name: str) -> None:
    images, normalisation = random_images(), NORMALISATIONS[name]
    for found, image in zip(normalise(images, normalisation), images, strict=True):
        wanted = vision.normalize(vision.to_tensor(image.numpy()), *map(list, normalisation))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_images_of_training_and_test_are_normalised_alike() -> None:
    images, clip = random_images(), NORMALISATIONS["clip"]
    recipe = replace(RECIPES["pku_sketch"], normalisation=clip)
    assert torch.equal(apply(images, torch.zeros(BATCH, COLUMNS), recipe), normalise(images, clip))
    assert not torch.equal(normalise(images, clip), normalise(images, IMAGENET))


@pytest.mark.parametrize("name", ["sysu", "regdb"])
def test_images_do_not_affect_each_other(name: str) -> None:
    recipe, images = RECIPES[name], random_images()
    parameters = random_parameters(recipe, seed=4)
    half = BATCH // 2
    rng = np.random.default_rng(0)
    order = torch.from_numpy(np.concatenate([rng.permutation(half), half + rng.permutation(half)]))
    assert torch.equal(apply(images[order], parameters[order], recipe), apply(images, parameters, recipe)[order])


def test_grey_images_keep_their_grey_under_hue() -> None:
    grey = random_images()[..., :1].expand(-1, -1, -1, 3).contiguous()
    pixels = grey.float().permute(0, 3, 1, 2) / 255
    assert torch.equal(shift_hue(pixels, torch.linspace(-0.5, 0.5, BATCH)), pixels)
    recipe = Recipe(ModalityRecipe(), ModalityRecipe(hue=0.5))
    parameters = random_parameters(recipe, seed=0)
    assert parameters[BATCH // 2 :, HUE].abs().min() > 0
    assert torch.equal(
        apply(grey, parameters, recipe), apply(grey, parameters, replace(recipe, other=ModalityRecipe()))
    )


def test_hue_turns_primaries() -> None:
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(4, 3, 1, 1)
    turned = shift_hue(red, torch.tensor([0.0, 1 / 3, -1 / 3, 0.5]))[..., 0, 0]
    wanted = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]])
    torch.testing.assert_close(turned, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(RECIPES))
def test_results_are_float32_channels_last_repeatable_and_leave_their_input_alone(name: str) -> None:
    recipe, images = RECIPES[name], random_images()
    parameters = random_parameters(recipe, seed=1)
    before = images.clone(), parameters.clone()
    first = apply(images, parameters, recipe)
    for result, rows in ((first, len(parameters)), (normalise(images), BATCH)):
        assert result.shape == (rows, 3, HIGH, WIDE)
        assert result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, apply(images, parameters, recipe))
    assert torch.equal(images, before[0])
    assert torch.equal(parameters, before[1])


def test_a_rectangle_that_never_fits_erases_nothing() -> None:
    """In a flat image many drawn rectangles do not fit: they raise no error and erase nothing."""
    parameters = draw(RECIPES["sysu"], 200, 2, 400, seed=0, epoch=0, iteration=0)
    for first in (ERASE, CHANNEL_ERASE):
        top, left, high, wide = parameters[:, first : first + 4].T
        erased = high > 0
        assert ((high < 2) & (wide < 400))[erased].all()
        assert not np.stack([top, left, wide])[:, ~erased].any()


def test_module_constants() -> None:
    constants: dict[str, Any] = {}
    constants |= {"FILL": (0.4914, 0.4822, 0.4465), "GREY": (0.2989, 0.5870, 0.1140)}
    assert {name: getattr(recipes, name) for name in constants} == constants


@pytest.mark.parametrize("name", RECIPES)
def test_apply_compiles_whole_and_computes_the_same(name: str) -> None:
    """No recipe breaks the graph; backend="eager" runs the captured graph unchanged."""
    recipe = RECIPES[name]
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (8, HIGH, WIDE, 3), dtype=np.uint8))
    parameters = torch.from_numpy(draw(recipe, 8, HIGH, WIDE, seed=1, epoch=0, iteration=0))
    compiled = torch.compile(lambda pixels, numbers: apply(pixels, numbers, recipe), fullgraph=True, backend="eager")
    assert torch.equal(compiled(images, parameters), apply(images, parameters, recipe))
