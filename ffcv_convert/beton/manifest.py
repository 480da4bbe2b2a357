"""Reads and checks the manifest: a JSON file beside the `.beton` that says what was converted, from what, and how.

A `.beton` is only opened together with its manifest. Opening checks the structure, its digest, and the checksums of a
few images spread over the file; `Manifest.sha256` covers every byte, for a full check. The manifest begins with a
checksum of its own text, because trials, splits and more are stored nowhere else.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np
from zlib_ng.zlib_ng import crc32

from ffcv_convert.beton.labels import UNKNOWN_CAMERA, Modality
from ffcv_convert.beton.layout import MODE_RAW, Structure, read_structure
from ffcv_convert.beton.tracklets import wrong_tracklets
from ffcv_convert.common.errors import DataError

MANIFEST_VERSION = 1
SPOT_CHECKS = 16
SAMPLE_COLUMNS = ("path", "person", "camera", "modality", "split", "crc32")
NUMBERS_BELOW = {"person": 2**63, "camera": 2**63, "modality": len(Modality), "crc32": 2**32}  # others are text
ADDED: dict[str, Any] = {"tracklets": [], "every": 1}  # keys that older manifests lack, and still images do not need
EDITED = "damaged or edited. Restore a copy, or convert the data set again: make convert-datasets"
CONVERT_AGAIN = "Convert the data set again: make convert-datasets"


@dataclass(frozen=True)
class Manifest:
    """The manifest of one `.beton`. `samples` has one row of SAMPLE_COLUMNS per sample: source path relative to the
    data set's root, original identity, camera, modality code, split, CRC-32 of the stored bytes. `trials` maps names to
    sample numbers. `tracklets` has one row of TRACKLET_COLUMNS per tracklet, none for still images; of each tracklet,
    every `every`-th frame is stored."""

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
    tracklets: list[list] = field(default_factory=list)
    every: int = 1
    version: int = MANIFEST_VERSION

    def column(self, name: str) -> list:
        position = SAMPLE_COLUMNS.index(name)
        return [row[position] for row in self.samples]

    def to_json(self) -> str:
        """Return the text: one line per key, sample and tracklet, so that diff works on manifests. The first line is
        the checksum of the others. The text is ASCII: paths that are not UTF-8 keep their bytes as Python's
        surrogates."""
        body = {**vars(self), "sample_columns": list(SAMPLE_COLUMNS)}  # asdict would copy every sample
        body = {key: value for key, value in body.items() if key not in ADDED or value != ADDED[key]}
        tables = {name: body.pop(name) for name in ("tracklets", "samples") if name in body}
        lines = [f' "{key}": {json.dumps(value)}' for key, value in sorted(body.items())]
        for name, rows in tables.items():
            lines.append(f' "{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]")
        text = ",\n".join(lines) + "\n}\n"
        return _seal(text) + text


@dataclass(frozen=True)
class Converted:
    """A `.beton` that has been checked against its manifest."""

    structure: Structure
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.structure.path

    def __len__(self) -> int:
        return len(self.manifest.samples)


def _seal(text: str) -> str:
    """Return the first lines of the manifest whose remaining text is `text`."""
    return f'{{\n "checksum": "{hashlib.sha256(text.encode()).hexdigest()}",\n'


SEAL_CHARACTERS = len(_seal(""))


def manifest_path(beton: Path) -> Path:
    return beton.with_suffix(".json")


def read_manifest(beton: Path) -> Manifest:
    """Read the manifest of `beton`. Raises DataError if it is missing, damaged, or of another version."""
    path = manifest_path(beton)
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device would never end
            raise OSError("not a regular file")
        text = path.read_text(encoding="utf-8")
        body = json.loads(text, object_pairs_hook=_mapping)
    except FileNotFoundError:
        raise DataError(f"{path}: the manifest of {beton.name} is missing. {CONVERT_AGAIN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}). {CONVERT_AGAIN}") from None
    version = body.get("version") if isinstance(body, dict) else None
    if version != MANIFEST_VERSION:
        raise DataError(f"{path}: manifest version {version!r}, this program reads {MANIFEST_VERSION}. {CONVERT_AGAIN}")
    # Older manifests have no checksum. If the key itself is damaged, _wrong_keys reports it as unknown.
    if "checksum" in body and not text.startswith(_seal(text[SEAL_CHARACTERS:])):
        raise DataError(f"{path}: fails its checksum: {EDITED}")
    body.pop("checksum", None)
    columns = body.pop("sample_columns", None)
    body = {**ADDED, **body}
    problem = _wrong_keys(body, columns) or _wrong_samples(body["samples"]) or _wrong_trials(body)
    problem = problem or wrong_tracklets(body["tracklets"], len(body["samples"]))
    if problem:
        raise DataError(f"{path}: damaged manifest ({problem}). {CONVERT_AGAIN}")
    return Manifest(**body)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of json's pairs. Raises ValueError for equal keys, of which json would silently keep the last."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _wrong_keys(body: dict[str, Any], columns: Any) -> str | None:
    """Return what is wrong with the manifest's keys and their types, or None."""
    known = get_type_hints(Manifest)
    if set(body) != set(known) or columns != list(SAMPLE_COLUMNS):
        return f"unexpected or missing keys: {', '.join(sorted(set(body) ^ set(known)))[:200] or 'sample_columns'}"
    for name, kind in known.items():
        expected = get_origin(kind) or kind  # list[list] becomes list
        if type(body[name]) is not expected:  # isinstance would accept True as an int
            return f"{name} is not of type {expected.__name__}"
    return None


