"""SYSU-MM01's protocols: the published queries and galleries, on a made-up tree and at the real set's size."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dns.evaluation.protocols import INFRARED, PROTOCOLS, SHOTS, TRIALS, VISIBLE
from dns.evaluation.trial import TestSet
from ffcv_convert.common.errors import ProtocolError
from tests.conftest import REPOSITORY
from tests.support import goldens
from tests.support.made_sets import Sample, make_set, random_set, shuffled
from tests.support.refusals import refusal

MODALITY = {1: VISIBLE, 2: VISIBLE, 3: INFRARED, 4: VISIBLE, 5: VISIBLE, 6: INFRARED}
CAMERAS = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
COUNTS = REPOSITORY / "ffcv_convert" / "synthetic" / "sysu_mm01_counts.json"


def sample(path: str) -> Sample:
    """cam3/0021/0002.jpg"""
    camera, person, _ = Path(path).parts
    return int(person), int(camera[3:]), MODALITY[int(camera[3:])], path


@pytest.fixture(scope="module")
def golden() -> dict:
    return goldens.read_json("protocol.json")["sysu"]


@pytest.fixture(scope="module")
def golden_set(golden: dict) -> TestSet:
    """The golden tree's test identities; in another order, which must not matter."""
    listed = [int(person) for person in golden["lists"]["exp/test_id.txt"].split(",")]
    samples = [sample(path) for path in golden["files"] if path.endswith(".jpg")]
    return make_set(shuffled(s for s in samples if s[0] in listed))


def test_queries_are_the_published_ones_in_order(golden: dict, golden_set: TestSet) -> None:
    paths, persons, cameras = golden["query"]
    for name in (name for name in PROTOCOLS if name.startswith("sysu")):
        found = PROTOCOLS[name].queries(golden_set)
        assert [golden_set.path_N[n] for n in found] == paths
        assert golden_set.person_N[found].tolist() == persons
        assert golden_set.camera_N[found].tolist() == cameras


@pytest.mark.parametrize("search", CAMERAS)
def test_every_trials_gallery_is_the_published_one(golden: dict, golden_set: TestSet, search: str) -> None:
    galleries = PROTOCOLS[f"sysu-{search}"].galleries(golden_set)
    assert len(galleries) == TRIALS
    for trial, gallery in enumerate(galleries):
        assert [golden_set.path_N[n] for n in gallery] == golden[f"gallery_{search}_{trial}"]


@pytest.fixture(scope="module")
def real_set() -> TestSet:
    """As many images as the real set's test identities have, in another order."""
    stored = json.loads(COUNTS.read_text())
    names = [
        f"cam{camera}/{person:04d}/{number:04d}.jpg"
        for camera, counts in stored["images"].items()
        for person in stored["test"]
        for number in range(counts[person - 1])
    ]
    return make_set(shuffled(map(sample, names)))


@pytest.mark.parametrize("search", CAMERAS)
def test_galleries_of_the_real_set_have_the_published_fingerprints(real_set: TestSet, search: str) -> None:
    known = goldens.read_json("sysu_mm01_galleries.json")
    protocol = PROTOCOLS[f"sysu-{search}"]
    assert len(protocol.queries(real_set)) == known["query_images"]
    galleries = protocol.galleries(real_set)
    assert {len(gallery) for gallery in galleries} == {known["gallery_sizes"][search]}
    fingerprints = []
    for gallery in galleries[: len(known["gallery_fingerprint"][search])]:
        person, camera = real_set.person_N[gallery], real_set.camera_N[gallery]
        number = [int(Path(real_set.path_N[n]).stem) for n in gallery]
        text = ";".join(f"{c},{p},{n}" for c, p, n in zip(camera, person, number, strict=True))
        fingerprints.append(hashlib.sha1(text.encode()).hexdigest())
    assert len(fingerprints) == 5
    assert fingerprints == known["gallery_fingerprint"][search]


@pytest.mark.parametrize("search", CAMERAS)
def test_multi_shot_draws_ten_of_each_folder_or_all_and_none_twice(search: str) -> None:
    test = random_set(MODALITY.items(), seed=2, persons=20, most=30)
    protocol = PROTOCOLS[f"sysu-{search}-multi"]
    galleries = protocol.galleries(test)
    folders = zip(test.person_N.tolist(), test.camera_N.tolist(), strict=True)
    wanted = Counter(folder for folder in folders if folder[1] in CAMERAS[search])
    assert min(wanted.values()) < SHOTS < max(wanted.values())
    assert len(galleries) == TRIALS
    for gallery in galleries:
        assert len(set(gallery.tolist())) == len(gallery)
        drawn = Counter(zip(test.person_N[gallery].tolist(), test.camera_N[gallery].tolist(), strict=True))
        assert drawn == {folder: min(SHOTS, count) for folder, count in wanted.items()}
    assert len({gallery.tobytes() for gallery in galleries}) == TRIALS
    again = protocol.galleries(test)
    assert all(np.array_equal(a, b) for a, b in zip(galleries, again, strict=True))


@pytest.fixture(scope="module")
def drawn_set() -> TestSet:
    """Folders of up to 14 images, each with ten official draws: visible cameras only, ten of a folder at most."""
    test = random_set(MODALITY.items(), seed=3, persons=4, most=14)
    visible = PROTOCOLS["regdb-t2v"].galleries(test)[0]
    rng = np.random.default_rng(5)
    draws = {
        f"official-{trial}": np.concatenate([rng.permutation(f)[:SHOTS] for f in test.folders(visible)])
        for trial in range(1, TRIALS + 1)
    }
    return TestSet(test.person_N, test.camera_N, test.modality_N, test.path_N, draws)


@pytest.mark.parametrize("search", CAMERAS)
def test_the_official_gallery_is_the_first_of_each_folders_draw(drawn_set: TestSet, search: str) -> None:
    single, multi = (PROTOCOLS[f"sysu-{search}-official{kind}"].galleries(drawn_set) for kind in ("", "-multi"))
    assert len(single) == len(multi) == TRIALS
    for trial in range(TRIALS):
        in_search = [
            n for n in drawn_set.draws[f"official-{trial + 1}"].tolist() if drawn_set.camera_N[n] in CAMERAS[search]
        ]
        first: dict[tuple[int, int], int] = {}
        for n in in_search:
            first.setdefault((drawn_set.person_N[n], drawn_set.camera_N[n]), n)
        assert single[trial].tolist() == list(first.values())
        assert multi[trial].tolist() == in_search
    assert len({gallery.tobytes() for gallery in single}) > 1


@pytest.mark.parametrize("search", CAMERAS)
@pytest.mark.parametrize("kind", ["", "-multi"])
def test_without_the_official_draw_it_is_asked_for(golden_set: TestSet, search: str, kind: str) -> None:
    name = f"sysu-{search}-official{kind}"
    with refusal(ProtocolError, name, "rand_perm_cam.mat"):
        PROTOCOLS[name].galleries(golden_set)


@pytest.mark.parametrize("missing", [2, 10])
def test_every_one_of_the_official_draws_is_needed(drawn_set: TestSet, missing: int) -> None:
    draws = {name: rows for name, rows in drawn_set.draws.items() if name != f"official-{missing}"}
    with refusal(ProtocolError, "sysu-all-official", f"official-{missing}", "rand_perm_cam.mat"):
        PROTOCOLS["sysu-all-official"].check(replace(drawn_set, draws=draws))
