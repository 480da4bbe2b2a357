"""The recipes of AGW, CAJ, DEEN and DNS's baseline: the authors' own results, statistics and steps, and every recipe of
the table pixel by pixel against plain Python."""

import colorsys
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.augment import cpu
from pipelines.augment.apply import apply
from pipelines.augment.draw import draw
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    COLUMNS,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FLIP,
    GREYED,
    HUE,
    RECIPES,
    ModalityRecipe,
    Recipe,
    blocks,
)
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.numerical

GOLDENS = REPOSITORY / "tests" / "data" / "methods"
PAD_PX = 10
# Golden file, part of it -> our recipe, and which blocks of a batch it is.
PARTS: dict[tuple[str, str], tuple[str, tuple[int, ...]]] = {
    ("agw", "visible_and_infrared"): ("agw", (0, 1)),
    ("agw_llcm", "visible_and_infrared"): ("agw-llcm-code", (0, 1)),
    ("caj", "visible_first_view"): ("caj", (0,)),
    ("caj", "visible_second_view"): ("caj", (1,)),
    ("caj", "infrared"): ("caj", (2,)),
    ("deen", "sysu_visible_and_infrared"): ("deen-sysu", (0, 1)),
    ("deen", "regdb_and_llcm_visible_and_infrared"): ("deen", (0, 1)),
    ("baseline", "sysu_visible_and_infrared"): ("baseline-sysu", (0, 1)),
}
DRAWS = 200_000  # of each block: many times the golden 40,000, whose own error is about half of the 2 %


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / f"{name}_augmentation.json").read_text("utf-8"))


def on_device(images: np.ndarray, parameters: np.ndarray, recipe: Recipe) -> np.ndarray:
    return torch.cat(apply(torch.from_numpy(images), torch.from_numpy(parameters), recipe)).numpy()


def on_host(images: np.ndarray, parameters: np.ndarray, recipe: Recipe) -> np.ndarray:
    out = torch.empty(len(parameters), 3, *images.shape[1:3])
    return cpu.augment(images, parameters, recipe, out, workers=1).numpy()


