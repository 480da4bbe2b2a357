"""run_protocol against the published test loops, one query at a time, over their galleries, drawn again here.

Embeddings are small whole numbers: similarities are exact, and many are equal. The published loops leave the order of
equal ones open; here it is the gallery's.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dns.evaluation import metrics
from dns.evaluation.metrics import RANKS, Metrics
from dns.evaluation.protocols import INFRARED, PROTOCOLS, VISIBLE
from dns.evaluation.trial import TestSet
from tests.support.made_sets import random_set
from tests.support.metrics_of import run_protocol

pytestmark = pytest.mark.numerical

SEEDS = range(24)
TESTED = (0, 6)  # trials
CAMERAS = {  # (number, modality)
    "sysu": [(1, VISIBLE), (2, VISIBLE), (3, INFRARED), (4, VISIBLE), (5, VISIBLE), (6, INFRARED)],
    "llcm": [(camera, modality) for modality in (VISIBLE, INFRARED) for camera in range(1, 5)],
    "regdb": [(0, VISIBLE), (0, INFRARED)],
}
NAMES = (
    "sysu-all", "sysu-indoor", "llcm-i2v", "llcm-v2i", "llcm-v2i-transposed", "llcm-v2i-deen", "regdb-t2v", "regdb-v2t",
)  # fmt: skip


class Image(NamedTuple):
    person: int
    camera: int
    modality: int
    path: str
    vector: Tensor


LeftOut = Callable[[Image, Image], bool]


def images_of(test: TestSet, embedding: Tensor) -> list[Image]:
    """By identity, camera and name."""
    columns = test.person_N.tolist(), test.camera_N.tolist(), test.modality_N.tolist(), test.path_N, embedding
    return sorted((Image(*row) for row in zip(*columns, strict=True)), key=lambda i: (i.person, i.camera, i.path))


def drawn(images: Sequence[Image], cameras: Sequence[int], trial: int) -> list[Image]:
    """One of each folder: identities ascending, `cameras` inside."""
    random.seed(trial)
    gallery = []
    for person in sorted({image.person for image in images}):
        for camera in cameras:
            folder = [image for image in images if (image.person, image.camera) == (person, camera)]
            if folder:
                gallery.append(random.choice(folder))
    return gallery


def published(query: Sequence[Image], gallery: Sequence[Image], left_out: LeftOut, by_identity: bool) -> Metrics:
    curves, precisions, inverse, chances = [], [], [], []
    for searched in query:
        kept = [image for image in gallery if not left_out(searched, image)]
        ranking = [i.person for i in sorted(kept, key=lambda image: -float(searched.vector @ image.vector))]
        if searched.person not in ranking:
            continue
        places = [place for place, person in enumerate(ranking, start=1) if person == searched.person]
        precisions.append(sum(hits / place for hits, place in enumerate(places, start=1)) / len(places))
        inverse.append(len(places) / places[-1])
        chances.append(len(places) / len(ranking))
        counted = []
        for person in ranking:
            if not by_identity or person not in counted:
                counted.append(person)
        curves.append([searched.person in counted[: rank + 1] for rank in range(RANKS)])
    mean = [sum(column) / len(column) for column in (*zip(*curves, strict=True), precisions, inverse, chances)]
    return Metrics(mean[:RANKS], *mean[RANKS:])


def sysu(query: Image, image: Image) -> bool:
    return query.camera == 3 and image.camera == 2


def llcm(query: Image, image: Image) -> bool:
    return query.person == image.person and query.camera == image.camera


def nothing(query: Image, image: Image) -> bool:
    return False


def expected(name: str, images: Sequence[Image], trial: int) -> Metrics:
    infrared = [image for image in images if image.modality == INFRARED]
    visible = [image for image in images if image.modality == VISIBLE]
    cameras = sorted({image.camera for image in images})
    if name == "sysu-all":
        return published(infrared, drawn(visible, (1, 2, 4, 5), trial), sysu, True)
    if name == "sysu-indoor":
        return published(infrared, drawn(visible, (1, 2), trial), sysu, True)
    if name == "llcm-i2v":
        return published(infrared, drawn(visible, cameras, trial), llcm, True)
    if name == "llcm-v2i":
        return published(visible, drawn(infrared, cameras, trial), llcm, True)
    if name == "llcm-v2i-transposed":
        return published(drawn(visible, cameras, trial), infrared, llcm, True)
    if name == "llcm-v2i-deen":
        return published(drawn(infrared, cameras, trial), visible, llcm, True)
    return published(*((infrared, visible) if name == "regdb-t2v" else (visible, infrared)), nothing, False)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few queries a piece."""
    monkeypatch.setitem(metrics.PIECE, "cpu", 100)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", NAMES)
def test_protocols_are_the_published_loops(name: str) -> None:
    for seed in SEEDS:
        test = random_set(CAMERAS[name.partition("-")[0]], seed, persons=3 + seed)
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.randint(-1, 2, (len(test.person_N), 3), generator=generator).float()
        images = images_of(test, embedding)
        tested = (0,) if name.startswith("regdb") else TESTED
        for trial, found in zip(tested, run_protocol(PROTOCOLS[name], test, embedding, tested), strict=True):
            wanted = expected(name, images, trial)
            assert found.cmc == pytest.approx(wanted.cmc, abs=1e-9), (seed, trial)
            assert (found.mAP, found.mINP, found.chance) == pytest.approx((wanted.mAP, wanted.mINP, wanted.chance))


def test_the_drawn_sets_hold_what_is_hard() -> None:
    """Galleries below and above 20, queries without a match, persons of one camera."""
    protocol, sizes, alone, unmatched = PROTOCOLS["sysu-all"], set(), 0, 0
    for test in (random_set(CAMERAS["sysu"], seed, persons=3 + seed) for seed in SEEDS):
        gallery, searched = test.person_N[protocol.galleries(test)[0]], test.person_N[protocol.queries(test)]
        sizes.add(len(gallery))
        unmatched += len(set(searched.tolist()) - set(gallery.tolist()))
        alone += sum(len(set(test.camera_N[test.person_N == person].tolist())) == 1 for person in set(gallery.tolist()))
    assert min(sizes) < RANKS < max(sizes)
    assert unmatched > 0
    assert alone > 0
