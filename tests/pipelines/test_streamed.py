"""The loaders: pixels against the source files, plans, resumption, threads, errors, damaged files, bad arguments."""

import os
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from PIL import Image

from ffcv_convert.beton import Converted, Modality, open_beton, read_structure
from ffcv_convert.beton.layout import ALLOCATION, MODE_JPEG
from ffcv_convert.beton.manifest import read_manifest
from ffcv_convert.common.errors import DataError
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from pipelines.augment.draw import draw
from pipelines.augment.recipes import RECIPES
from pipelines.decoder import Decoder
from pipelines.epoch_plan import PlanOptions
from pipelines.numba_setup import allowed_workers
from pipelines.prefetch import Prefetcher, Slot
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import subset_of
from tests.support.refusals import refusal

CPU = torch.device("cpu")
SYSU = RECIPES["sysu"]
DAMAGED = 3  # a sample that open_beton does not spot-check
two_workers = pytest.mark.skipif(allowed_workers(2) < 2, reason="needs two cores")
each_worker_count = pytest.mark.parametrize("workers", [1, pytest.param(2, marks=two_workers)])
pytestmark = pytest.mark.timeout(60)  # a failure here is often a hang


@pytest.fixture(scope="module")
def train(beton_root: Path) -> Converted:
    return open_beton(beton_root / "synthetic" / "train.beton")


@pytest.fixture(scope="module")
def test_set(beton_root: Path) -> Converted:
    return open_beton(beton_root / "synthetic" / "test.beton")


