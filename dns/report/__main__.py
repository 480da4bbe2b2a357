"""Set runs side by side: python -m dns.report RUN RUN ... [--report.images=false]

    make report RUNS='runs/a runs/b'

Reads the runs' folders: results, logs, and report/queries.csv of those that have a report. The page goes into a folder
beside the first run, named after all of them, or into runs/ where that folder cannot be written. Images come from the
converted set of the first run, if it is here.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dns.report.compare import compare
from dns.report.html import thumbnails
from dns.report.sections import IMAGE_BYTES
from dns.training.config import given_options, read_config
from dns.training.run_folder import CONFIG
from dns.training.setup import open_images
from ffcv_convert.common.errors import ConfigError, DataError, user_errors
from ffcv_convert.common.paths import can_write
from ffcv_convert.common.streams import lasting_streams
from ffcv_convert.common.world import World
from pipelines.data import TestImages

LONGEST_NAME = 200  # letters of a folder's name


def main(arguments: Sequence[str]) -> int:
    folders = [Path(word) for word in arguments if not word.startswith("-")]
    given = given_options([word for word in arguments if word.startswith("-")])
    if len(folders) < 2 or given.keys() - {"report.images"}:
        raise ConfigError(f"the command line: two run folders at least, and no option but --report.images.\n{__doc__}")
    name = "-and-".join(folder.absolute().name for folder in folders)[:LONGEST_NAME]
    beside = folders[0].absolute().parent
    target = (beside if can_write(beside) else Path("runs").absolute()) / name
    print(f"written: {side_by_side(folders, target, images=given.get('report.images', True))}")
    return 0


def side_by_side(folders: Sequence[Path], target: Path, *, images: bool) -> Path:
    """Write the page on these runs, two at least, into `target`. images: whether it shows those of the first run's set.

    Returns the page's path. Raises ReportError.
    """
    test = _test_images(folders[0]) if images else None
    shares = 2 * (len(folders) - 1)

    def shown(paths: Sequence[str]) -> Mapping[str, str]:
        return _shown(test, paths, IMAGE_BYTES // shares) if test else {}

    return compare(folders, target, shown)


def _test_images(run: Path) -> TestImages | None:
    """Open the images that the run is tested on; None, with a note, where they are not here."""
    try:
        config = read_config(["--config-file", str(run / CONFIG)], description="")
        streamed = replace(config, data=replace(config.data, source="stream"))
        return open_images(streamed, World(torch.device("cpu")))
    except (ConfigError, DataError) as error:
        print(f"note: no images on the page: {error}", file=sys.stderr)
        return None


def _shown(test: TestImages, paths: Sequence[str], bytes_left: int) -> dict[str, str]:
    """Return path -> data URI for the paths that the set has."""
    row_of = {path: row for row, path in enumerate(test.path_N)}
    known = [path for path in paths if path in row_of]
    rows = sorted({row_of[path] for path in known})
    if not rows:
        return {}
    pixels = dict(zip(rows, test.pixels(np.array(rows)), strict=True))
    uris = thumbnails(pixels, [row_of[path] for path in known], bytes_left=bytes_left)
    return {path: uris[row_of[path]] for path in known if row_of[path] in uris}


if __name__ == "__main__":
    with lasting_streams(), user_errors():
        sys.exit(main(sys.argv[1:]))
