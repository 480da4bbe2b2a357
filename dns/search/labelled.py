"""Embeds people whose identities are known, to calibrate on: a labelled list, or a converted test set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dns.search.adding import BATCH, embed_sightings, join_tracks
from dns.search.calibration import Labelled
from dns.search.network import SearchNetwork
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from pipelines.data import TestImages


def of_list(
    path: Path, frames: Path, sightings: Sequence[Sighting], network: SearchNetwork, left_out: LeftOut
) -> tuple[Labelled, Labelled]:
    """Embed the sightings of a labelled list: each by itself, as a query is, and as rows of an index, where those of a
    track share one. Raises DataError where a sighting has no identity, a track several, or none can be used."""
    if unlabelled := next((one for one in sightings if one.person is None), None):
        raise DataError(f"{unlabelled.source}: names no person. Label every box: a column `person` of whole numbers")
    vectors = list(embed_sightings(frames, sightings, network, left_out, thumbnails=False))
    if not vectors:
        raise DataError(f"{path}: nothing to calibrate on ({'; '.join(left_out.lines())}). Correct the list")
    rows = list(join_tracks(vectors, sightings))
    return (
        _labelled([(vector_D, one.person, one.modality) for one, vector_D, _ in vectors]),
        _labelled([(one.vector_D, one.person, one.row.modality) for one in rows]),
    )


def _labelled(known: Sequence[tuple[np.ndarray, int | None, Modality]]) -> Labelled:
    vectors, persons, modalities = zip(*known, strict=True)
    return Labelled(np.stack(vectors), np.array(persons, dtype=np.int64), np.array(modalities, dtype=np.int64))


def of_test_set(images: TestImages, network: SearchNetwork) -> Labelled:
    """Embed every image of a converted test set, of video the first frame of each tracklet: the next ones look like it,
    and hundreds of thousands are too many to compare all with all."""
    chosen_N = np.arange(len(images.person_N)) if images.tracklets is None else images.tracklets.sample_T
    modality_N = images.modality_N[chosen_N]
    found_ND = np.zeros((len(chosen_N), network.width), dtype=np.float32)
    with tqdm(total=len(found_ND), desc="calibrating", unit="images", dynamic_ncols=True) as bar:
        for number in np.unique(modality_N).tolist():
            places = np.flatnonzero(modality_N == number)
            for begin in range(0, len(places), BATCH):
                some = places[begin : begin + BATCH]
                found_ND[some] = network.embed(np.stack(images.pixels(chosen_N[some])), Modality(number))
                bar.update(len(some))
    return Labelled(found_ND, images.person_N[chosen_N], modality_N)
