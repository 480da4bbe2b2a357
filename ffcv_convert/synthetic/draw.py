"""Draw a set of synthetic people into a folder, in several processes, whole or not at all.

`people.draw_person` draws each picture from (seed, identity, camera, frame, modality) alone, so a set is a function of
its options. They are kept in `synthetic.json` beside the pictures. Nothing of it is a benchmark of accuracy.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from pathlib import Path

import cv2
from tqdm import tqdm

from ffcv_convert.common.atomic import partial_folder, stops_held
from ffcv_convert.common.errors import DataError, as_data_errors, named
from ffcv_convert.datasets.synthetic import OPTIONS_FILE
from ffcv_convert.synthetic.options import Options, Picture
from ffcv_convert.synthetic.people import draw_person
from ffcv_convert.synthetic.plan import plan

JPEG_QUALITY = 90
MAX_PROCESSES = 64  # each takes eight descriptors of files, and 1,024 are often all that a program may have
AT_ONCE = 32  # pictures a task


def synthesise(root: Path, options: Options, *, workers: int) -> int:
    """Draw the set into `root`; returns how many pictures were written (0: the same set was there already).

    Raises DataError, and touches nothing, if `root` holds anything else or another process draws it. The folder appears
    whole or not at all.
    """
    if _is_there(root, options):
        return 0
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f"{root.name}.dns-ffcv.partial")  # a name that no folder of the user's has
    with as_data_errors(), partial_folder(partial):
        if _is_there(root, options):  # drawn since, by the last one that held the folder
            return 0
        count = _write(partial, options, workers)
        os.replace(partial, root)
    return count


def _is_there(root: Path, options: Options) -> bool:
    """Raises DataError if `root` holds anything else."""
    if root.exists() and _stored_options(root) != asdict(options):
        raise DataError(f"{root}: exists and is another set. Remove it, or name another folder with --root")
    return root.exists()


def _write(root: Path, options: Options, workers: int) -> int:
    pictures, lists = plan(options)
    for folder in {str(Path(path).parent) for path in (*lists, *(picture.path for picture in pictures))}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    _draw(root, pictures, options, workers)
    for path, text in {**lists, OPTIONS_FILE: json.dumps(asdict(options))}.items():
        with named(root / path):
            (root / path).write_text(text, encoding="utf-8")
    return len(pictures)


def _stored_options(root: Path) -> dict | None:
    try:
        stored = json.loads((root / OPTIONS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # A set that was drawn when there was one layout names none.
    return {"layout": "llcm", "official_size": False, **stored} if isinstance(stored, dict) else None


def _draw(root: Path, pictures: list[Picture], options: Options, workers: int) -> None:
    """Draw and write every picture in `workers` processes (drawing holds the GIL), started fresh, not forked.

    Each has a pool of its own: one pool of several may hang where a process is killed while others start.
    """
    workers = min(workers, len(pictures), MAX_PROCESSES)
    context, others = get_context("spawn"), set(active_children())
    pools: list[ProcessPoolExecutor] = []
    drawn: list[Future[int]] = []
    try:
        with _started_deaf_to_ctrl_c():
            for number in range(workers):
                share = pictures[number::workers]
                pools.append(ProcessPoolExecutor(1, context, _begin))
                for start in range(0, len(share), AT_ONCE):
                    drawn.append(pools[-1].submit(_draw_pictures, root, share[start : start + AT_ONCE], options))
                # A task that is submitted at the moment when the process is killed may never be done. So the last one
                # is a task that nobody waits for, which raises BrokenProcessPool if that befell one before.
                pools[-1].submit(int)
        with tqdm(desc="people", total=len(pictures), unit="images") as bar:
            for done in as_completed(drawn):
                bar.update(done.result())
    except BrokenProcessPool as error:
        raise DataError(
            f"{root}: a process that drew pictures was killed. Is the memory full? Try again, with fewer --workers"
        ) from error
    finally:
        with stops_held():
            for process in set(active_children()) - others:
                process.terminate()
            for pool in pools:
                pool.shutdown()


@contextmanager
def _started_deaf_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the block's end, so that each process that was started is known; and those processes
    are deaf to Ctrl-C, which a terminal sends to all of them: it is the program's own."""
    with stops_held():
        resource_tracker.ensure_running()  # by itself it would come with the first process, and unblock what is blocked
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """In each process: draw in one thread, and end with the parent, which may be killed."""
    cv2.setNumThreads(1)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_pictures(root: Path, pictures: list[Picture], options: Options) -> int:
    """A process's work. Returns how many pictures were drawn."""
    for picture in pictures:
        pixels = draw_person(
            picture.person, picture.camera, picture.frame, picture.modality,
            seed=options.seed, height_px=options.height_px,
        )  # fmt: skip
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if picture.grey_file else cv2.COLOR_RGB2BGR)
        path = root / picture.path
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
        # Not imwrite: where the disk is full, it leaves an empty .bmp and says that all is well.
        with named(path):
            path.write_bytes(cv2.imencode(path.suffix, stored, quality)[1].tobytes())
    return len(pictures)
