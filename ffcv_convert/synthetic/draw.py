"""Draws a set of synthetic people into a folder, in several processes, completely or not at all.

`people.draw_person` draws each image from (seed, identity, camera, frame, modality, walk) alone, so a set depends only
on its options, which are stored in its `synthetic.json`. Accuracies on such a set say nothing about real ones.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from pathlib import Path

import cv2

from ffcv_convert.common.atomic import stops_held
from ffcv_convert.common.errors import DataError, named
from ffcv_convert.datasets.dataset import OPTIONS_FILE
from ffcv_convert.progress import progress
from ffcv_convert.synthetic.options import Options, PlannedImage
from ffcv_convert.synthetic.people import draw_person
from ffcv_convert.synthetic.plan import plan
from ffcv_convert.synthetic.whole import drawn_once

JPEG_QUALITY = 90
MAX_PROCESSES = 64  # each takes eight file descriptors, and programs are often limited to 1,024
AT_ONCE = 32  # images per task


def synthesise(root: Path, options: Options, *, workers: int) -> int:
    """Draw the set into `root`. Returns how many images were written (0: the same set already existed).

    Raises DataError, and changes nothing, if `root` holds anything else or another process is drawing it. The folder
    appears only when it is complete.
    """
    return drawn_once(
        root, OPTIONS_FILE, asdict(options), lambda partial: _write(partial, options, workers), option="--root"
    )


def _write(root: Path, options: Options, workers: int) -> int:
    images, lists = plan(options)
    for folder in {str(Path(path).parent) for path in (*lists, *(image.path for image in images))}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    _draw(root, images, options, workers)
    for path, text in lists.items():
        with named(root / path):
            (root / path).write_text(text, encoding="utf-8")
    return len(images)


def _draw(root: Path, images: list[PlannedImage], options: Options, workers: int) -> None:
    """Draw and write every image in `workers` spawned processes, because drawing holds the GIL; in this process where
    no other can be talked to.

    Each process has its own pool: a pool of several can hang if one is killed while others start.
    """
    if not _has_semaphores():
        print("note: no other process can draw, for /dev/shm cannot be written: this one draws alone", file=sys.stderr)
        with progress(None, "people", len(images)) as bar:
            for start in range(0, len(images), AT_ONCE):
                bar.update(_draw_images(root, images[start : start + AT_ONCE], options))
        return
    workers = min(workers, len(images), MAX_PROCESSES)
    context, others = get_context("spawn"), set(active_children())
    pools: list[ProcessPoolExecutor] = []
    drawn: list[Future[int]] = []
    try:
        with _children_ignore_ctrl_c():
            for number in range(workers):
                share = images[number::workers]
                pools.append(ProcessPoolExecutor(1, context, _begin))
                for start in range(0, len(share), AT_ONCE):
                    drawn.append(pools[-1].submit(_draw_images, root, share[start : start + AT_ONCE], options))
                # If the process is killed while a task is submitted, the task may never end. This last task, which
                # nobody waits for, makes sure that such a pool raises BrokenProcessPool.
                pools[-1].submit(int)
        with progress(None, "people", len(images)) as bar:
            for done in as_completed(drawn):
                bar.update(done.result())
    except BrokenProcessPool as error:
        raise DataError(
            f"{root}: a drawing process was killed, perhaps because the memory is full. Try again with fewer --workers"
        ) from error
    finally:
        with stops_held():
            for process in set(active_children()) - others:
                process.terminate()
            for pool in pools:
                pool.shutdown()


def _has_semaphores() -> bool:
    """Whether multiprocessing can make those that pools need: files in /dev/shm, which some containers lack."""
    try:
        get_context("spawn").Lock()
    except (OSError, ImportError):  # ImportError where the system has none
        return False
    return True


@contextmanager
def _children_ignore_ctrl_c() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the end of the block, so that no started process is unknown. Processes started
    inside ignore Ctrl-C, which a terminal sends to all of them: the parent stops them."""
    with stops_held():
        resource_tracker.ensure_running()  # else the first process would start it, which unblocks the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Set up a drawing process: use one thread, and end when the parent ends, even if it is killed."""
    cv2.setNumThreads(1)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_images(root: Path, images: list[PlannedImage], options: Options) -> int:
    """Draw some images, as the task of one drawing process. Returns how many it drew."""
    for image in images:
        pixels = draw_person(
            image.person, image.camera, image.frame, image.modality,
            seed=options.seed, height_px=options.height_px, walk=image.walk,
        )  # fmt: skip
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if image.grey_file else cv2.COLOR_RGB2BGR)
        path = root / image.path
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
        # Not cv2.imwrite, which reports success on a full disk and leaves an empty .bmp.
        with named(path):
            path.write_bytes(cv2.imencode(path.suffix, stored, quality)[1].tobytes())
    return len(images)
