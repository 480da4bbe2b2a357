"""Metrics where integer keys could go wrong: signs, extremes, equal distances, left-out images, pieces, other types."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_metrics import naive
from torch import Tensor

from dns.evaluation import metrics
from dns.evaluation.metrics import RANKS, Metrics
from tests.support.metrics_of import rank_metrics

pytestmark = pytest.mark.numerical

HUGE, TINY = torch.finfo(torch.float32).max, 2.0**-149  # the largest float32 and the smallest, which is subnormal
VALUES = [0.0, -0.0, 1.0, -1.0, 1 + 2.0**-23, -1 - 2.0**-23, HUGE, -HUGE, TINY, -TINY, 2.0**-126, -(2.0**-126)]


def agree(found: Metrics, expected: tuple) -> bool:
    curve, precision, inverse = expected
    return (*found.cmc, found.mAP, found.mINP) == pytest.approx((*curve, precision, inverse), abs=1e-9)


def drawn(seed: int, queries: int = 20, images: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Persons of queries and gallery; left out: a third of the images. Some queries' persons are not in the gallery,
    below, between and above its own."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randint(0, 9, (queries,), generator=generator)
    gallery = torch.tensor([1, 2, 4, 5, 7])[torch.randint(0, 5, (images,), generator=generator)]
    query[0] = gallery[0]
    left_out = torch.rand(queries, images, generator=generator) < 1 / 3
    left_out[0, 0] = False
    return query, gallery, left_out


@pytest.mark.parametrize("cmc", ["images", "identities"])
@pytest.mark.parametrize("seed", range(4))
def test_signs_and_extremes_rank_as_numbers_do(seed: int, cmc: str) -> None:
    """-0.0 equals 0.0 and ranks by position; subnormals are no zeros."""
    query, gallery, left_out = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    distance = torch.tensor(VALUES)[torch.randint(0, len(VALUES), left_out.shape, generator=generator)]
    expected = naive(distance.double().numpy(), query.tolist(), gallery.tolist(), left_out.numpy(), cmc)
    assert agree(rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc=cmc), expected)


def test_minus_zero_is_no_nearer_than_zero() -> None:
    gallery = torch.tensor([1, 2])
    assert rank_metrics(torch.tensor([[0.0, -0.0]]), torch.tensor([1]), gallery).cmc[0] == 1
    assert rank_metrics(torch.tensor([[0.0, -0.0]]), torch.tensor([2]), gallery).cmc[0] == 0
    assert rank_metrics(torch.tensor([[0.0, -TINY]]), torch.tensor([2]), gallery).cmc[0] == 1


@pytest.mark.parametrize("value", [0.0, -3.5, HUGE, -HUGE])
@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_equal_distances_rank_by_position(value: float, cmc: str) -> None:
    query, gallery, left_out = drawn(7)
    distance = torch.full(left_out.shape, value)
    expected = naive(distance.numpy(), query.tolist(), gallery.tolist(), left_out.numpy(), cmc)
    assert agree(rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc=cmc), expected)


@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_a_query_with_everything_left_out_does_not_count(cmc: str) -> None:
    query, gallery, left_out = drawn(1)
    distance = torch.rand(left_out.shape, generator=torch.Generator().manual_seed(1))
    one = rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc=cmc)
    more = rank_metrics(
        torch.cat([distance, distance[:2]]), torch.cat([query, gallery[:2]]), gallery,
        excluded_QG=torch.cat([left_out, torch.ones(2, len(gallery), dtype=torch.bool)]), cmc=cmc,
    )  # fmt: skip
    assert more == replace(one, queries=len(query) + 2)


@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_persons_that_the_gallery_lacks_do_not_count(cmc: str) -> None:
    """Below all of the gallery's, between, above them: alone they are refused, among others they change nothing."""
    gallery, lacking = torch.tensor([3, 5, 5, 8]), torch.tensor([0, 4, 9, 2**40])
    distance = torch.tensor([[2.0, 1.0, 3.0, 0.0]])
    alone = rank_metrics(distance, torch.tensor([5]), gallery, cmc=cmc)
    among = rank_metrics(distance.expand(5, 4), torch.cat([lacking, torch.tensor([5])]), gallery, cmc=cmc)
    assert (alone.matched, alone.queries, among.matched, among.queries) == (1, 1, 1, 5)
    assert replace(among, queries=1) == alone
    assert alone.cmc[:2] == [0.0, 1.0]
    with pytest.raises(ValueError, match="no query"):
        rank_metrics(distance.expand(4, 4), lacking, gallery, cmc=cmc)