@pytest.fixture(scope="module")
def jpeg_beton(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("jpeg")
    convert(synthetic.DATASET, data_root, root, ImageFormat(height_px=96, width_px=48, encoding="jpeg"), workers=2)
    return root / "synthetic" / "train.beton"


SourceImages = Callable[[Converted], np.ndarray]


@pytest.fixture(scope="module")
def source(data_root: Path) -> SourceImages:
    """The images of a converted set from their source files, by Pillow: uint8 (N, 96, 48, 3)."""

    def images_of(converted: Converted) -> np.ndarray:
        images = []
        for name in converted.manifest.column("path"):
            with Image.open(data_root / "synthetic" / name) as image:
                images.append(np.asarray(image.convert("RGB").resize((48, 96), Image.Resampling.LANCZOS)))
        return np.stack(images)

    return images_of


@pytest.fixture(scope="module")
def train_images(train: Converted, source: SourceImages) -> np.ndarray:
    return source(train)


def make_loader(converted: Converted, **changes: Any) -> StreamedLoader:
    """changes: fields of PlanOptions, and keywords of StreamedLoader."""
    planned = {name: changes.pop(name) for name in list(changes) if name in PlanOptions.__dataclass_fields__}
    options = PlanOptions(**{"persons": 4, "pictures": 3, "recipe": SYSU, "seed": 0, **planned})
    subset = subset_of(converted, np.arange(len(converted)))
    return StreamedLoader(subset, options, **{"world": World(CPU), "workers": 1, **changes})


@pytest.fixture(scope="module")
def loader(train: Converted) -> StreamedLoader:
    return make_loader(train)


@pytest.fixture(scope="module")
def long_loader(train: Converted) -> StreamedLoader:
    """Eight batches per epoch, twice as many as slots: the thread cannot finish while the first ones are in use."""
    return make_loader(train, persons=2)


def make_prefetcher(converted: Converted, **changes: Any) -> Prefetcher:
    return Prefetcher(converted, **{"batch_size": 4, "workers": 1, **changes})


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not decoding_threads()


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ffcv-decode"]


def assert_epoch_is_right(loader: StreamedLoader, epoch: int, images: np.ndarray) -> None:
    plan = loader.plan(epoch)
    with loader.epoch(epoch) as batches:
        for indices, batch in zip(plan, batches, strict=True):
            assert np.array_equal(batch.index_B, indices)
            assert np.array_equal(batch.images, images[indices])


# --- what a batch holds ---------------------------------------------------------------------------------------------


@each_worker_count
def test_a_whole_epoch_holds_the_source_pixels_and_the_manifest_s_labels(
    train: Converted, train_images: np.ndarray, workers: int
) -> None:
    loader = make_loader(train, workers=workers)
    original = train.manifest.column("person")
    label = [sorted(set(original)).index(person) for person in original]
    modality = np.array(train.manifest.column("modality"))
    assert loader.iterations == 4  # floor(48 / 12)
    assert len(np.unique(train_images, axis=0)) == 96, "equal images would hide an exchange"
    for epoch in (0, 1):
        plan, seen = loader.plan(epoch), 0
        with loader.epoch(epoch) as batches:
            for number, batch in enumerate(batches):
                assert batch.images.dtype == torch.uint8
                assert batch.person_B.dtype == batch.index_B.dtype == torch.int64
                assert batch.person_B.shape == batch.index_B.shape == (24,)
                assert batch.count == 24
                assert np.array_equal(batch.index_B, plan[number])
                assert batch.person_B.tolist() == [label[sample] for sample in plan[number]]
                assert torch.equal(batch.person_B[:12], batch.person_B[12:])
                assert (modality[batch.index_B] == np.repeat([Modality.VISIBLE, Modality.INFRARED], 12)).all()
                assert np.array_equal(batch.images, train_images[plan[number]])
                parameters = drawn_parameters(loader, epoch, number)
                assert np.array_equal(batch.augmentation, parameters)
                seen += 1
        assert seen == loader.iterations


def drawn_parameters(loader: StreamedLoader, epoch: int, iteration: int) -> np.ndarray:
    return draw(loader.recipe, 24, 96, 48, seed=0, epoch=epoch, iteration=iteration)


def test_an_epoch_entered_in_the_middle_is_the_unbroken_one_s_rest(loader: StreamedLoader) -> None:
    def record(start: int) -> list[tuple[bytes, ...]]:
        with loader.epoch(5, start) as batches:
            return [
                tuple(t.numpy().tobytes() for t in (b.images, b.person_B, b.index_B, b.augmentation)) for b in batches
            ]

    whole = record(0)
    assert len(set(whole)) == loader.iterations
    for start in range(loader.iterations + 1):
        assert record(start) == whole[start:]


def test_other_seeds_and_epochs_give_other_batches(train: Converted, loader: StreamedLoader) -> None:
    other = make_loader(train, seed=1)
    assert not np.array_equal(loader.plan(1), other.plan(0))
    assert not np.array_equal(loader.plan(0), loader.plan(1))
    with loader.epoch(0) as first:
        parameters = next(first).augmentation.clone()
    with other.epoch(0) as second:
        assert not torch.equal(next(second).augmentation, parameters)


def test_the_published_schedule_runs_one_iteration_more(train: Converted, train_images: np.ndarray) -> None:
    loader = make_loader(train, extra_iteration=True)
    assert loader.iterations == len(loader.plan(0)) == 5
    assert_epoch_is_right(loader, 0, train_images)


def test_the_hue_step_is_skipped_if_every_infrared_image_is_grey(train: Converted) -> None:
    assert train.manifest.infrared_grey
    assert make_loader(train).recipe == replace(SYSU, other=replace(SYSU.other, hue=0.0))
    coloured = Converted(train.structure, replace(train.manifest, infrared_grey=False))
    assert make_loader(coloured).recipe == SYSU


@pytest.mark.parametrize("batch_size", [16, 17, 85, 100])
def test_test_loader_shows_every_sample_once_in_order(
    test_set: Converted, source: SourceImages, batch_size: int
) -> None:
    images, original = source(test_set), test_set.manifest.column("person")
    assert len(test_set) == 85
    chosen = np.random.default_rng(0).permutation(85)
    tester, seen = StreamedTestLoader(test_set, batch_size=batch_size, device=CPU, workers=1), []
    with tester.samples(chosen) as batches:
        for batch in batches:
            assert batch.index_B.shape == (batch_size,), "an odd batch would be compiled again"
            assert np.array_equal(batch.images, images[batch.index_B])
            assert batch.person_B.tolist() == [original[sample] for sample in batch.index_B]
            assert (batch.index_B[batch.count :] == batch.index_B[batch.count - 1]).all()
            seen += batch.index_B[: batch.count].tolist()
    assert seen == chosen.tolist()


def test_test_loader_without_samples_yields_no_batch(test_set: Converted) -> None:
    with StreamedTestLoader(test_set, batch_size=8, device=CPU).samples(np.array([], dtype=np.int64)) as batches:
        assert list(batches) == []


# --- slots, threads, memory -----------------------------------------------------------------------------------------


def test_buffers_are_made_once(train: Converted) -> None:
    loader, places = make_loader(train), set()
    for epoch in range(3):
        with loader.epoch(epoch) as batches:
            places |= {batch.images.data_ptr() for batch in batches}
    assert len(places) == 4


def test_a_slot_is_not_written_before_it_is_released(train: Converted, train_images: np.ndarray) -> None:
    """Keep all four slots: the decoder must wait. Release them in another order: every image is still right."""
    order, made = np.arange(48, dtype=np.int64).reshape(12, 4)[::-1].copy(), []

    def note(batch: int) -> np.ndarray:
        made.append(batch)
        return np.array([batch])

    with make_prefetcher(train).epoch(order, note) as epoch:
        slots = iter(epoch)
        for first in (0, 4, 8):
            kept: list[Slot] = [next(slots) for _ in range(4)]
            time.sleep(0.05)
            assert made == list(range(first + 4)), "decoded into a slot that was not free"
            for batch, slot in enumerate(kept, start=first):
                assert slot.parameters.item() == batch
                assert np.array_equal(slot.index_B, order[batch])
                assert np.array_equal(slot.images, train_images[order[batch]])
            for place in (2, 0, 3, 1):
                epoch.release(kept[place])


def test_a_batch_stays_as_it_is_until_the_next_one_is_asked_for(
    long_loader: StreamedLoader, train_images: np.ndarray
) -> None:
    plan = long_loader.plan(0)
    assert len(plan) == 8
    with long_loader.epoch(0) as batches:
        for indices, batch in zip(plan, batches, strict=True):
            time.sleep(0.02)  # a slow step: the decoder has filled every free slot by now
            assert np.array_equal(batch.index_B, indices)
            assert np.array_equal(batch.images, train_images[indices])


class Copy:
    """Stands in for the CUDA event at the end of a copy out of a slot."""

    def __init__(self) -> None:
        self.waited_for, self.ended = threading.Event(), threading.Event()

    def synchronize(self) -> None:
        self.waited_for.set()
        assert self.ended.wait(20)


def test_a_slot_is_not_written_while_it_is_being_copied(train: Converted) -> None:
    order = np.arange(8, dtype=np.int64).reshape(2, 4)
    with make_prefetcher(train, slots=1).epoch(order) as epoch:
        slots, copy = iter(epoch), Copy()
        first = next(slots)
        before = first.images.clone()
        epoch.release(first, after=copy)
        assert copy.waited_for.wait(20)
        time.sleep(0.05)
        assert torch.equal(first.images, before)
        copy.ended.set()
        assert not torch.equal(next(slots).images, before)


def test_leaving_an_epoch_waits_for_copies_out_of_its_slots(train: Converted) -> None:
    """The next epoch may write to every slot, so a copy still running would receive its images."""
    copies = [Copy() for _ in range(4)]
    order = np.arange(16, dtype=np.int64).reshape(4, 4)
    with make_prefetcher(train).epoch(order) as epoch:
        for slot, copy in zip(epoch, copies, strict=True):
            copy.ended.set()
            epoch.release(slot, after=copy)
    assert all(copy.waited_for.is_set() for copy in copies)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_leaving_early_leaves_no_thread_and_the_next_epoch_is_right(
    long_loader: StreamedLoader, train_images: np.ndarray, taken: int
) -> None:
    with long_loader.epoch(0) as batches:
        assert len(decoding_threads()) == 1
        for _ in range(taken):
            next(batches)
    assert not decoding_threads()
    assert_epoch_is_right(long_loader, 1, train_images)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_short_epochs_grow_neither_threads_nor_memory(long_loader: StreamedLoader) -> None:
    """FFCV's own loader leaves a thread and its buffers behind, here 0.7 MB, each time."""

    def short_epochs(number: int) -> None:
        for epoch in range(number):
            with long_loader.epoch(epoch) as batches:
                next(batches)

    short_epochs(10)
    threads, memory = threading.active_count(), resident_bytes()
    short_epochs(30)
    assert threading.active_count() == threads
    assert resident_bytes() - memory < 10e6


@two_workers
def test_two_loaders_decode_at_the_same_time(
    train: Converted, test_set: Converted, train_images: np.ndarray, source: SourceImages
) -> None:
    """Numba's workqueue layer aborts the process here; its OpenMP layer would kill forked children."""
    loader, tester = make_loader(train, workers=2), StreamedTestLoader(test_set, batch_size=8, device=CPU, workers=2)
    test_images = source(test_set)
    for epoch in range(5):
        with loader.epoch(epoch) as batches, tester.samples(np.arange(32)) as tests:
            for batch, test in zip(batches, tests, strict=True):
                assert np.array_equal(batch.images, train_images[batch.index_B])
                assert np.array_equal(test.images, test_images[test.index_B])
    assert numba.threading_layer() == os.environ.get("NUMBA_THREADING_LAYER", "tbb")


@two_workers
def test_loaders_of_one_and_of_two_workers_do_not_disturb_each_other(
    train: Converted, train_images: np.ndarray
) -> None:
    loaders = [make_loader(train, workers=workers) for workers in (2, 1, 2)]
    for epoch in range(2):
        for loader in loaders:
            assert_epoch_is_right(loader, epoch, train_images)


def test_torch_keeps_its_threads(train: Converted, test_set: Converted) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # FFCV would set it to its own number of workers
    try:
        loader, tester = (
            make_loader(train, workers=1),
            StreamedTestLoader(test_set, batch_size=8, device=CPU, workers=0),
        )
        assert torch.get_num_threads() == 3
        with loader.epoch(0) as batches, tester.samples(np.arange(8)) as tests:
            assert len(list(batches)) == 4
            assert len(list(tests)) == 1
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_workers_are_capped_by_what_the_process_may_use(train: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    assert [allowed_workers(asked) for asked in (-1, 0, 1, most, most + 1, 1000)] == [most, most, 1, most, most, most]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert [allowed_workers(asked) for asked in (0, 1, 8)] == [1, 1, 1]
    assert make_prefetcher(train, workers=8).decoder.workers == 1


# --- errors ---------------------------------------------------------------------------------------------------------


class OddError(Exception):
    pass


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_while_decoding_reaches_the_consumer(
    train: Converted, train_images: np.ndarray, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    loader, decode, calls = make_loader(train), Decoder.decode, []

    def fail(self: Decoder, indices: np.ndarray, slot: int, parameters: np.ndarray) -> list:
        calls.append(slot)
        if len(calls) > failing:
            raise OddError("the disk is gone")
        return decode(self, indices, slot, parameters)

    begin = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(Decoder, "decode", fail)
        with loader.epoch(0) as batches:
            for _ in range(failing):
                next(batches)
            with pytest.raises(OddError, match="the disk is gone"):
                next(batches)
            assert next(batches, None) is None
    assert time.monotonic() - begin < 5
    assert_epoch_is_right(loader, 0, train_images)


@pytest.mark.parametrize(
    "error", [OddError("no parameters"), SystemExit("no parameters"), MemoryError("no parameters")]
)
def test_an_error_while_drawing_augmentation_reaches_the_consumer(train: Converted, error: BaseException) -> None:
    def fail(batch: int) -> np.ndarray:
        if batch == 1:
            raise error
        return np.empty(0)

    with make_prefetcher(train).epoch(np.zeros((3, 4), dtype=np.int64), fail) as epoch:
        slots = iter(epoch)
        next(slots)
        with pytest.raises(type(error), match="no parameters"):
            next(slots)


def test_an_error_of_the_consumer_stops_the_decoding(long_loader: StreamedLoader, train_images: np.ndarray) -> None:
    def consume(batches: AbstractContextManager[Iterator[Any]]) -> None:
        with batches as epoch:
            next(epoch)
            raise OddError("the loss is not finite")

    with pytest.raises(OddError, match="not finite"):
        consume(long_loader.epoch(0))
    assert not decoding_threads()
    assert_epoch_is_right(long_loader, 1, train_images)


def test_an_interrupt_while_waiting_for_a_batch_is_raised(
    train: Converted, train_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, decode, interrupted = make_loader(train), Decoder.decode, threading.Event()

    def slow(self: Decoder, indices: np.ndarray, slot: int, parameters: np.ndarray) -> list:
        if not interrupted.is_set():
            time.sleep(0.1)  # by now the consumer waits
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        return decode(self, indices, slot, parameters)

    monkeypatch.setattr(Decoder, "decode", slow)
    with pytest.raises(KeyboardInterrupt), loader.epoch(0) as batches:
        next(batches)
    assert interrupted.is_set()
    assert not decoding_threads()
    assert_epoch_is_right(loader, 1, train_images)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_asking_for_a_batch_after_the_block_is_an_error_not_a_hang(loader: StreamedLoader, taken: int) -> None:
    with loader.epoch(0) as batches:
        for _ in range(taken):
            next(batches)
    with pytest.raises(RuntimeError, match="left"):
        next(batches)


def test_a_second_epoch_of_the_same_loader_is_refused_while_one_runs(
    loader: StreamedLoader, train_images: np.ndarray
) -> None:
    """Both would decode into the same buffers: the images of one with the labels of the other."""
    plan = loader.plan(0)
    with loader.epoch(0) as batches:
        first = next(batches)
        with pytest.raises(RuntimeError, match="running"), loader.epoch(1):
            pass
        assert np.array_equal(first.images, train_images[plan[0]])
        assert np.array_equal(next(batches).images, train_images[plan[1]])
    assert_epoch_is_right(loader, 1, train_images)


@pytest.mark.parametrize(
    ("order", "error", "told"),
    [
        (np.zeros((2, 4)), TypeError, "float64"),
        (np.zeros((2, 4), dtype=np.int32), TypeError, "int32"),
        (np.zeros((2, 4), dtype=np.uint64), TypeError, "uint64"),
        (np.zeros((2, 4), dtype=bool), TypeError, "bool"),
        (np.zeros(4, dtype=np.int64), TypeError, "(4,)"),
        (np.zeros((2, 4, 1), dtype=np.int64), TypeError, "(2, 4, 1)"),
        (np.zeros((2, 5), dtype=np.int64), TypeError, "(2, 5)"),
        (np.zeros((2, 3), dtype=np.int64), TypeError, "(2, 3)"),
        (np.full((2, 4), 96), IndexError, "to 96"),
        (np.full((2, 4), 10**6), IndexError, "to 1000000"),
        (np.array([[0, 1, 2, -1]]), IndexError, "-1 to 2"),
        (None, TypeError, "object"),
    ],
)
def test_a_bad_order_is_refused(train: Converted, order: Any, error: type[Exception], told: str) -> None:
    """FFCV alone hangs, crashes, writes past its buffers or returns another sample's label, depending on the order."""
    prefetcher = make_prefetcher(train)
    with refusal(error, "order", told), prefetcher.epoch(order):
        pass
    with prefetcher.epoch(np.array([[5, 4, 3, 95]])) as epoch:
        assert [slot.index_B.tolist() for slot in epoch] == [[5, 4, 3, 95]]


@pytest.mark.parametrize("indices", [np.array([0.5, 1.0]), np.array([True, False, True]), [], [0.0]])
def test_test_loader_refuses_indices_that_are_not_sample_numbers(test_set: Converted, indices: Any) -> None:
    """A mask instead of numbers would show samples 0 and 1 repeatedly."""
    tester = StreamedTestLoader(test_set, batch_size=4, device=CPU, workers=1)
    with refusal(TypeError, "int64"), tester.samples(indices):
        pass


def test_too_few_identities_are_refused_before_the_first_epoch(train: Converted) -> None:
    with refusal(DataError, "data.persons", "8 identities", 9):
        make_loader(train, persons=9)


# --- JPEG -----------------------------------------------------------------------------------------------------------


@each_worker_count
def test_a_jpeg_beton_decodes_close_to_its_sources(jpeg_beton: Path, source: SourceImages, workers: int) -> None:
    converted = open_beton(jpeg_beton)
    assert (converted.structure.column("image")["mode"] == MODE_JPEG).all()
    images = source(converted).astype(int)
    decoded = np.zeros_like(images)
    with StreamedTestLoader(converted, batch_size=32, device=CPU, workers=workers).samples(np.arange(96)) as batches:
        for batch in batches:
            decoded[batch.index_B] = batch.images
    error = np.abs(decoded - images).mean(axis=(1, 2, 3))
    assert 0 < error.max() < 5, "mean error in grey levels of the worst image"
    distance = torch.cdist(*(torch.from_numpy(one).flatten(1).float() for one in (decoded, images)), p=1)
    assert np.array_equal(distance.argmin(dim=1), np.arange(96))


def damage(beton: Path, folder: Path, how: str, *, converted_so: bool) -> Converted:
    """A copy in which the JPEG of sample DAMAGED is damaged, opened without the checks that would find it.

    converted_so: the manifest holds the checksum of the damaged bytes.
    """
    copy = folder / beton.name
    shutil.copy(beton, copy)
    shutil.copy(beton.with_suffix(".json"), copy.with_suffix(".json"))
    structure = read_structure(copy)
    row = structure.allocation_N[DAMAGED]
    start, size = int(row["ptr"]), int(row["size"])
    table = structure.size_bytes - structure.allocation_N.nbytes + DAMAGED * ALLOCATION.itemsize
    with open(copy, "r+b") as file:
        if how == "cut":
            file.seek(table + ALLOCATION.fields["size"][1])
            file.write(np.uint64(size // 2).tobytes())
        else:
            first = {"zeroed": 0, "second half zeroed": size // 2}[how]
            file.seek(start + first)
            file.write(bytes(size - first))
    structure, manifest = read_structure(copy), read_manifest(copy)
    if converted_so:
        manifest.samples[DAMAGED][-1] = zlib.crc32(structure.stored_bytes(DAMAGED))
    return Converted(structure, manifest)


@each_worker_count
@pytest.mark.parametrize(("converted_so", "problem"), [(True, "decode"), (False, "checksum")])
@pytest.mark.parametrize("how", ["cut", "zeroed", "second half zeroed"])
def test_a_damaged_jpeg_is_an_error_that_names_the_sample(
    jpeg_beton: Path, tmp_path: Path, how: str, workers: int, converted_so: bool, problem: str
) -> None:
    converted = damage(jpeg_beton, tmp_path, how, converted_so=converted_so)
    tester = StreamedTestLoader(converted, batch_size=16, device=CPU, workers=workers)
    image = converted.manifest.column("path")[DAMAGED]
    with tester.samples(np.r_[16:32, 0:16, 32:48]) as batches:
        assert next(batches).index_B.tolist() == list(range(16, 32))
        with refusal(DataError, converted.path, f"sample {DAMAGED}", image, problem):
            next(batches)
    with tester.samples(np.r_[32:48]) as batches:  # the next epoch does not see the old failure
        assert next(batches).index_B.tolist() == list(range(32, 48))
