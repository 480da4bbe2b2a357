"""Synthetic people in LLCM's exact folder layout (see llcm.py): test, demonstration and benchmark data of any size.

`people.draw_person` draws each picture from (seed, identity, camera, frame, modality) alone, so a set is a function of
its options. They are kept in `synthetic.json` beside the pictures. Nothing of it is a benchmark of accuracy.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
from tqdm import tqdm

from ffcv_convert.atomic import replacing
from ffcv_convert.datasets import llcm
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.people import draw_person
from ffcv_convert.people.person import MIN_HEIGHT_PX
from ffcv_convert.schema import DataError, Modality

JPEG_QUALITY = 90
OPTIONS_FILE = "synthetic.json"


@dataclass(frozen=True)
class Options:
    """Identities and pictures. Training: `train_images` an identity and modality, cameras by turns; testing:
    `test_images` an identity, modality and camera."""

    train_identities: int = 320
    test_identities: int = 16
    train_images: int = 9
    test_images: int = 2
    height_px: int = 288
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < {"seed": 0, "height_px": MIN_HEIGHT_PX}.get(name, 1):
                raise DataError(f"synthetic people: {name} = {value} is too small")


@dataclass(frozen=True)
class Picture:
    path: str
    person: int
    camera: int
    frame: int
    modality: Modality


def plan(options: Options) -> tuple[list[Picture], list[Picture]]:
    """Training and test pictures. Persons 1..train_identities train, the next ones test: no identity does both."""
    train, test = [], []
    for person in range(1, options.train_identities + options.test_identities + 1):
        for modality, cameras in llcm.CAMERAS.items():
            if person <= options.train_identities:
                turns = (np.arange(options.train_images) + person) % len(cameras)
                for frame, turn in enumerate(turns):
                    name = _name(options.seed, person, cameras[turn], frame, modality)
                    path = f"{llcm.SHORT[modality]}/{person:04d}/{name}"
                    train.append(Picture(path, person, cameras[turn], frame, modality))
                continue
            for camera in cameras:
                for frame in range(options.test_images):
                    name = _name(options.seed, person, camera, frame, modality)
                    path = f"test_{llcm.SHORT[modality]}/cam{camera}/{person:04d}/{name}"
                    test.append(Picture(path, person, camera, frame, modality))
    return train, test


def _name(seed: int, person: int, camera: int, frame: int, modality: Modality) -> str:
    scene = np.random.default_rng([seed, person, camera]).integers(100_000, 1_000_000)
    return f"{person:04d}_c{camera:02d}_s{scene}_f{frame:04d}_{llcm.SHORT[modality]}.jpg"


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
    train, test = plan(options)
    for folder in {str(Path(picture.path).parent) for picture in train + test} | {"idx"}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for _ in tqdm(_drawn(root, train + test, options, workers), "people", len(train + test), unit="images"):
        pass
    for modality, short in llcm.SHORT.items():
        lines = [f"{p.path} {p.person - 1}\n" for p in train if p.modality == modality]
        (root / "idx" / f"train_{short}.txt").write_text("".join(lines), encoding="utf-8")
    persons = sorted({picture.person for picture in test})
    (root / "idx" / "test_id.txt").write_text(",".join(map(str, persons)) + "\n", encoding="utf-8")
    (root / OPTIONS_FILE).write_text(json.dumps(asdict(options)), encoding="utf-8")
    return len(train) + len(test)


def _stored_options(root: Path) -> dict | None:
    try:
        return json.loads((root / OPTIONS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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
            picture.person, picture.camera, picture.frame, picture.modality == Modality.INFRARED,
            seed=options.seed, height_px=options.height_px,
        )  # fmt: skip
        path = os.path.join(root, picture.path)
        if not cv2.imwrite(path, pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise DataError(f"{path}: could not be written. Is the disk full?")
    return len(pictures)


DATASET = Dataset(
    name="synthetic",
    folders=("synthetic",),
    list_records=llcm.list_records,
    how_to_get="draw it: python -m ffcv_convert synthesise",
    height_px=96,
    width_px=48,
)
