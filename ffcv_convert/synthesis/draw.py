"""Draw a set of synthetic people into a folder, in several processes, whole or not at all.

`people.draw_person` draws each picture from (seed, identity, camera, frame, modality) alone, so a set is a function of
its options. They are kept in `synthetic.json` beside the pictures. Nothing of it is a benchmark of accuracy.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import cv2
from tqdm import tqdm

from ffcv_convert.atomic import replacing
from ffcv_convert.datasets.synthetic import OPTIONS_FILE
from ffcv_convert.people import draw_person
from ffcv_convert.schema import DataError
from ffcv_convert.synthesis.layouts import plan
from ffcv_convert.synthesis.options import Options, Picture

JPEG_QUALITY = 90


def synthesise(root: Path, options: Options, *, workers: int) -> int:
    """Draw the set into `root`; returns how many pictures were written (0: the same set was there already).

    Raises DataError, and touches nothing, if `root` holds anything else or another process draws it. The folder appears
    whole or not at all.
    """
    if root.exists():
        if _stored_options(root) == asdict(options):
            return 0
        raise DataError(f"{root}: exists and is another set. Remove it, or name another folder with --root")
    partial = root.with_name(root.name + ".partial")
    root.parent.mkdir(parents=True, exist_ok=True)
    with replacing(root.with_name(root.name + ".lock")):  # two at once would mix their pictures
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
        try:
            count = _write(partial, options, workers)
            os.replace(partial, root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return count


def _write(root: Path, options: Options, workers: int) -> int:
    pictures, lists = plan(options)
    for folder in {str(Path(path).parent) for path in (*lists, *(picture.path for picture in pictures))}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for _ in tqdm(_drawn(root, pictures, options, workers), "people", len(pictures), unit="images"):
        pass
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


def _drawn(root: Path, pictures: list[Picture], options: Options, workers: int) -> Iterator[None]:
    """Draw and write every picture in `workers` processes (drawing holds the GIL), started fresh, not forked."""
    chunks = [pictures[start : start + 32] for start in range(0, len(pictures), 32)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        for done in pool.map(_draw_chunk, [(str(root), chunk, options) for chunk in chunks]):
            yield from [None] * done


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on drawing, and then wait for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _draw_chunk(job: tuple[str, list[Picture], Options]) -> int:
    root, pictures, options = job
    cv2.setNumThreads(1)
    for picture in pictures:
        pixels = draw_person(
            picture.person, picture.camera, picture.frame, picture.modality,
            seed=options.seed, height_px=options.height_px,
        )  # fmt: skip
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if picture.grey_file else cv2.COLOR_RGB2BGR)
        path = os.path.join(root, picture.path)
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.endswith(".jpg") else []
        if not cv2.imwrite(path, stored, quality):
            raise DataError(f"{path}: could not be written. Is the disk full?")
    return len(pictures)
