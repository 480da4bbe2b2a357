"""Tools with their own operators: each installed one makes the recipe's batches, and leaves nothing running."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from benchmarks import own_operators
from benchmarks.own_operators import TOOLS, installed, pool, torchvision_functions
from benchmarks.own_operators.pool import Ready, in_processes
from benchmarks.own_operators.shared import CHANNEL_LEVELS, LEVELS, MEAN, NORMALISED_FILL, STD, exchange
from pipelines.augment.apply import apply
from pipelines.augment.draw import draw
from pipelines.augment.recipes import FILL, RECIPES, ModalityRecipe, Recipe

# DataLoader forks, beside the threads of whatever ran before in this process.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

HEIGHT, WIDTH, PEOPLE, HALF = 96, 48, 16, 8
SYSU = replace(RECIPES["sysu"], other=replace(RECIPES["sysu"].other, hue=0.0))
PLAIN = Recipe(ModalityRecipe(), ModalityRecipe(hue=0.5), pad_px=4)
NAMES = sorted(installed())


@pytest.fixture(scope="module")
def images_NHWC() -> np.ndarray:
    """Noise: PEOPLE coloured images, then as many grey ones."""
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (PEOPLE, HEIGHT, WIDTH, 3), np.uint8)
    return np.concatenate([visible, rng.integers(0, 256, (*visible.shape[:3], 1), np.uint8).repeat(3, axis=3)])


def plan_of(iterations: int, other: int = PEOPLE) -> np.ndarray:
    """HALF of the first PEOPLE rows, then HALF of the PEOPLE rows that begin at `other`."""
    rng = np.random.default_rng(1)
    return np.concatenate([begin + rng.integers(0, PEOPLE, (iterations, HALF)) for begin in (0, other)], axis=1)


def children() -> set[str]:
    return {child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()}


@contextmanager
def leaves_nothing() -> Iterator[None]:
    """Threads, processes and open files of the block end with it; a library's threads may need a moment."""

    def running() -> set[object]:
        return {*threading.enumerate(), *children()}

    before, files = running(), len(os.listdir("/proc/self/fd"))
    yield
    late = time.monotonic() + 10
    while (left := running() - before) and time.monotonic() < late:
        time.sleep(0.01)
    assert not left
    assert len(os.listdir("/proc/self/fd")) <= files + 2  # DataLoader's and DALI's first use may keep one each


def all_of(ready: Ready, plan: np.ndarray) -> torch.Tensor:
    """The plan's batches one after another, (iterations, B, 3, H, W)."""
    return torch.stack([batch.clone() for batch in ready(plan)])


def normalised(levels: np.ndarray) -> np.ndarray:
    """Grey levels (..., 3) as the network takes them."""
    return ((levels / 255 - MEAN) / STD).astype(np.float32)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker process imports torch and the tool, which takes seconds; `opened` has as many as cores."""
    monkeypatch.setattr(pool, "CORES", 1)


@pytest.fixture
def without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`opened` has worker processes; what their fillers do to an image is done here as well."""

    @contextmanager
    def here(tool: str, images: np.ndarray, size_px: tuple[int, int], recipe: Recipe) -> Iterator[Ready]:
        fill = import_module(f"benchmarks.own_operators.{tool}").filler(images, recipe)

        def ready(plan: np.ndarray) -> Iterator[torch.Tensor]:
            for number, rows in enumerate(plan):
                out = np.empty((len(rows), 3, *size_px), np.float32)
                fill(rows, out, number)
                yield torch.from_numpy(out)

        yield ready

    monkeypatch.setattr(torchvision_functions, "in_processes", here)


class Made(NamedTuple):
    """A tool's batches by SYSU-MM01's recipe. first: the first 6 that it made. later: 30 after other plans."""

    first: torch.Tensor
    later: torch.Tensor


@pytest.fixture(scope="module")
def opened(images_NHWC: np.ndarray) -> Callable[[str], Made]:
    """opened(name): the tool's batches. Each tool is opened once, and left in the middle of two plans."""

    @cache
    def batches(name: str) -> Made:
        plan = plan_of(30)
        with leaves_nothing(), TOOLS[name].open(images_NHWC, SYSU) as ready:
            first = all_of(ready, plan[:6])
            for _ in range(2):
                left = ready(plan)
                next(left)
                left.close()
            assert not torch.equal(first[:2], all_of(ready, plan[:2])), "every batch has new parameters"
            assert all_of(ready, plan[:1, [0, HALF]]).shape == (1, 2, 3, HEIGHT, WIDTH)
            return Made(first, all_of(ready, plan))

    return batches


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest, opened: Callable[[str], Made]) -> torch.Tensor:
    return opened(request.param).later


def test_batches_are_ready_for_the_network(made: torch.Tensor) -> None:
    assert made.shape == (30, 2 * HALF, 3, HEIGHT, WIDTH)
    assert made.dtype == torch.float32
    least, most = (torch.from_numpy(normalised(np.full(3, level)))[:, None, None] for level in (0, 255))
    assert (made[:, HALF:] >= least - 1e-4).all()
    assert (made[:, HALF:] <= most + 1e-4).all()
    assert made.abs().max() < 3


def test_two_thirds_of_the_visible_images_are_exchanged_and_no_other(made: torch.Tensor) -> None:
    same = (made == made[:, :, :1]).flatten(2).all(dim=2)
    assert same[:, :HALF].float().mean() == pytest.approx(2 / 3, abs=0.13)
    assert not same[:, HALF:].any()


