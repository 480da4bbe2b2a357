"""Draw a set of synthetic people into a folder, in several processes, whole or not at all.

`people.draw_person` draws each picture from (seed, identity, camera, frame, modality) alone, so a set is a function of
its options. They are kept in `synthetic.json` beside the pictures. Nothing of it is a benchmark of accuracy.
"""

import json
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cv2
from tqdm import tqdm

from ffcv_convert.atomic import replacing, stops_held, sweep
from ffcv_convert.datasets.synthetic import OPTIONS_FILE
from ffcv_convert.people import draw_person
from ffcv_convert.schema import DataError
from ffcv_convert.schema.errors import says_enough
from ffcv_convert.synthesis.layouts import plan
from ffcv_convert.synthesis.options import Options, Picture

JPEG_QUALITY = 90


class InWorker(Exception):
    """Its text is the traceback of an error in a process that drew: the error itself loses it on its way here."""


def synthesise(root: Path, options: Options, *, workers: int) -> int:
    """Draw the set into `root`; returns how many pictures were written (0: the same set was there already).

    Raises DataError, and touches nothing, if `root` holds anything else or another process draws it. The folder appears
    whole or not at all.
    """
    # Names that no folder of the user's has: what is left of a killed process is removed.
    lock, partial = (root.with_name(f"{root.name}.dns-ffcv{ending}") for ending in (".lock", ".partial"))
    if _is_there(root, options):
        sweep(lock)
        return 0
    root.parent.mkdir(parents=True, exist_ok=True)
    with replacing(lock):  # two at once would mix their pictures
        if _is_there(root, options):  # drawn since, by the last one that held the lock
            return 0
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
        try:
            partial.mkdir()  # fails where it is a link to elsewhere
            count = _write(partial, options, workers)
            os.replace(partial, root)
        except OSError as error:
            if not says_enough(error):
                raise
            raise DataError(
                f"{error.filename or partial}: {error.strerror or error}. Check the path, its permissions and the "
                "space left"
            ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
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
    for path, text in lists.items():
        (root / path).write_text(text, encoding="utf-8")
    (root / OPTIONS_FILE).write_text(json.dumps(asdict(options)), encoding="utf-8")
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

    Not by a ProcessPoolExecutor: it may hang where a process is killed while the pool starts.
    """
    context = get_context("spawn")
    processes, receivers = [], []
    try:
        with _signals_held():
            for number in range(workers):
                receiver, sender = context.Pipe(duplex=False)
                share = pictures[number::workers]
                process = context.Process(target=_draw_share, args=(root, share, options, sender), daemon=True)
                process.start()
                processes.append(process)
                sender.close()  # the process has its own: when it ends, the receiver knows
                receivers.append(receiver)
        with tqdm(desc="people", total=len(pictures), unit="images") as bar:
            for done in _received(receivers):
                if isinstance(done, tuple):
                    error, frames = done
                    raise error from InWorker(f"\n{frames}")
                bar.update(done)
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise DataError(
                f"{root}: a process that drew pictures was killed. Is the memory full? Try again, with fewer --workers"
            )
    finally:
        for process in processes:
            process.terminate()
            process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the block's end, whichever thread they come to, so that each process that was started
    is known; and those processes are deaf to Ctrl-C, which is this one's."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    resource_tracker.ensure_running()  # by itself it would come with the first process, and unblock what is blocked
    with stops_held():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _received(receivers: list[Connection]) -> Iterator[int | tuple[Exception, str]]:
    """What comes through any of the pipes, until all are closed."""
    while receivers:
        for receiver in wait(receivers):
            assert isinstance(receiver, Connection)
            try:
                yield receiver.recv()
            except (EOFError, OSError):  # at a message's end, or within one where the process was killed
                receivers.remove(receiver)


def _end_with_parent() -> None:
    """A process whose parent was killed would go on drawing."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_share(root: Path, pictures: list[Picture], options: Options, sender: Connection) -> None:
    """A process's work; sends how many pictures are done, or the error that ended it with its traceback."""
    _end_with_parent()
    cv2.setNumThreads(1)
    try:
        for start in range(0, len(pictures), 32):
            _draw_pictures(root, pictures[start : start + 32], options)
            sender.send(len(pictures[start : start + 32]))
    except Exception as error:
        sender.send((error, traceback.format_exc()))


def _draw_pictures(root: Path, pictures: list[Picture], options: Options) -> None:
    for picture in pictures:
        pixels = draw_person(
            picture.person, picture.camera, picture.frame, picture.modality,
            seed=options.seed, height_px=options.height_px,
        )  # fmt: skip
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if picture.grey_file else cv2.COLOR_RGB2BGR)
        path = root / picture.path
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
        # Not imwrite: where the disk is full, it leaves an empty .bmp and says that all is well.
        path.write_bytes(cv2.imencode(path.suffix, stored, quality)[1].tobytes())
