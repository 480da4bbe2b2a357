"""Lists a folder of cropped images: each shows one person."""

import os
from pathlib import Path

from dns.search.lists import csv_list
from dns.search.lists.fields import Fields, is_utf8
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.files import images_in, is_system

LIST = "records.csv"


def read_folder(folder: Path, *, camera: str | None, modality: Modality | None, left_out: LeftOut) -> list[Sighting]:
    """Return what folder/records.csv lists, see csv_list.py, in its order; without it, every image below the folder, in
    the order of their paths.

    camera, modality: of all images; None where records.csv states them. Links are followed. Files that are no images by
    their ending are counted in left_out. Raises DataError where there is no image.
    """
    if folder.is_dir() and LIST in os.listdir(folder):  # a broken link is an error, no reason to read the folder
        return csv_list.read(Fields(folder / LIST, folder, camera, modality), left_out)
    fields = Fields(folder, folder, camera, modality)
    of_all = None, None, fields.camera("", folder.name), fields.modality("", folder.name)
    sightings = [Sighting(name, *of_all) for name in sorted(_images(folder, left_out))]
    if not sightings:
        raise DataError(f"{folder}: holds no image. Name the folder of the cropped images")
    return sightings


def _images(folder: Path, left_out: LeftOut) -> list[str]:
    """Return the paths of the images below `folder`; count the other files, but for those of systems."""
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    for top, folders, files in os.walk(folder, onerror=_stop, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in visited:  # links may lead round in a circle
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_system(name))
        images = images_in(Path(top))
        others = [name for name in set(files) - set(images) if not is_system(name)]
        below = Path(top).relative_to(folder)
        for name in sorted(others):
            left_out.add("files that are no images by their ending", str(below / name))
        for path in [str(below / name) for name in images]:
            if is_utf8(path):
                found.append(path)
            else:
                left_out.add("images whose path is not UTF-8", ascii(path))
    return found


def _stop(error: OSError) -> None:
    raise error
