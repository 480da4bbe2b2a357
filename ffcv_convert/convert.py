"""Convert one data set: find its folder, list and check its images, write what is not up to date."""

from dataclasses import replace
from pathlib import Path

from ffcv_convert.beton import manifest_path, read_manifest, read_structure
from ffcv_convert.beton.layout import MODE_RAW
from ffcv_convert.common.atomic import sweep
from ffcv_convert.common.errors import DataError, as_data_errors
from ffcv_convert.datasets import synthetic
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.images import Encoding, ImageFormat
from ffcv_convert.records import check_records
from ffcv_convert.writer import BetonJob, source_fingerprint, up_to_date, write_betons


def convert(
    dataset: Dataset, data_root: Path, beton_root: Path, image_format: ImageFormat, *, workers: int
) -> dict[Path, bool]:
    """Write every part of `dataset`. Returns for each .beton whether it was written (False: it was up to date).

    If it raises DataError, every existing file is unchanged.
    """
    root = dataset.find(data_root)
    if root is None:
        raise DataError(
            f"{data_root / dataset.folders[0]}: no such folder. To get {dataset.name}: {dataset.how_to_get}"
        )
    records = dataset.list_records(root)
    check_records(records, root)
    parts = {part: [record for record in records if record.split == part] for part in dataset.parts}
    for part, chosen in parts.items():
        if not chosen:
            raise DataError(f"{root}: no image is listed for {part}. Check the list files and the folder layout")
    trials = {part: dataset.list_trials(root, part, chosen) for part, chosen in parts.items()}
    fingerprints = {
        part: source_fingerprint(chosen, root, image_format, trials[part]) for part, chosen in parts.items()
    }
    folder = beton_root / dataset.name
    made = [
        BetonJob(folder / f"{name}.beton", shown_name(dataset, root), name, chosen, trials[name], fingerprints[name])
        for name, chosen in parts.items()
    ]
    written = {part.beton: not up_to_date(part.beton, part.fingerprint) for part in made}
    write_betons([part for part in made if written[part.beton]], root, image_format, workers=workers)
    with as_data_errors():
        for beton in written:
            sweep(beton)
            sweep(manifest_path(beton))
    return written


def shown_name(dataset: Dataset, root: Path) -> str:
    """The name in reports: drawn people in a real set's layout must not look like the real set."""
    drawn = (root / synthetic.OPTIONS_FILE).exists() and dataset is not synthetic.DATASET
    return f"{dataset.name} (synthetic)" if drawn else dataset.name


def _stored_format(beton: Path) -> ImageFormat | None:
    """The format of the existing conversion, from its manifest or, if that is damaged or gone, from the .beton."""
    try:
        before = read_manifest(beton)
        return ImageFormat(before.height_px, before.width_px, "jpeg" if before.encoding == "jpeg" else "raw")
    except DataError:
        pass
    try:
        first = read_structure(beton).column("image")[0]
        encoding: Encoding = "raw" if first["mode"] == MODE_RAW else "jpeg"
        return ImageFormat(int(first["height"]), int(first["width"]), encoding)
    except (DataError, IndexError):
        return None


def image_format_for(
    dataset: Dataset, beton: Path, height_px: int | None, width_px: int | None, encoding: Encoding | None
) -> ImageFormat:
    """The requested format; else that of the existing `beton`, so that a size once chosen stays; else the set's own."""
    own = _stored_format(beton) or ImageFormat(dataset.height_px, dataset.width_px)
    return replace(
        own, height_px=height_px or own.height_px, width_px=width_px or own.width_px, encoding=encoding or own.encoding
    )
