"""Rankings: what they say of each query, by themselves and beside the compared pairs."""

import numpy as np
import pytest
import torch

from dns.evaluation.protocols import INFRARED, PROTOCOLS, SKETCH, VISIBLE
from dns.evaluation.ranking import compare, rank_trials
from tests.support.made_sets import make_set, random_set


def test_an_excluded_image_stands_before_no_match() -> None:
    """The nearest image is the query's own identity in its own camera, which does not count for LLCM."""
    test = make_set([
        (1, 1, INFRARED, "query"), (1, 1, VISIBLE, "same camera"), (2, 2, VISIBLE, "another"), (1, 2, VISIBLE, "match"),
    ])  # fmt: skip
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    (ranking,) = rank_trials(PROTOCOLS["llcm-i2v"], test, embedding, [0])
    assert ranking.query_person_Q.tolist() == [1]
    assert ranking.per_query.rank0.tolist() == [1]  # one identity before the right one
    assert ranking.metrics.cmc[:2] == [0.0, 1.0]


def test_which_query_failed_can_be_asked() -> None:
    """A query has no image before its first match exactly where the nearest image is of its identity."""
    test = random_set([(1, VISIBLE), (2, VISIBLE), (3, INFRARED)], seed=2)
    generator = torch.Generator().manual_seed(2)
    embedding = torch.nn.functional.normalize(torch.randn(len(test.person_N), 8, generator=generator), dim=1)
    (ranking,) = rank_trials(PROTOCOLS["regdb-t2v"], test, embedding)
    nearest = compare(ranking.trial, test, embedding).distance_QG.argmin(dim=1).numpy()
    right = test.person_N[ranking.trial.gallery_rows[nearest]] == ranking.query_person_Q.numpy()
    matched = ranking.per_query.relevant.numpy() > 0
    assert np.array_equal(right[matched], ranking.per_query.rank0.numpy()[matched] == 0)
    assert 0 < right.sum() < len(right)
    assert right[matched].mean() == pytest.approx(ranking.metrics.cmc[0])


def test_a_query_of_several_sketches_is_one_row() -> None:
    test = make_set([(1, 1, SKETCH, "a"), (1, 2, SKETCH, "b"), (1, 0, VISIBLE, "p"), (2, 0, VISIBLE, "x")])
    embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [0.8, 0.0]])
    (ranking,) = rank_trials(PROTOCOLS["mask1k-multi"], test, embedding)
    assert ranking.query_person_Q.tolist() == [1]
    assert ranking.metrics.cmc[0] == 1.0
