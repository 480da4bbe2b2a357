"""Makes answers of the search, as its pages show them."""

import numpy as np

from dns.report.html import jpeg
from dns.search.answer import Answer, Decision, Hit
from dns.search.page import About
from dns.search.rows import Row
from dns.search.sightings import Box
from ffcv_convert.beton.labels import Modality

BEGIN_MS = 1_772_439_342_000  # 2026-03-02 08:15:42 UTC
ABOUT = About(
    "Station", 1454, "Embedded by best.pt, epoch 60.", 0.01, "It is of cameras cam1 to cam9.", "Nobody's terms apply."
)


def made_hit(
    rank: int,
    *,
    camera: str = "cam1",
    first_ms: int | None = BEGIN_MS,
    lasts_ms: int = 1000,
    strangers: float | None = 0.02,
    at_most: bool = False,
    thumbnail: bool = True,
    image: str = "cam1/frame000942.png",
) -> Hit:
    last_ms = None if first_ms is None else first_ms + lasts_ms
    box = Box(12, 25, 157, 317.5)
    row = Row(1000 + rank, camera, Modality.VISIBLE, first_ms, last_ms, 2, f"{camera}-0007", image, box)
    pixels = np.full((128, 64, 3), 20 * rank % 256, np.uint8)
    return Hit(rank, 1 - 0.01 * rank, strangers, at_most, row, jpeg(pixels, 128) if thumbnail else b"")


def made_answer(*hits: Hit, decision: Decision = "somebody", modality: Modality = Modality.VISIBLE) -> Answer:
    return Answer(modality, 1234, decision, 0.7, "The best hit has a similarity of 0.99.", list(hits))
