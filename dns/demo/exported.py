"""Opens the networks of the page: a folder of dns.export, or the one that a checkpoint is exported into first."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dns.export import description
from dns.export.command import Wanted, export
from dns.training import checkpoint
from dns.training.config import METHOD, given_options
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError

PRECISION = "float32"
FOR_FLOAT32 = 0.0  # the Rank-1 that coarser precisions may lose


class Exported(NamedTuple):
    """Exported networks. content: what description.read says of them."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def size_px(self) -> tuple[int, int]:
        """Return height and width of the images."""
        height, width = self.content["size_px"]
        return height, width

    @property
    def width(self) -> int:
        """Return the numbers in an embedding."""
        return self.content["outputs"]["embedding"]

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        """Return what is known of the checkpoint: file, epoch, method, architecture, dataset, config."""
        return self.content["checkpoint"]

    def network(self, modality: Modality) -> Path | None:
        """Return the file of a modality's network, if there is one."""
        name = modality.name.lower()
        return self.folder / description.file_of(modality) if name in self.content["networks"] else None


def open_networks(path: Path, options: Sequence[str], beton_root: Path, set_name: str | None) -> Exported:
    """Open the folder of exported networks, or export the checkpoint to where `make export` does. An export of the same
    checkpoint that lies there is taken, unless options ask for another one.

    options: those of eval.py, for the export; beton_root: where it finds test images to compare on; set_name: the set
    that a published checkpoint is exported for. Raises a UserError.
    """
    if path.is_dir():
        if options:
            raise ConfigError(f"{options[0]}: says how a checkpoint is exported, and {path} is exported. Leave it out")
        return Exported(path, description.read(path))
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. Train one (make train), or name one: make demo CHECKPOINT=..."
        )
    folder = path.with_name(f"{path.stem}-{PRECISION}")
    if not options and (folder / description.FILE).is_file():
        former = description.read(folder)
        if former["checkpoint"]["sha256"] == description.digest(path):
            return Exported(folder, former)
    stored = checkpoint.load_to_test(path, given_options(options).get(METHOD))["config"]
    own = [] if checkpoint.is_ours(stored) or set_name is None else [f"--data.set={set_name}"]
    asked = (f"--data.beton_root={beton_root}", *own, *options)
    command = shlex.join(["python", "-m", "dns.export", f"--eval.checkpoint={path}", *asked])
    made = export(Wanted(path, 0, folder, PRECISION, FOR_FLOAT32, asked, command))
    print(f"exported: {folder}", flush=True)
    return Exported(folder, made)
