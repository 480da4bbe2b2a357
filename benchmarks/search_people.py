"""Does a search find drawn people that training never saw, and is "nobody" said as often as promised?

    make train
    python -m benchmarks.search_people runs/synthetic-seed0/last.pt

First, the footage of the drawn test set is indexed; every infrared test image asks for its visible rows, and the share
of queries whose first hit is right stands beside Rank-1 of `make eval` for the same queries. Second, other people are
drawn twice: LABELLED, to calibrate on, and STRANGERS. Of the latter some are in the index, in one row each or in one a
camera, and others are asked for: each time that "somebody" is said of these is a false alarm. The FPIR is their share;
`found` is the share of queries of people in the index for whom somebody is found, and who it is. It proves the
machinery, not the field: drawn people are as alike as their program makes them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.harness import CORES, WORK, write_result
from dns.evaluation.protocols import PROTOCOLS
from dns.search.__main__ import main as search
from dns.search.adding import embed_sightings
from dns.search.answer import answer
from dns.search.calibration import Calibration, Direction, Labelled, calibrate
from dns.search.exact import Part, most_similar
from dns.search.labelled import of_test_set
from dns.search.lists import read_boxes
from dns.search.network import SearchNetwork, open_search_network
from dns.search.rows import Filters
from dns.search.sightings import LeftOut, Sighting
from dns.search.store import Index
from dns.training.environment import environment
from dns.training.setup import Opened, open_checkpoint
from ffcv_convert.beton.labels import Modality
from ffcv_convert.datasets import synthetic
from ffcv_convert.synthetic import Options, synthesise
from ffcv_convert.synthetic.footage import draw_footage

LABELLED = Options(train_identities=1, test_identities=400, train_images=1, test_images=1, seed=1)
STRANGERS = Options(train_identities=1, test_identities=1100, train_images=1, test_images=1, seed=2)
PEOPLE = (16, 96, 400, 1000)  # in the index
ASKED, DRAWS = 100, 10  # people who are asked for, in the index and not; how often
FPIRS = (0.1, 0.01)
PROTOCOL = "llcm-i2v"
HEADER = ("calibrated on", "people", "rows", "FPIR promised", "false alarms", "95 %", "found", "cannot tell")


class People(NamedTuple):
    """Embedded images. person, camera, modality: of each row of embedding_ND."""

    embedding_ND: np.ndarray
    person: np.ndarray
    camera: np.ndarray
    modality: np.ndarray


class Told(NamedTuple):
    """What was said of a person's queries, as shares of them. absent: not in the index; somebody: said to be there;
    found: and it is that person; unknown: cannot tell."""

    absent: bool
    somebody: float
    found: float
    unknown: float


def embedded(folder: Path, options: Options, network: SearchNetwork) -> People:
    """Draw the test images of a set, where they are not drawn yet, and embed them."""
    root = folder / "synthetic"
    synthesise(root, options, workers=CORES)
    records = [one for one in synthetic.DATASET.list_records(root) if one.split == "test"]
    sightings = [Sighting(one.image, None, None, str(one.camera), one.modality, person=one.person) for one in records]
    found = list(embed_sightings(root, sightings, network, LeftOut(), thumbnails=False))
    return People(
        np.stack([vector_D for _, vector_D, _ in found]),
        np.array([one.person for one, _, _ in found]),
        np.array([int(one.camera) for one, _, _ in found]),
        np.array([one.modality for one, _, _ in found]),
    )


def first_hits(opened: Opened, network: SearchNetwork, checkpoint: Path) -> dict[str, Any]:
    """Return how often the first visible row is of the right identity, and Rank-1 of the same queries."""
    images = opened.evaluator.images
    ranked = opened.evaluator.rankings(opened.embed().compared(opened.config.method.feature), PROTOCOL)
    with TemporaryDirectory() as temporary:
        footage, index_folder = Path(temporary) / "Footage", Path(temporary) / "Index"
        draw_footage(Path("Dataset"), footage)
        boxes = footage / "boxes.csv"
        search(["index", str(index_folder), f"--boxes={boxes}", f"--frames={footage}", f"--checkpoint={checkpoint}"])
        index = Index.open(index_folder)
        person = {one.track: one.person for one in read_boxes(boxes, footage, left_out=LeftOut())}
        asked = np.flatnonzero(images.modality_N == Modality.INFRARED)
        vectors_QD = network.embed(np.stack(images.pixels(asked)), Modality.INFRARED)
        right = [
            person[_visible(index, vector_D).track] == images.person_N[row]
            for row, vector_D in zip(asked, vectors_QD, strict=True)
        ]
    return {
        "queries": len(asked), "rows": len(index.parts(Filters(modality=Modality.VISIBLE))[0]),
        "first_right": float(np.mean(right)), "rank1": float(np.mean([one.metrics.cmc[0] for one in ranked])),
        "images_a_gallery": len(PROTOCOLS[PROTOCOL].galleries(opened.evaluator.test_set)[0]),
    }  # fmt: skip


def _visible(index: Index, vector_D: np.ndarray) -> Any:
    """Return the most similar visible row."""
    (found,) = answer(
        index, vector_D, Modality.INFRARED, Filters(modality=Modality.VISIBLE), hits=1, fpir=0.1, calibration=None,
        device=torch.device("cpu"),
    )  # fmt: skip
    return found.hits[0].row


def false_alarms(people: People, calibration: Calibration, count: int, *, every_camera: bool) -> list[dict[str, Any]]:
    """Search for people who are and who are not in an index of `count` people. Returns a row for each FPIR."""
    direction = calibration.directions[Modality.INFRARED, Modality.VISIBLE]
    told: dict[float, list[Told]] = {fpir: [] for fpir in FPIRS}
    rows = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, count])
        order = rng.permutation(np.unique(people.person))
        inside, outside = order[:count], order[len(order) - ASKED :]
        chosen = np.flatnonzero(np.isin(people.person, inside) & (people.modality == Modality.VISIBLE))
        if not every_camera:
            shuffled = rng.permutation(chosen)
            chosen = np.sort(shuffled[np.unique(people.person[shuffled], return_index=True)[1]])
        part, rows = Part(people.embedding_ND[chosen].astype(np.float16), None, "drawn"), len(chosen)
        persons = (*outside, *inside[:ASKED])
        asked = np.flatnonzero(np.isin(people.person, persons) & (people.modality == Modality.INFRARED))
        best = most_similar(people.embedding_ND[asked], [part], 1, torch.device("cpu"))
        similarity = np.array([one.similarity[0] for one in best])
        right = people.person[chosen[[one.position[0] for one in best]]] == people.person[asked]
        for fpir in FPIRS:
            threshold = direction.threshold(rows, fpir)
            for person in persons:
                own = people.person[asked] == person
                absent = person in outside
                told[fpir].append(_told(similarity[own], right[own], threshold, direction, absent=absent))
    return [{**_row(fpir, count, rows, told[fpir]), "threshold": direction.threshold(rows, fpir)} for fpir in FPIRS]


def _told(
    similarity_Q: np.ndarray, right_Q: np.ndarray, threshold: float | None, direction: Direction, *, absent: bool
) -> Told:
    """Return what `decide` says of a person's queries; a test shows that it follows the threshold so."""
    somebody_Q = similarity_Q >= (np.inf if threshold is None else threshold)
    unknown_Q = ~somebody_Q & (similarity_Q > direction.similarity[0])
    return Told(absent, float(somebody_Q.mean()), float((somebody_Q & right_Q).mean()), float(unknown_Q.mean()))


