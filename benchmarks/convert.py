"""How fast are images converted? Compares write_betons in one process with Pillow code that stores the same pixels.

Ours uses one thread per core. Pillow is timed twice: as a plain loop, and with as many threads as ours.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.harness import WORK, drawn_set, interleaved, summarise, times
from ffcv_convert.beton import read_structure
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record
from ffcv_convert.writer import BetonJob, write_betons
from pipelines.numba_setup import allowed_workers


def measure() -> dict[str, Any]:
    """images/s; speedup_pillow, speedup_pillow_threads: ours over Pillow's; identical: whether all pixels are equal."""
    raw, _ = drawn_set()
    records = [record for record in DATASETS["sysu"].list_records(raw) if record.split == "train"]
    image_format, target, plain = ImageFormat(), WORK / "convert.beton", WORK / "convert.raw"
    workers = allowed_workers(0)
    threads = f"pillow, {workers} threads"

    def ours() -> float:
        begin = time.perf_counter()
        write_betons([BetonJob(target, "sysu", "train", records)], raw, image_format, workers=workers)
        return len(records) / (time.perf_counter() - begin)

    def resized(record: Record) -> bytes:
        with Image.open(raw / record.image) as image:
            size = (image_format.width_px, image_format.height_px)
            return image.convert("RGB").resize(size, Image.Resampling.LANCZOS).tobytes()

    def pillow(over: Callable[..., Iterable[bytes]]) -> float:
        begin = time.perf_counter()
        with open(plain, "wb") as file:
            for pixels in over(resized, records):
                file.write(pixels)
        return len(records) / (time.perf_counter() - begin)

    with ThreadPoolExecutor(workers) as pool:
        cases: dict[str, Callable[[], float]] = {
            "ours": ours,
            "pillow": partial(pillow, map),
            threads: partial(pillow, pool.map),
        }
        identical = True
        for name, case in cases.items():
            case()
            identical &= name == "ours" or _same_pixels(target, plain, len(records))
        figures = summarise(interleaved(cases))
    for path in (target, target.with_suffix(".json"), plain):
        path.unlink()
    median = {name: figures[name]["median"] for name in cases}
    return {
        "unit": "images/s",
        "cases": figures,
        "speedup_pillow": median["ours"] / median["pillow"],
        "speedup_pillow_threads": median["ours"] / median[threads],
        "threads": workers,
        "identical": identical,
    }


def words(content: dict[str, Any]) -> list[str]:
    loop, threads = times(content["speedup_pillow"]), times(content["speedup_pillow_threads"])
    return [
        f"The conversion is {loop} as a plain Pillow loop, and {threads} as Pillow with the same number of threads "
        f"({content['threads']}). The stored pixels {'are identical' if content['identical'] else 'differ'}."
    ]


def _same_pixels(beton: Path, plain: Path, count: int) -> bool:
    structure = read_structure(beton)
    with open(plain, "rb") as file:
        return all(
            structure.stored_bytes(sample) == file.read(int(structure.allocation_N[sample]["size"]))
            for sample in range(count)
        )
