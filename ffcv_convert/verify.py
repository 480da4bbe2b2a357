"""Checks a converted set: published counts, structure, checksums and, on request, every image against its source."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import PIL
from PIL import Image
from zlib_ng.zlib_ng import crc32

from ffcv_convert.beton import Converted, Manifest, manifest_path, open_beton
from ffcv_convert.beton.repeats import find_repeats
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.images import Encoding, ImageFormat, encode, in_order
from ffcv_convert.progress import progress
from ffcv_convert.survey import INCOMPLETE, Part, Rows, Shortfalls, see, shortfalls, unmatched
from ffcv_convert.video import told_of_thinning

CONVERT_AGAIN = "Remove the file, then convert the data set again: make convert-datasets"


def verify(dataset: Dataset, data_root: Path, beton_root: Path, *, deep: bool, workers: int) -> Iterator[str]:
    """Yield lines that report what is intact, and warnings. Raises DataError at the first damaged part.

    deep: decode every stored image and, if the raw set exists, convert every source again and compare.
    """
    root = dataset.find(data_root)
    opened: dict[str, Converted] = {}
    for part in dataset.parts:
        beton = beton_root / dataset.name / f"{part}.beton"
        if part in dataset.optional_parts and not (beton.exists() or manifest_path(beton).exists()):
            continue
        converted = open_beton(beton)
        _check_sha256(converted)
        opened[part] = converted
        yield f"{beton}: {len(converted)} samples, structure and checksums are good"
        if deep:
            _check_stored(converted)
            yield f"{beton}: every image decodes"
        if deep and root is not None:
            _check_sources(converted, root, workers)
            yield f"{beton}: every image converted again from {root} is the same"
    yield from _told(dataset, opened)


def _told(dataset: Dataset, opened: Mapping[str, Converted]) -> Iterator[str]:
    """Yield a set's numbers, and warnings of what it lacks or holds twice."""
    parts = {part: converted.manifest for part, converted in opened.items()}
    name = list(parts.values())[-1].dataset
    rows = {part: _rows(manifest) for part, manifest in parts.items()}
    seen = see(Part(rows[part], manifest.trials, manifest.tracklets) for part, manifest in parts.items())
    # False for drawn people in a real set's layout. A set of one's own may have a name.
    real = name.removesuffix(INCOMPLETE) == dataset.name or bool(dataset.name_file)
    lacks = shortfalls(dataset, parts, seen) if real else Shortfalls()
    for key, number in seen.counts.items():
        if not real or dataset.counts.get(key, number) == number:
            yield f"{name}: {number} {key}"
    for part, manifest in parts.items():
        if manifest.every > 1:
            yield f"{name}/{part}: {told_of_thinning(manifest.tracklets, manifest.every)}"
    differences = [*lacks.untrainable, *lacks.untestable, *lacks.missing, *lacks.smaller]
    if name.endswith(INCOMPLETE) and not differences:
        differences = ["was converted while images were missing, which its conversion named"]
    for difference in differences:
        yield f"warning: {name}: {difference}"
    for part in rows.keys() - {"train"}:
        for difference in unmatched(rows[part], own=not dataset.counts):
            yield f"warning: {name}/{part}: {difference}"
    for repeat in find_repeats(list(opened.values())):
        yield f"{'' if dataset.counts else 'warning: '}{name}: {repeat}"


def _rows(manifest: Manifest) -> Rows:
    columns = (manifest.column(name) for name in ("person", "camera", "modality", "split"))
    return list(zip(*columns, strict=True))


def _check_sha256(converted: Converted) -> None:
    digest = hashlib.sha256()
    with open(converted.path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != converted.manifest.sha256:
        bad = [sample for sample in range(len(converted)) if not _stored_is_good(converted, sample)]
        first = (
            f"sample {bad[0]} ({converted.manifest.samples[bad[0]][0]}), {len(bad)} in all"
            if bad
            else "bytes between the images"
        )
        raise DataError(f"{converted.path}: fails its SHA-256 check; damaged: {first}. {CONVERT_AGAIN}")


def _stored_is_good(converted: Converted, sample: int) -> bool:
    stored = converted.structure.stored_bytes(sample)
    return crc32(stored) == converted.manifest.samples[sample][-1]


def _check_stored(converted: Converted) -> None:
    """Compare every image's checksum; decode JPEGs too, as raw images need no decoding."""
    jpeg = converted.manifest.encoding == "jpeg"
    size = (converted.manifest.width_px, converted.manifest.height_px)
    for sample in progress(range(len(converted)), f"{converted.path.stem}: stored", len(converted)):
        problem = "" if _stored_is_good(converted, sample) else "fails its checksum"
        if jpeg and not problem:
            try:
                with Image.open(io.BytesIO(converted.structure.stored_bytes(sample)), formats=["JPEG"]) as image:
                    image.load()
                    problem = "" if image.size == size else f"has {image.size} pixels"
            except OSError as error:
                problem = f"does not decode ({error})"
        if problem:
            source = converted.manifest.samples[sample][0]
            raise DataError(f"{converted.path}: sample {sample} ({source}) {problem}. {CONVERT_AGAIN}")


def _check_sources(converted: Converted, root: Path, workers: int) -> None:
    manifest = converted.manifest
    encoding: Encoding = "jpeg" if manifest.encoding == "jpeg" else "raw"
    image_format = ImageFormat(manifest.height_px, manifest.width_px, encoding)
    paths = [root / path for path in manifest.column("path")]
    again = in_order(lambda path: encode(path, image_format), paths, workers)
    title = f"{converted.path.stem}: converted again"
    for path, image, expected in zip(paths, progress(again, title, len(paths)),
                                     manifest.column("crc32"), strict=True):  # fmt: skip
        if image.crc32 != expected:
            raise DataError(
                f"{path}: {converted.path} holds another image than this file gives now (converted with Pillow "
                f"{manifest.tools.get('pillow')}, now {PIL.__version__}). Restore the file, or convert the set again: "
                f"make data DATASET={converted.path.parent.name} ARGS=--force"
            )
