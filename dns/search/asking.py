"""What `make search` and the service (dns/serve/) do alike: the query's network and crop, and the answers as JSON."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dns.search.answer import Answer, Hit
from dns.search.crops import cut_out
from dns.search.network import SearchNetwork, open_search_network
from dns.search.rows import Filters
from dns.search.sightings import Box
from dns.search.store import Index
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError


def network_of(index: Index, checkpoint: Path | None, more: Sequence[str]) -> SearchNetwork:
    """Open the network that embedded the rows. checkpoint: where it lies now, None where the index says it; more:
    options of eval.py. Raises ConfigError for rows that were embedded elsewhere, CheckpointError for another
    network."""
    if index.network["path"] is None:
        raise ConfigError(
            f"{index.folder}: its rows were embedded elsewhere ({index.network['file']}). Name the query's embedding "
            "(make search QUERY=query.npz), or make another index of the embeddings with the network that made them: "
            "--checkpoint=FILE"
        )
    path = checkpoint or Path(index.network["path"])
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such checkpoint. There lay {index.network['file']} (SHA-256 {index.network['sha256'][:12]}), "
            f"which embedded the rows of {index.folder}. Name where it is now: --checkpoint=FILE (make CHECKPOINT=...)"
        )
    network = open_search_network(path, more)
    network.check_made(index.folder, index.network)
    return network


def check_cameras(index: object, known: Collection[str], chosen: Filters) -> None:
    """Raise ConfigError for a camera that no row names. index: its name, for the message; known: its cameras."""
    if unknown := [name for name in chosen.cameras if name not in known]:
        there = ", ".join(sorted(known)[:20])
        raise ConfigError(f"--cameras: {index} has no rows of camera {unknown[0]}. It has those of {there}")


def crop_of(frame_HWC: np.ndarray, name: str, box: Box | None, size_px: tuple[int, int]) -> np.ndarray:
    """Cut the person out of the query's image: uint8 RGB (H, W, 3) of the network's size. name: the image's, for the
    message. Raises DataError for a box that holds nothing of it."""
    pixels, reason = cut_out(frame_HWC, box, size_px)
    if pixels is None:
        raise DataError(f"{name}: cannot be cut to the --box ({reason}). Correct the box, or leave it out")
    return pixels


def as_json(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the answers as JSON says them. Times are in milliseconds since 1970, UTC."""
    return [
        {
            "rows": one.modality.name.lower(), "searched": one.searched, "decision": one.decision,
            "threshold": one.threshold, "reason": one.reason, "hits": [_hit(hit) for hit in one.hits],
        }
        for one in answers
    ]  # fmt: skip


def _hit(hit: Hit) -> dict[str, Any]:
    row = hit.row._asdict() | {"modality": Modality(hit.row.modality).name.lower()}
    row["box"] = list(hit.row.box) if hit.row.box else None
    return {
        "rank": hit.rank, "similarity": hit.similarity, "strangers": hit.strangers, "at_most": hit.at_most, **row
    }  # fmt: skip
