"""Rankings: which gallery images come first for a query, and where its matches are."""

import numpy as np
import pytest
import torch

from dns.evaluation.protocols import INFRARED, PROTOCOLS, SKETCH, VISIBLE, TestSet
from dns.evaluation.ranking import rank_trials
from tests.support.made_sets import make_set, random_set

# Query q of person 1 in camera 1; the nearest image is person 1 in camera 1, which does not count for LLCM.
SET = make_set(
    [
        (1, 1, INFRARED, "q"),
        (1, 1, VISIBLE, "same camera"),
        (2, 2, VISIBLE, "another person"),
        (1, 2, VISIBLE, "match"),
    ]
)
EMBEDDING = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])


def test_the_first_images_of_a_query_are_named_nearest_first_and_excluded_ones_last() -> None:
    (ranking,) = rank_trials(PROTOCOLS["llcm-i2v"], SET, EMBEDDING, [0], top=3)
    found = [SET.path_N[row] for row in ranking.top_rows_QK[0]]
    assert found == ["another person", "match", "same camera"]
    assert ranking.top_distance_QK[0].tolist() == pytest.approx([-0.9, -0.8, np.inf])
    assert ranking.query_person_Q.tolist() == [1]
    assert ranking.per_query.rank0.tolist() == [1]  # one identity before the right one
    assert ranking.metrics.cmc[:2] == [0.0, 1.0]


def test_which_image_is_ranked_wrongly_can_be_asked() -> None:
    """The first image of every query whose identity is not the query's."""
    test = random_set([(1, VISIBLE), (2, VISIBLE), (3, INFRARED)], seed=1)
    embedding = torch.nn.functional.normalize(torch.randn(len(test.person_N), 8), dim=1)
    (ranking,) = rank_trials(PROTOCOLS["regdb-t2v"], test, embedding, top=1)
    first = torch.from_numpy(test.person_N)[ranking.top_rows_QK[:, 0]]
    wrong = first != ranking.query_person_Q
    assert torch.equal(wrong, ranking.per_query.rank0 > 0)
    assert float((~wrong)[ranking.per_query.relevant > 0].double().mean()) == pytest.approx(ranking.metrics.cmc[0])


@pytest.mark.parametrize("name", ["llcm-i2v", "llcm-v2i", "llcm-v2i-transposed", "regdb-v2t"])
def test_top_rows_are_the_gallery_in_the_order_of_the_dot_products(name: str) -> None:
    test = random_set([(1, VISIBLE), (2, VISIBLE), (1, INFRARED), (3, INFRARED)], seed=2)
    embedding = torch.nn.functional.normalize(torch.randn(len(test.person_N), 8), dim=1)
    for ranking in rank_trials(PROTOCOLS[name], test, embedding, top=10_000):
        trial, place = ranking.trial, {}
        similarity = (embedding[trial.query_rows].double() @ embedding[trial.gallery_rows].double().T).numpy()
        for query, row in enumerate(trial.query_rows):
            place = {gallery_row: -similarity[query, column] for column, gallery_row in enumerate(trial.gallery_rows)}
            if trial.excluded:
                same = (test.person_N == test.person_N[row]) & (test.camera_N == test.camera_N[row])
                place |= {gallery_row: np.inf for gallery_row in place if same[gallery_row]}
            expected = sorted(place, key=lambda gallery_row: place[gallery_row])
            assert ranking.top_rows_QK[query].tolist() == expected


def test_without_a_wish_no_first_images_are_kept() -> None:
    (ranking,) = rank_trials(PROTOCOLS["llcm-i2v"], SET, EMBEDDING, [0])
    assert ranking.top_rows_QK.shape == ranking.top_distance_QK.shape == (1, 0)


def test_a_query_of_several_sketches_is_one_row() -> None:
    test: TestSet = make_set([(1, 1, SKETCH, "a"), (1, 2, SKETCH, "b"), (1, 0, VISIBLE, "p"), (2, 0, VISIBLE, "x")])
    embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [1.0, 0.0]])
    (ranking,) = rank_trials(PROTOCOLS["mask1k-multi"], test, embedding, top=1)
    assert ranking.query_person_Q.tolist() == [1]
    assert [test.path_N[row] for row in ranking.top_rows_QK[:, 0]] == ["p"]
