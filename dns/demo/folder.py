"""Joins page, networks, embeddings and small images in a folder, which is whole or not there at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dns.demo.exported import Exported
from dns.demo.gallery import Gallery, modalities, network_of
from dns.evaluation import results
from dns.evaluation.strangers import expected_strangers
from dns.report import page
from dns.report.write import terms
from dns.training.selection import how_chosen
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ConfigError

PAGE = Path(__file__).parent / "page"
DESCRIPTION, FORMAT = "demo.json", "dns-ffcv-demo"
RUNTIME, IMAGES = "onnxruntime", "images"


def check_folder(folder: Path) -> None:
    """Raise ConfigError where something else than a former page would be replaced."""
    if folder.is_dir() and (not any(folder.iterdir()) or FORMAT in _text(folder / DESCRIPTION)):
        return
    if folder.is_symlink() or folder.exists():
        raise ConfigError(
            f"{folder}: exists and is no folder that this command wrote. Name another one: --folder=FOLDER"
        )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def write_folder(
    folder: Path, exported: Exported, gallery: Gallery, runtime: Mapping[str, bytes], set_name: str
) -> None:  # fmt: skip
    """Write the folder; a former one stands until the new one is whole. Raises ConfigError, ReportError."""
    check_folder(folder)
    files = _files(exported, gallery, runtime, set_name)
    with results.writing(folder), atomic.replacing_folder(folder) as unfinished:
        for name in (RUNTIME, IMAGES) if gallery.thumbnails else (RUNTIME,):
            (unfinished / name).mkdir()
        for name, content in files.items():
            atomic.write_flushed(unfinished / name, content)


def _files(
    exported: Exported, gallery: Gallery, runtime: Mapping[str, bytes], set_name: str
) -> dict[str, bytes]:  # fmt: skip
    """Return file name -> content."""
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in (".html", ".js")}
    files["page.css"] = page.style().encode() + (PAGE / "demo.css").read_bytes()
    files |= {f"{RUNTIME}/{name}": content for name, content in runtime.items()}
    files |= {_thumbnail(row): content for row, content in enumerate(gallery.thumbnails)}
    networks, galleries = {}, {}
    both = modalities(exported, gallery.images)
    for modality, searched in (both, both[::-1]):
        name = modality.name.lower()
        files[f"{name}.onnx"] = network_of(exported, modality, gallery.images).read_bytes()
        files[f"{name}.f32"] = np.ascontiguousarray(gallery.embedding_ND[gallery.rows(modality)], dtype="<f4").tobytes()
        size, curve = len(files[f"{name}.onnx"]), _curve(gallery, modality, searched)
        networks[name] = {"file": f"{name}.onnx", "bytes": size, "searches": searched.name.lower(), "strangers": curve}
        galleries[name] = {"file": f"{name}.f32", "images": _images(gallery, modality)}
    about = {
        "format": FORMAT, "size_px": exported.size_px, "lead": _lead(exported, gallery),
        "terms": terms(set_name, gallery.images.manifest.dataset) if gallery.thumbnails else "",
        "networks": networks, "galleries": galleries,
    }  # fmt: skip
    files[DESCRIPTION] = json.dumps(about, allow_nan=False, separators=(",", ":")).encode()
    return files


def _thumbnail(row: int) -> str:
    return f"{IMAGES}/{row:06d}.jpg"


def _curve(gallery: Gallery, modality: Modality, searched: Modality) -> dict[str, list[float]]:
    query, rows, person_N = gallery.rows(modality), gallery.rows(searched), gallery.images.person_N
    curve = expected_strangers(gallery.embedding_ND[query], person_N[query], gallery.embedding_ND[rows], person_N[rows])
    return {name: [float(f"{value:.6g}") for value in values] for name, values in curve._asdict().items()}


def _images(gallery: Gallery, modality: Modality) -> list[dict[str, Any]]:
    """Return what the page says of each image, in the order of its embedding."""
    images, found = gallery.images, []
    for row in gallery.rows(modality).tolist():
        camera = page.where(int(images.camera_N[row]), modality) if images.camera_N.any() else ""
        one = {"path": images.path_N[row], "identity": int(images.person_N[row]), "camera": camera}
        found.append(one | ({"thumbnail": _thumbnail(row)} if gallery.thumbnails else {}))
    return found


def _lead(exported: Exported, gallery: Gallery) -> str:
    images, tested = gallery.images, exported.checkpoint
    counts = [f"{len(gallery.rows(one)):,} {one.name.lower()}" for one in modalities(exported, images)]
    people = len(np.unique(images.person_N))
    chosen = how_chosen(Path(tested["file"]))
    what = f"{tested['method']}, {tested['architecture']}, {exported.content['precision']}"
    network = f"{tested['file']}, epoch {tested['epoch']}{chosen} ({what})"
    return f"{images.manifest.dataset}: {' and '.join(counts)} test images of {people} people, compared by {network}."