@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_one_image_in_the_gallery(cmc: str) -> None:
    found = rank_metrics(torch.tensor([[5.0], [1.0]]), torch.tensor([4, 2]), torch.tensor([4]), cmc=cmc)
    assert found == Metrics([1.0] * RANKS, 1.0, 1.0, 1.0, matched=1, queries=2)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_nothing_to_rank_is_refused(shape: tuple[int, int], cmc: str) -> None:
    query, gallery = torch.ones(shape[0], dtype=torch.int64), torch.ones(shape[1], dtype=torch.int64)
    left_out = torch.zeros(shape, dtype=torch.bool)
    for excluded in (None, left_out):
        with pytest.raises(ValueError, match="no query"):
            rank_metrics(torch.zeros(shape), query, gallery, excluded_QG=excluded, cmc=cmc)


@pytest.mark.parametrize("piece", [1, 30, 31, 95, 10_000])
@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_the_size_of_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch, piece: int, cmc: str) -> None:
    query, gallery, left_out = drawn(2)
    distance = torch.randint(0, 5, left_out.shape, generator=torch.Generator().manual_seed(2)).float()
    for excluded in (None, left_out):
        expected = rank_metrics(distance, query, gallery, excluded_QG=excluded, cmc=cmc)
        monkeypatch.setitem(metrics.PIECE, "cpu", piece)
        assert rank_metrics(distance, query, gallery, excluded_QG=excluded, cmc=cmc) == expected
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_types_rank_as_their_float64(dtype: torch.dtype) -> None:
    query, gallery, left_out = drawn(3)
    distance = torch.randn(left_out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    found = rank_metrics(distance, query, gallery, excluded_QG=left_out)
    assert found == rank_metrics(distance.double(), query, gallery, excluded_QG=left_out)
    wanted = naive(distance.double().numpy(), query.tolist(), gallery.tolist(), left_out.numpy(), "images")
    assert agree(found, wanted)


@pytest.mark.parametrize("cmc", ["images", "identities"])
def test_distances_that_float32_cannot_tell_apart_rank_by_float64(cmc: str) -> None:
    query, gallery, left_out = drawn(5)
    distance = 0.5 + 1e-12 * torch.randint(0, 40, left_out.shape, generator=torch.Generator().manual_seed(5)).double()
    assert len(distance.float().unique()) == 1
    expected = naive(distance.numpy(), query.tolist(), gallery.tolist(), left_out.numpy(), cmc)
    assert agree(rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc=cmc), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_refused_even_where_it_is_left_out(value: float) -> None:
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="NaN or inf"):
        rank_metrics(torch.tensor([[0.0, value]]), one, torch.tensor([1, 1]), excluded_QG=torch.tensor([[False, True]]))


def test_a_transposed_view_and_the_arguments_are_left_as_they_are() -> None:
    query, gallery, left_out = drawn(4)
    distance = torch.randn(left_out.shape[::-1], generator=torch.Generator().manual_seed(4))
    before = distance.clone(), left_out.clone()
    found = rank_metrics(distance.T, query, gallery, excluded_QG=left_out, cmc="identities")
    assert found == rank_metrics(distance.T.contiguous(), query, gallery, excluded_QG=left_out, cmc="identities")
    assert torch.equal(distance, before[0])
    assert torch.equal(left_out, before[1])


def test_a_large_random_gallery_equals_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    query, gallery = rng.integers(0, 60, 40), rng.integers(0, 50, 2000)
    distance = rng.standard_normal((40, 2000)).astype(np.float32).round(2)
    left_out = rng.random((40, 2000)) < 0.1
    for cmc in ("images", "identities"):
        found = rank_metrics(
            *map(torch.from_numpy, (distance, query, gallery)), excluded_QG=torch.from_numpy(left_out), cmc=cmc
        )
        assert agree(found, naive(distance, query.tolist(), gallery.tolist(), left_out, cmc))
