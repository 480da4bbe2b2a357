"""How fast are pictures converted? write_beton in one process, beside a Pillow loop that stores the same pixels."""

import time
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.harness import WORK, drawn_set, interleaved, summarise
from ffcv_convert.datasets import DATASETS
from ffcv_convert.schema import read_structure
from ffcv_convert.writer import ImageFormat, write_beton
from pipelines.numba_setup import allowed_workers


def measure() -> dict[str, Any]:
    """images/s; ratio_pillow: ours over Pillow's; identical: whether both stored the same pixels."""
    raw, _ = drawn_set()
    records = [record for record in DATASETS["sysu"].list_records(raw) if record.split == "train"]
    image_format, target, plain = ImageFormat(), WORK / "convert.beton", WORK / "convert.raw"

    def ours() -> float:
        begin = time.perf_counter()
        write_beton(
            target, records, raw, image_format, dataset="sysu", part="train", trials={}, fingerprint="",
            workers=allowed_workers(0),
        )  # fmt: skip
        return len(records) / (time.perf_counter() - begin)

    def pillow() -> float:
        begin = time.perf_counter()
        with open(plain, "wb") as file:
            for record in records:
                with Image.open(raw / record.image) as image:
                    size = (image_format.width_px, image_format.height_px)
                    file.write(image.convert("RGB").resize(size, Image.Resampling.LANCZOS).tobytes())
        return len(records) / (time.perf_counter() - begin)

    for case in (ours, pillow):
        case()
    figures = summarise(interleaved({"ours": ours, "pillow": pillow}))
    identical = _same_pixels(target, plain, len(records))
    for path in (target, target.with_suffix(".json"), plain):
        path.unlink()
    ratio = figures["ours"]["median"] / figures["pillow"]["median"]
    return {"unit": "images/s", "cases": figures, "ratio_pillow": ratio, "identical": identical}


def _same_pixels(beton: Path, plain: Path, count: int) -> bool:
    structure = read_structure(beton)
    with open(plain, "rb") as file:
        return all(
            structure.stored_bytes(sample) == file.read(int(structure.allocation_N[sample]["size"]))
            for sample in range(count)
        )