def our_columns(theirs: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Crops counted from the border -> from the image; the rectangle in the columns of its place."""
    ours = np.zeros((len(theirs), COLUMNS), dtype=np.float32)
    ours[:, [CROP_TOP, CROP_LEFT]] = theirs[:, :2] - PAD_PX
    ours[:, [FLIP, GREYED, EXCHANGE]] = theirs[:, [2, 3, 8]]
    first = ERASE if recipe.visible.erase else CHANNEL_ERASE
    ours[:, first : first + 4] = theirs[:, 4:8]
    return ours


@pytest.mark.parametrize("augmented", [on_device, on_host])
@pytest.mark.parametrize(("file", "part"), PARTS)
def test_the_authors_parameters_give_their_pixels(file: str, part: str, augmented: Callable[..., np.ndarray]) -> None:
    arrays = np.load(GOLDENS / f"{file}_augmentation.npz")
    name, places = PARTS[file, part]
    recipe, pixels = RECIPES[name], arrays[f"{part}_pixels"]
    rows = our_columns(arrays[f"{part}_parameters"], recipe)
    assert golden(file)["columns_of_parameters"][2:4] == ["flip", "grey"]
    for place in places:
        images, parameters = np.concatenate([pixels, pixels]), np.zeros((recipe.views + 1, *rows.shape), np.float32)
        parameters[place] = rows
        found = np.split(augmented(images, parameters.reshape(-1, COLUMNS), recipe), recipe.views + 1)[place]
        assert np.abs(found - arrays[f"{part}_result"]).max() < 1e-5


@pytest.mark.parametrize(("file", "part"), PARTS)
def test_steps_are_the_authors_in_their_order(file: str, part: str) -> None:
    steps = golden(file)["steps"][part]
    normalise, first = steps.index("Normalize"), {name: steps.index(name) for name in steps}
    erasings = [place for name, place in first.items() if name.endswith("Erasing")]
    name, places = PARTS[file, part]
    for place in places:
        half = blocks(RECIPES[name], 2)[place][0]
        assert half.erase == any(found < normalise for found in erasings)
        assert half.channel_erase == any(found > normalise for found in erasings)
        assert half.grey == ("RandomGrayscale" in steps)
        assert bool(half.exchange) == any(step.startswith("Channel") and "Erasing" not in step for step in steps)
        assert not half.hue


def test_recipes_that_are_crop_flip_and_normalisation_alone() -> None:
    """AGW's on every set, and the baseline's on RegDB and LLCM."""
    for name in ("agw", "baseline"):
        assert RECIPES[name] == Recipe(ModalityRecipe(), ModalityRecipe())


# --- statistics -----------------------------------------------------------------------------------------------------


@cache
def drawn(name: str, height: int, width: int) -> list[np.ndarray]:
    """The rows of each block, (DRAWS, COLUMNS)."""
    recipe = RECIPES[name]
    batches = [draw(recipe, DRAWS // 5, height, width, seed=1, epoch=2, iteration=step) for step in range(10)]
    split = [np.split(batch, recipe.views + 1) for batch in batches]
    return [np.concatenate([batch[block] for batch in split]) for block in range(recipe.views + 1)]


STATISTICS = [
    (file, part, key) for file, part in PARTS for key in ("erasing", "channels")
    if f"{part}.{key}" in golden(file)["statistics"]
]  # fmt: skip


@pytest.mark.parametrize(("file", "part"), [(file, part) for file, part, key in STATISTICS if key == "erasing"])
def test_rectangles_have_the_authors_statistics(file: str, part: str) -> None:
    wanted, (name, places) = golden(file)["statistics"][f"{part}.erasing"], PARTS[file, part]
    height, width, levels = wanted["height"], wanted["width"], wanted["quantile_levels"]
    assert RECIPES[name].channel_erasing.fill == tuple(wanted["fill"])
    for place in places:
        rows = drawn(name, height, width)[place].astype(np.float64)
        top, left, high, wide = rows[rows[:, CHANNEL_ERASE + 2] > 0, CHANNEL_ERASE : CHANNEL_ERASE + 4].T
        assert len(top) / DRAWS == pytest.approx(wanted["applied_fraction"], abs=0.01)
        area = high * wide / (height * width)
        erased = wanted["n"] * wanted["applied_fraction"]
        assert_same_quantiles(area, levels, wanted["area_fraction_quantiles"], erased)
        assert_same_quantiles(high / wide, levels, wanted["aspect_h_over_w_quantiles"], erased)
        assert area.mean() == pytest.approx(wanted["area_fraction_mean"], rel=0.02)
        for values, key in ((top, "top_mean"), (left, "left_mean"), (high, "height_mean"), (wide, "width_mean")):
            assert values.mean() == pytest.approx(wanted[key], rel=0.02), key
        assert ((high < height) & (wide < width) & (top + high <= height) & (left + wide <= width)).all()


def assert_same_quantiles(values: np.ndarray, levels: list[float], golden: list[float], n: float) -> None:
    """Within 2 % each; or, where n draws know a quantile less well than that, four standard errors of its level: the
    least areas, of which a golden 5 % quantile is 4.9 % off. Sides rounded down would be 10 standard errors off."""
    for level, wanted, found in zip(levels, golden, np.quantile(values, levels), strict=True):
        share = ((values < wanted).mean() + (values <= wanted).mean()) / 2
        error = np.sqrt(level * (1 - level) / n)
        assert found == pytest.approx(wanted, rel=0.02) or abs(share - level) < 4 * error, (level, wanted, found)


@pytest.mark.parametrize(("file", "part"), [(file, part) for file, part, key in STATISTICS if key == "channels"])
def test_channels_have_the_authors_fractions(file: str, part: str) -> None:
    wanted, (name, places) = golden(file)["statistics"][f"{part}.channels"], PARTS[file, part]
    for place in places:
        choice = drawn(name, 288, 144)[place][:, EXCHANGE].astype(int)
        found = np.bincount(choice, minlength=5) / DRAWS
        assert found == pytest.approx(wanted["fraction_kept_R_G_B_grey"], abs=0.01)
        assert [share == 0 for share in found] == [share == 0 for share in wanted["fraction_kept_R_G_B_grey"]]


@pytest.mark.parametrize("name", ["deen", "deen-sysu"])
def test_half_of_the_images_are_greyed(name: str) -> None:
    for rows in drawn(name, 384, 144):
        assert rows[:, GREYED].mean() == pytest.approx(0.5, abs=0.01)
        assert set(rows[:, GREYED]) == {0.0, 1.0}


def test_the_columns_of_two_views_are_independent() -> None:
    first, second, _ = drawn("caj", 288, 144)
    for column in (CROP_TOP, CROP_LEFT, FLIP, CHANNEL_ERASE + 2):
        pair = np.corrcoef(first[:, column] > 0, second[:, column] > 0)
        assert abs(pair[0, 1]) < 5 / np.sqrt(DRAWS)


# --- pixels ---------------------------------------------------------------------------------------------------------

HIGH, WIDE, IMAGES = 16, 10, 12
MEANS, STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILLS = {"agw-llcm-code": (0.0, 0.0, 0.0), "deen": MEANS, "deen-sysu": MEANS}  # others: DNS's
DNS_FILL = (0.4914, 0.4822, 0.4465)


def naive(image: np.ndarray, row: list[float], fill: tuple[float, ...]) -> np.ndarray:
    """One image, one pixel at a time, by the parameters alone: (3, H, W)."""
    out = np.empty((3, HIGH, WIDE))
    for y in range(HIGH):
        for x in range(WIDE):
            from_y, from_x = y + int(row[CROP_TOP]), (WIDE - 1 - x if row[FLIP] else x) + int(row[CROP_LEFT])
            inside = 0 <= from_y < HIGH and 0 <= from_x < WIDE
            red, green, blue = (int(value) for value in image[from_y, from_x]) if inside else (0, 0, 0)
            if row[GREYED]:
                red = green = blue = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
            hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
            pixel = list(colorsys.hsv_to_rgb((hue + row[HUE]) % 1, saturation, value))
            if covers(row[ERASE : ERASE + 4], y, x):
                pixel = list(DNS_FILL)
            pixel = [(one - mean) / std for one, mean, std in zip(pixel, MEANS, STDS, strict=True)]
            if covers(row[CHANNEL_ERASE : CHANNEL_ERASE + 4], y, x):
                pixel = list(fill)
            grey = 0.2989 * pixel[0] + 0.5870 * pixel[1] + 0.1140 * pixel[2]
            if row[EXCHANGE]:
                pixel = 3 * [[*pixel, grey][int(row[EXCHANGE]) - 1]]
            out[:, y, x] = pixel
    return out


def covers(rectangle: list[float], y: int, x: int) -> bool:
    top, left, high, wide = rectangle
    return top <= y < top + high and left <= x < left + wide


@pytest.mark.parametrize("augmented", [on_device, on_host])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_equals_plain_python(name: str, augmented: Callable[..., np.ndarray]) -> None:
    images = np.random.default_rng(5).integers(0, 256, (IMAGES, HIGH, WIDE, 3), dtype=np.uint8)
    parameters = draw(RECIPES[name], IMAGES, HIGH, WIDE, seed=3, epoch=0, iteration=0)
    visible, other = images[: IMAGES // 2], images[IMAGES // 2 :]
    views = [*visible, *visible, *other] if name == "caj" else [*visible, *other]
    fill = FILLS.get(name, DNS_FILL)
    wanted = [naive(image, row, fill) for image, row in zip(views, parameters.tolist(), strict=True)]
    assert np.abs(augmented(images, parameters, RECIPES[name]) - np.stack(wanted)).max() < 1e-5


def test_luminance_is_exact_for_every_sum_near_a_step() -> None:
    """In float32, on both paths: every green and blue with some reds."""
    red, green, blue = np.meshgrid([0, 1, 127, 254, 255], np.arange(256), np.arange(256), indexing="ij")
    images = np.stack([red, green, blue], axis=-1).astype(np.uint8).reshape(2, -1, 256, 3)
    parameters = np.zeros((2, COLUMNS), dtype=np.float32)
    parameters[:, GREYED] = 1
    greys = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).reshape(2, -1, 256)
    for augmented in (on_device, on_host):
        found = augmented(images, parameters, RECIPES["deen"])
        back = found * np.array(STDS)[:, None, None] + np.array(MEANS)[:, None, None]
        assert np.array_equal(np.round(back * 255).astype(int), np.stack([greys] * 3, axis=1))
