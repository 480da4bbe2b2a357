"""Protocols: queries and galleries are those that the published code draws."""

import numpy as np
import pytest
import torch

from dns.evaluation.protocols import PROTOCOLS, TRIALS
from dns.evaluation.trial import TestSet
from ffcv_convert.beton import Modality
from ffcv_convert.datasets import llcm
from tests.support import goldens
from tests.support.metrics_of import run_protocol


@pytest.fixture(scope="module")
def golden() -> dict:
    return goldens.read_json("protocol.json")["llcm"]


@pytest.fixture(scope="module")
def test_set(golden: dict, tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    """The golden tree, listed by the converter; in another order, which must not matter."""
    root = tmp_path_factory.mktemp("llcm")
    for name in golden["files"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "idx").mkdir()
    for name, text in golden["lists"].items():
        (root / name).write_text(text)
    for short in ("vis", "nir"):
        (root / "idx" / f"train_{short}.txt").write_text(f"{short}/0001/a.jpg 0\n")
    records = [record for record in llcm.list_records(root) if record.split == "test"]
    np.random.default_rng(0).shuffle(records)
    columns = [
        np.array([getattr(r, name) for r in records], dtype=np.int64) for name in ("person", "camera", "modality")
    ]
    return TestSet(*columns, [record.image for record in records])


SIDES = {"llcm-i2v": ("infrared", "visible"), "llcm-v2i": ("visible", "infrared")}


@pytest.mark.parametrize("name", SIDES)
def test_queries_are_the_published_ones_in_order(golden: dict, test_set: TestSet, name: str) -> None:
    paths, persons, cameras = golden[f"query_{SIDES[name][0]}"]
    found = PROTOCOLS[name].queries(test_set)
    assert [test_set.path_N[n] for n in found] == paths
    assert test_set.person_N[found].tolist() == persons
    assert test_set.camera_N[found].tolist() == cameras


@pytest.mark.parametrize("name", SIDES)
def test_every_trials_gallery_is_the_published_one(golden: dict, test_set: TestSet, name: str) -> None:
    galleries = PROTOCOLS[name].galleries(test_set)
    assert len(galleries) == TRIALS
    for trial, gallery in enumerate(galleries):
        assert [test_set.path_N[n] for n in gallery] == golden[f"gallery_{SIDES[name][1]}_{trial}"]


def test_modality_codes_are_the_schemas() -> None:
    from dns.evaluation import protocols

    assert (protocols.VISIBLE, protocols.INFRARED) == (Modality.VISIBLE, Modality.INFRARED)


@pytest.mark.parametrize("name", SIDES)
def test_a_perfect_embedding_scores_one_and_a_random_one_chance(test_set: TestSet, name: str) -> None:
    persons = np.unique(test_set.person_N, return_inverse=True)[1]
    perfect = torch.eye(int(persons.max()) + 1)[persons]
    results = run_protocol(PROTOCOLS[name], test_set, perfect)
    assert len(results) == TRIALS
    assert all((result.cmc[0], result.mAP, result.mINP) == (1.0, pytest.approx(1.0), 1.0) for result in results)
    torch.manual_seed(0)
    random = [run_protocol(PROTOCOLS[name], test_set, torch.randn(len(persons), 64))[0] for _ in range(20)]
    assert np.mean([r.cmc[0] for r in random]) == pytest.approx(np.mean([r.chance for r in random]), abs=0.03)


def test_the_same_identity_in_the_same_camera_does_not_count() -> None:
    """Query person 1, camera 1. Nearest is person 1 in camera 1: left out. Then person 2, then person 1 in camera 2."""
    test = TestSet(
        np.array([1, 1, 2, 1]), np.array([1, 1, 2, 2]), np.array([1, 0, 0, 0]), ["q", "same camera", "other", "match"]
    )
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    result = run_protocol(PROTOCOLS["llcm-i2v"], test, embedding, trials=[0])[0]
    assert result.cmc[:2] == [0.0, 1.0]
    assert result.mAP == pytest.approx(0.5)
    assert result.chance == pytest.approx(0.5)
