"""Mistakes that a person makes at the commands of the search: a message that tells, and an index as it was before."""

from pathlib import Path

import pytest

from dns.search.__main__ import main
from tests.conftest import Refused
from tests.support.refusals import assert_tells
from tests.support.search_commands import BOXES, FRAMES, NETWORK, contents

MISTAKES: dict[str, list[str]] = {  # the command -> what its message tells
    "index New --boxes=Footage/boxes.csv --checkpoint=last.pt": ["--frames=FOLDER"],
    f"index New {BOXES} {FRAMES}": ["--checkpoint=FILE"],
    f"index New {BOXES} {FRAMES} --checkpoint=never.pt": ["never.pt"],
    f"index New {BOXES} --frames=Nowhere {NETWORK}": ["Footage/boxes.csv", "another folder"],
    f"index New --boxes=never.csv {FRAMES} {NETWORK}": ["never.csv"],
    f"index New --boxes=photo.jpg {FRAMES} {NETWORK}": ["photo.jpg", ".csv, .txt (MOT) or .json (COCO)"],
    f"index New --crops=Footage {BOXES} {NETWORK}": ["--crops", "--boxes"],
    f"index New --crops=Footage {NETWORK}": ["Footage", "--camera=NAME"],
    f"index New --crops=Footage --camera=1 {NETWORK}": ["Footage", "--modality=MODALITY"],
    f"index New --crops=Nowhere --camera=1 --modality=visible {NETWORK}": ["Nowhere"],
    "index New --crops=Footage --camera=1 --modality=thermal": ["--modality", "thermal", "infrared"],
    f"index New {BOXES} {FRAMES} {NETWORK} --modality=visible --start=noon": ["--start", "noon"],
    f"index New {BOXES} {FRAMES} {NETWORK} --start=2026-03-02T08:00": ["--start", "--fps"],
    f"index New {BOXES} {FRAMES} {NETWORK} --fps=0": ["--fps", "0"],
    f"index New {BOXES} {FRAMES} {NETWORK} --start=0 --fps=2": ["Footage/boxes.csv", ".txt"],
    f"index New {BOXES} {FRAMES} {NETWORK} --cameras=cam1": ["--cameras", "--remove"],
    f"index New {BOXES} {FRAMES} {NETWORK} --chekpoint=a.pt": ["--chekpoint=a.pt"],
    f"index New {BOXES} {FRAMES} {NETWORK} --calibrate=never.csv": ["never.csv"],
    f"index New {BOXES} {FRAMES} {NETWORK} --dataset=llcm": ["Beton/llcm", "--dataset=NAME"],
    f"index New --calibrate=Footage/boxes.csv {FRAMES}": ["New", "no index yet"],
    "index New": ["--boxes", "--crops", "--embeddings"],
    "index New --remove": ["New", "every row"],
    "index Index --remove --cameras=never": ["no rows of camera never", "cam2"],
    "index Index --remove --cameras= --since=0": ["--cameras", "Leave it out"],
    "search Index photo.jpg --modality=infrared --page=Index/manifest.json": ["--page=Index/manifest.json", ".html"],
    "compact Index --engine.device=cpu": ["--engine.device=cpu", "compact"],
    "index Index --remove --since=20260302": ["20260302", "ISO 8601"],
    "index New --remove --cameras=cam1": ["New", "no index"],
    f"index New --embeddings=a.npz --camera=1 --modality=visible {FRAMES} --calibrate=Footage/boxes.csv": [
        "--checkpoint=FILE"
    ],
    "index New --embeddings=narrow.npz --camera=1 --modality=visible --checkpoint=last.pt": ["narrow.npz", 5, 256],
    "index Index --embeddings=a.npz": ["a.npz", "--modality=visible"],
    f"index Index {BOXES} --embeddings=a.npz": ["a.npz", 3, 85],
    f"index Index {BOXES} {FRAMES} --checkpoint=other.pt": ["other.pt", "last.pt"],
    f"index Index {BOXES} {FRAMES} --calibrate=never.csv": ["never.csv"],
    "index Index --calibrate=Footage/boxes.csv": ["--frames=FOLDER"],
    "index Index --remove": ["Index", "every row"],
    "index Index --remove --since=5 --until=4": ["--until", "--since"],
    f"index Index --remove --cameras=cam1 {BOXES}": ["--remove"],
    f"index Footage {BOXES} {FRAMES} {NETWORK}": ["Footage", "not empty"],
    f"index photo.jpg {BOXES} {FRAMES} {NETWORK}": ["photo.jpg/manifest.json"],
    "search Never photo.jpg --modality=infrared": ["Never", "no index"],
    "search Index photo.jpg": ["--modality"],
    "search Index never.jpg --modality=infrared": ["never.jpg", "no such file"],
    "search Index text.jpg --modality=infrared": ["text.jpg", "cannot be decoded"],
    "search Index empty.jpg --modality=infrared": ["empty.jpg", "empty file"],
    "search Index Footage --modality=infrared": ["Footage", "directory"],
    "search Index photo.jpg --modality=sketch": ["last.pt", "sketch"],
    "search Index photo.jpg --modality=infrared --box=1,2,3": ["--box", "x,y,w,h"],
    "search Index photo.jpg --modality=infrared --box=a,2,3,4": ["--box", "a,2,3,4"],
    "search Index photo.jpg --modality=infrared --box=40,0,9,9": ["photo.jpg", "--box", "outside"],
    "search Index photo.jpg --modality=infrared --box=4,4,0,9": ["photo.jpg", "--box", "less than a pixel"],
    "search Index photo.jpg --modality=infrared --box=nan,0,9,9": ["photo.jpg", "--box", "not finite"],
    "search Index photo.jpg --modality=infrared --cameras=hall": ["--cameras", "hall", "cam1", "cam9"],
    "search Index photo.jpg --modality=infrared --since=5 --until=4": ["--until", "--since"],
    "search Index photo.jpg --modality=infrared --since=tomorrow": ["--since", "tomorrow"],
    "search Index photo.jpg --modality=infrared --hits=0": ["--hits", "0"],
    "search Index photo.jpg --modality=infrared --hits=-1": ["--hits", "-1"],
    "search Index photo.jpg --modality=infrared --hits=many": ["--hits", "many"],
    "search Index photo.jpg --modality=infrared --fpir=1": ["--fpir", "1"],
    "search Index photo.jpg --modality=infrared --page=Nowhere/page.html": ["Nowhere/page.html"],
    "search Index photo.jpg --modality=infrared --checkpoint=never.pt": ["never.pt"],
    "search Index photo.jpg --modality=infrared --checkpoint=other.pt": ["other.pt", "last.pt"],
    "search Index photo.jpg --modality=infrared --engine.devise=cpu": ["engine.devise", "engine.device"],
    "search Index photo.jpg more.jpg --modality=infrared": ["more.jpg"],
    "search Index a.npz --modality=infrared": ["a.npz", "3 x 256", "one row"],
    "search Index narrow.npz --modality=infrared": ["narrow.npz", "1 x 5", 256],
    "compact Never": ["Never", "no index"],
    "verify Never": ["Never", "no index"],
    "verify": ["INDEX"],
}


def test_an_empty_name_is_told(refused: Refused) -> None:
    """As of make search without QUERY, where the working folder would be meant."""
    assert_tells(refused(main, ["search", "Index", "", "--modality=infrared"]), "QUERY", "is empty")


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_told_and_changes_nothing(words: str, at: Path, refused: Refused) -> None:
    before, files = contents(at / "Index"), sorted(path.name for path in at.iterdir())
    assert_tells(refused(main, [*words.split()]), *MISTAKES[words])
    assert contents(at / "Index") == before
    assert sorted(path.name for path in at.iterdir()) == files
