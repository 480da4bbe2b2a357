"""How fast are images converted? Compares write_betons in one process with Pillow code that stores the same pixels.

Ours uses one thread per core. Pillow is timed twice: as a plain loop, and with as many threads as ours.

Where the time goes, on an AMD EPYC (November 27, 2026): one thread takes 0.48 ms from a file to its stored pixels, of
which 0.2 to 0.28 ms decode it and 0.17 ms resize it (Pillow: 0.89 ms). It took 0.64 ms before `bytes.count` searched a
file for scans and before one copy of the pixels was dropped. Two threads do 2,330 images/s in place of 4,200, because
they wait for Python's lock and for memory. With the pages written it is 2,130 images/s. The rest is the file's SHA-256
and its way to the disk: 0.13 of 0.68 s for 1,152 images.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.harness import WORK, drawn_set, interleaved, summarise, times
from ffcv_convert.beton import manifest_path, read_structure
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record
from ffcv_convert.sources import sources_path
from ffcv_convert.writer import BetonJob, write_betons
from pipelines.numba_setup import allowed_workers


def measure() -> dict[str, Any]:
    """Return images/s; speedup_pillow, speedup_pillow_threads: ours over Pillow's; identical: are all pixels equal."""
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
    for path in (target, manifest_path(target), sources_path(target), plain):
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