def _row(fpir: float, count: int, rows: int, told: Sequence[Told]) -> dict[str, Any]:
    alarms = np.array([one.somebody for one in told if one.absent])
    return {
        "people": count, "rows": rows, "fpir": fpir, "searched_for": len(told), "false_alarms": float(alarms.mean()),
        "deviation": float(alarms.std(ddof=1) / len(alarms) ** 0.5),  # by person: images of one resemble each other
        "found": float(np.mean([one.found for one in told if not one.absent])),
        "unknown": float(np.mean([one.unknown for one in told])),
    }  # fmt: skip


def table(content: dict[str, Any]) -> str:
    """Return Markdown: a sentence on first hits, then a row a size of the index and an FPIR."""
    first = content["first_hits"]
    lines = [list(HEADER), ["---"] * len(HEADER)]
    for one in content["rows"]:
        low, high = (max(0.0, one["false_alarms"] + sign * 1.96 * one["deviation"]) for sign in (-1, 1))
        told = one["threshold"] is not None
        lines.append([
            f"{one['identities']} people", f"{one['people']:,}", f"{one['rows']:,}", f"{100 * one['fpir']:g} %",
            *((f"{100 * one['false_alarms']:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %") if told else ("", "")),
            f"{100 * one['found']:.1f} %" if told else "", f"{100 * one['unknown']:.0f} %",
        ])  # fmt: skip
    said = (
        f"Of {first['queries']} infrared queries, {100 * first['first_right']:.2f} % find a right visible row first, "
        f"among {first['rows']} rows of a pass each; Rank-1 of the same queries is {100 * first['rank1']:.2f} %, among "
        f"{first['images_a_gallery']} images."
    )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + f"\n\n{said}\n"


def main(arguments: Sequence[str]) -> int:
    (name,) = arguments
    checkpoint = Path(name)
    network = open_search_network(checkpoint, [])
    opened = open_checkpoint(checkpoint)
    first = first_hits(opened, network, checkpoint)
    people = embedded(WORK / "search-strangers", STRANGERS, network)
    labelled = embedded(WORK / "search-labelled", LABELLED, network)
    sources = {
        "labelled": Labelled(labelled.embedding_ND, labelled.person, labelled.modality),
        "test set": of_test_set(opened.evaluator.images, network),
    }
    rows = []
    for source, known in sources.items():
        made = calibrate(known, known, source)
        for count in PEOPLE:
            for every_camera in (False, True):
                found = false_alarms(people, made, count, every_camera=every_camera)
                rows += [{"identities": len(np.unique(known.person_N)), **one} for one in found]
    place = environment(torch.device("cpu"))
    content = {
        "question": "search-people", "network": {key: network.about[key] for key in network.about if key != "path"},
        "first_hits": first, "rows": rows, "environment": place,
    }  # fmt: skip
    print(table(content))
    print(f"written: {write_result('search-people', content, place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