def test_each_erasing_fills_a_rectangle_of_half_of_the_images(made: torch.Tensor) -> None:
    for fill in (NORMALISED_FILL, FILL):
        filled = ((made[:, HALF:] - torch.tensor(fill)[:, None, None]).abs() < 0.012).all(dim=2)
        erased = filled.flatten(2).float().mean(dim=2)
        assert (erased > 0.003).float().mean() == pytest.approx(0.5, abs=0.14)
        assert erased.max() < 0.42
        assert erased[erased > 0.003].mean() > 0.05
        assert (filled.any(dim=3).sum(dim=2) * filled.any(dim=2).sum(dim=2) >= filled.sum(dim=(2, 3))).all()


@pytest.mark.parametrize("name", NAMES)
def test_without_erasing_images_are_cropped_flipped_and_normalised(
    name: str, images_NHWC: np.ndarray, one_worker: None, without_workers: None
) -> None:
    """The other half, of coloured images here, gets another hue."""
    plan, pad = plan_of(4, other=0), PLAIN.pad_px
    with leaves_nothing(), TOOLS[name].open(images_NHWC, PLAIN) as ready:
        batches = all_of(ready, plan).numpy().transpose(0, 1, 3, 4, 2)
    margin = np.pad(images_NHWC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    found = set()
    for row, image in zip(plan[:, :HALF].ravel(), batches[:, :HALF].reshape(-1, HEIGHT, WIDTH, 3), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(margin[row], (HEIGHT, WIDTH), axis=(0, 1))
        for flip, out in enumerate((image, image[:, ::-1])):
            corner = np.round((out[8:12, 8:12] * STD + MEAN) * 255)
            at = np.argwhere((windows[..., 8:12, 8:12].transpose(0, 1, 3, 4, 2) == corner).all(axis=(2, 3, 4)))
            for top, left in at:
                expected = normalised(windows[top, left].transpose(1, 2, 0))
                np.testing.assert_allclose(out, expected, atol=1e-4)
                found.add((int(top), int(left), flip, len(found)))
    assert len(found) == 4 * HALF, "every image is one crop of its original"
    tops, lefts, flips, _ = zip(*found, strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == pytest.approx((0, 2 * pad, 0, 2 * pad), abs=2)
    assert 0.2 < sum(flips) / len(flips) < 0.8
    other = batches[:, HALF:]
    assert np.isfinite(other).all()
    assert np.abs(other).max() < 3
    assert other.std() > 0.5
    assert not any(np.array_equal(one, two) for one, two in zip(other[0], batches[0, :HALF], strict=True))


@pytest.mark.parametrize(
    ("name", "error"), [("torchvision v2, its own operators", 1e-5), ("DALI (CPU), its own operators", 0.009)]
)
def test_tools_that_take_our_parameters_make_our_pixels(
    name: str, error: float, images_NHWC: np.ndarray, opened: Callable[[str], Made]
) -> None:
    """Up to rounding of DALI's fill values: half a grey level is 0.009."""
    if name not in NAMES:
        pytest.skip("not installed")
    for number, (rows, batch) in enumerate(zip(plan_of(30), opened(name).first, strict=False)):
        drawn = draw(SYSU, len(rows), HEIGHT, WIDTH, seed=0, epoch=0, iteration=number)
        ours = torch.cat(apply(torch.from_numpy(images_NHWC[rows]), torch.from_numpy(drawn), SYSU))
        assert (batch - ours).abs().max() < error


def test_fill_values_in_grey_levels_become_the_published_ones() -> None:
    half_a_level = 0.5 / 255 / min(STD)
    np.testing.assert_allclose(normalised(np.array(LEVELS)), NORMALISED_FILL, atol=half_a_level)
    np.testing.assert_allclose(normalised(np.array(CHANNEL_LEVELS)), FILL, atol=half_a_level)


@pytest.mark.parametrize(("choice", "wanted"), [(0, None), (1, 1.0), (2, 2.0), (3, 4.0), (4, 0.2989 + 1.174 + 0.456)])
def test_channels_are_exchanged_in_place(choice: int, wanted: float | None) -> None:
    image = np.array([1.0, 2.0, 4.0], np.float32)[:, None, None].repeat(2, axis=2)
    before = image.copy()
    exchange(image, choice)
    np.testing.assert_allclose(image, before if wanted is None else wanted, rtol=1e-6)


def test_every_installed_tool_is_opened(images_NHWC: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(images: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
        yield lambda plan: iter(())

    here = own_operators.Tool("torch", opened), own_operators.Tool("no.such.module", opened)
    monkeypatch.setattr(own_operators, "TOOLS", {"here": here[0], "not here": here[1]})
    with own_operators.open_tools(images_NHWC, SYSU) as tools:
        assert list(tools) == ["here"]


def test_a_worker_that_fails_ends_the_plan(
    images_NHWC: np.ndarray, one_worker: None, capfd: pytest.CaptureFixture
) -> None:
    with leaves_nothing(), pytest.raises(ChildProcessError, match="failed"):  # noqa: SIM117
        with in_processes("no_such_tool", images_NHWC, (HEIGHT, WIDTH), SYSU) as ready:
            next(ready(plan_of(2)))
    assert "no_such_tool" in capfd.readouterr().err