def _wrong_samples(samples: list[Any]) -> str | None:
    if any(type(row) is not list or len(row) != len(SAMPLE_COLUMNS) for row in samples):
        return f"a sample row that is not {', '.join(SAMPLE_COLUMNS)}"
    for number, name in enumerate(SAMPLE_COLUMNS):
        column = [row[number] for row in samples]
        below = NUMBERS_BELOW.get(name)
        if set(map(type, column)) - {str if below is None else int}:
            return f"a sample's {name} is not a {'text' if below is None else 'number'}"
        least = UNKNOWN_CAMERA if name == "camera" else 0
        if below is not None and column and not least <= min(column) <= max(column) < below:
            return f"a sample's {name} is not in {least} ... {below - 1}"
    return None


def _wrong_trials(body: dict[str, Any]) -> str | None:
    everyone = range(len(body["samples"]))
    for name, samples in body["trials"].items():
        if not re.fullmatch(r"[a-z]+-[1-9][0-9]{0,3}", name):
            return f"{name[:200]!r} is not a valid trial name"
        if type(samples) is not list or not samples or any(type(n) is not int or n not in everyone for n in samples):
            return f"trial {name} names samples that do not exist"
    return None


def open_beton(beton: Path) -> Converted:
    """Open a `.beton`. Raises DataError unless file and manifest are complete and belong together."""
    beton = Path(beton)
    structure = read_structure(beton)
    manifest = read_manifest(beton)
    difference = _difference(structure, manifest)
    if difference:
        raise DataError(f"{beton}: does not belong to {manifest_path(beton).name} ({difference}). {CONVERT_AGAIN}")
    checksums = manifest.column("crc32")
    for sample in np.unique(np.linspace(0, len(checksums) - 1, SPOT_CHECKS).astype(int)):
        if crc32(structure.stored_bytes(sample)) != checksums[sample]:
            source = manifest.samples[sample][0]
            raise DataError(f"{beton}: sample {sample} ({source}) fails its checksum. {CONVERT_AGAIN}")
    return Converted(structure, manifest)


def _difference(structure: Structure, manifest: Manifest) -> str | None:
    """Return how the manifest contradicts the file, or None."""
    if structure.size_bytes != manifest.size_bytes or structure.sha256 != manifest.structure_sha256:
        return "size or checksum differs"
    if len(structure.metadata_N) != len(manifest.samples):
        return f"{len(structure.metadata_N)} samples, {len(manifest.samples)} rows"
    if not np.array_equal(structure.column("camera"), manifest.column("camera")) or not np.array_equal(
        structure.column("modality"), manifest.column("modality")
    ):
        return "cameras or modalities differ"
    identities, label_N = np.unique(np.array(manifest.column("person"), dtype=np.int64), return_inverse=True)
    person_N = label_N if manifest.part == "train" else identities[label_N]
    if not np.array_equal(structure.column("person"), person_N) or len(identities) != manifest.identities:
        return "identities differ"
    image = structure.column("image")[0]
    encoding = "raw" if image["mode"] == MODE_RAW else "jpeg"
    if (image["height"], image["width"], encoding) != (manifest.height_px, manifest.width_px, manifest.encoding):
        return "image sizes or encodings differ"
    return None
