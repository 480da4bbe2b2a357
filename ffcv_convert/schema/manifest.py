"""The manifest: a JSON file beside the `.beton` that says what was converted, from what, and how.

A `.beton` is opened together with its manifest or not at all. Opening checks the structure, its digest, and the
checksums of a few images spread over the file; `Manifest.sha256` covers every byte, for a full check.
"""

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_origin, get_type_hints

import numpy as np

from ffcv_convert.schema.beton import DataError, Structure, read_structure

MANIFEST_VERSION = 1
SPOT_CHECKS = 16
SAMPLE_COLUMNS = ("path", "person", "camera", "modality", "split", "crc32")


@dataclass(frozen=True)
class Manifest:
    """`samples` has one row of SAMPLE_COLUMNS a sample: source path relative to the data set's root, original id,
    camera, modality code, split, CRC-32 of the stored bytes. `trials` maps a trial's name to sample numbers."""

    dataset: str
    part: str
    height_px: int
    width_px: int
    filter: str
    encoding: str
    identities: int
    infrared_grey: bool
    source_fingerprint: str
    size_bytes: int
    sha256: str
    structure_sha256: str
    tools: dict[str, str]
    samples: list[list]
    trials: dict[str, list[int]] = field(default_factory=dict)
    version: int = MANIFEST_VERSION

    def column(self, name: str) -> list:
        position = SAMPLE_COLUMNS.index(name)
        return [row[position] for row in self.samples]

    def to_json(self) -> str:
        """One line a key and one line a sample, so that two manifests can be compared by eye. In ASCII: a path that is
        no UTF-8 keeps its bytes, as Python's surrogates."""
        body = asdict(self)
        body["sample_columns"] = list(SAMPLE_COLUMNS)
        samples = ",\n".join("  " + json.dumps(row) for row in body.pop("samples"))
        keys = [f' "{key}": {json.dumps(value)}' for key, value in sorted(body.items())]
        return "{\n" + ",\n".join(keys) + ',\n "samples": [\n' + samples + "\n ]\n}\n"


@dataclass(frozen=True)
class Converted:
    """A `.beton` that was checked against its manifest."""

    structure: Structure
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.structure.path

    def __len__(self) -> int:
        return len(self.manifest.samples)


def manifest_path(beton: Path) -> Path:
    return beton.with_suffix(".json")


def read_manifest(beton: Path) -> Manifest:
    """Raises DataError for a manifest that is missing, damaged, or of another version."""
    path = manifest_path(beton)
    again = "Convert the data set again: make convert-datasets"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: the manifest of {beton.name} is missing. {again}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}). {again}") from None
    version = body.get("version") if isinstance(body, dict) else None
    if version != MANIFEST_VERSION:
        raise DataError(f"{path}: manifest version {version!r}, this program reads {MANIFEST_VERSION}. {again}")
    columns = body.pop("sample_columns", None)
    known = get_type_hints(Manifest)
    if set(body) != set(known) or columns != list(SAMPLE_COLUMNS):
        odd = ", ".join(sorted(set(body) ^ set(known))) or "sample_columns"
        raise DataError(f"{path}: damaged manifest (keys that differ: {odd}). {again}")
    for name, kind in known.items():
        # Annotations such as list[list] are checked by their origin: the shape of rows is checked against the file.
        if not isinstance(body[name], get_origin(kind) or kind):
            raise DataError(f"{path}: damaged manifest ({name} is no {kind}). {again}")
    if any(not isinstance(row, list) or len(row) != len(SAMPLE_COLUMNS) for row in body["samples"]):
        raise DataError(f"{path}: damaged manifest (a sample without {', '.join(SAMPLE_COLUMNS)}). {again}")
    everyone = range(len(body["samples"]))
    for name, samples in body["trials"].items():
        if not isinstance(samples, list) or any(type(n) is not int or n not in everyone for n in samples):
            raise DataError(f"{path}: damaged manifest (trial {name} names samples that are not there). {again}")
    return Manifest(**body)


def open_beton(beton: Path) -> Converted:
    """Check that file and manifest are whole and belong together. Raises DataError."""
    beton = Path(beton)
    structure = read_structure(beton)
    manifest = read_manifest(beton)
    wrong = f"{beton}: does not belong to {manifest_path(beton).name}"
    again = "Convert the data set again: make convert-datasets"
    if structure.size_bytes != manifest.size_bytes or structure.sha256 != manifest.structure_sha256:
        raise DataError(f"{wrong} (size or checksum differs). {again}")
    if len(structure.metadata_N) != len(manifest.samples):
        raise DataError(f"{wrong} ({len(structure.metadata_N)} samples, {len(manifest.samples)} rows). {again}")
    if not np.array_equal(structure.column("camera"), manifest.column("camera")) or not np.array_equal(
        structure.column("modality"), manifest.column("modality")
    ):
        raise DataError(f"{wrong} (cameras or modalities differ). {again}")
    checksums = manifest.column("crc32")
    for sample in np.unique(np.linspace(0, len(checksums) - 1, SPOT_CHECKS).astype(int)):
        if zlib.crc32(structure.stored_bytes(sample)) != checksums[sample]:
            raise DataError(f"{beton}: sample {sample} ({manifest.samples[sample][0]}) fails its checksum. {again}")
    return Converted(structure, manifest)
