"""Protocols of video against plain loops: frames, means, exclusions, ranks; and what makes them impossible."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dns.evaluation.protocols import INFRARED, PROTOCOLS, VISIBLE
from dns.evaluation.ranking import compare, rank_trials, shown_rows
from dns.evaluation.some_rows import SomeRows
from dns.evaluation.tables import OF_TRACKLETS, ranked_row
from dns.evaluation.tracklets import TrackletMean, at_equal_steps, first_of_parts
from dns.evaluation.trial import TestSet
from ffcv_convert.common.errors import ProtocolError
from tests.support.made_sets import make_video_set, random_set, random_video_set
from tests.support.refusals import refusal

pytestmark = pytest.mark.numerical
VIDEO = [name for name, protocol in PROTOCOLS.items() if protocol.tracklet]


def frames_of(name: str, length: int) -> list[int]:
    """The frames that the public loaders take of a tracklet, in the words of a list."""
    if name.endswith("all-frames"):
        return list(range(length))
    if name.startswith("bupt"):
        return [int(place) for place in np.linspace(0, length, 10, endpoint=False, dtype=int)]
    step = math.ceil(length / 6)
    filled = list(range(length)) + [length - 1] * (6 * step - length)
    return filled[::step]


def naive_sides(name: str, test: TestSet) -> list[list[int]]:
    """The tracklets that search and those that are searched."""
    found = test.tracklets
    assert found is not None
    i2v = "-i2v-" in name
    sides: list[list[int]] = [[], []]
    for number in range(len(found)):
        if name.startswith("vcm") and name.endswith("published") and found.samples_T[number] < 12:
            continue
        infrared = found.modality_T[number] == INFRARED
        if name.startswith("vcm"):  # infrared queries and visible gallery, or both lists the other way round
            in_list = found.query_T[number] if infrared else found.gallery_T[number]
            side = 0 if infrared == i2v else 1
        else:
            side = 0 if infrared == i2v else 1
            in_list = (found.query_T, found.gallery_T)[side][number]
        if in_list:
            sides[side].append(number)
    return sides


def naive_mean(name: str, test: TestSet, number: int, embedding_ND: Tensor) -> list[float]:
    assert test.tracklets is not None
    first, length = int(test.tracklets.sample_T[number]), int(test.tracklets.samples_T[number])
    total = [0.0] * embedding_ND.shape[1]
    for frame in frames_of(name, length):
        for column, value in enumerate(embedding_ND[first + frame].tolist()):
            total[column] += value
    norm = math.sqrt(sum(value * value for value in total))
    return [value / norm for value in total]


def naive_metrics(name: str, test: TestSet, embedding_ND: Tensor) -> tuple[float, float, float]:
    found = test.tracklets
    assert found is not None
    queries, gallery = naive_sides(name, test)
    means = {number: naive_mean(name, test, number, embedding_ND) for number in (*queries, *gallery)}
    firsts, precisions, penalties = [], [], []
    for query in queries:
        ranked = []
        for place, other in enumerate(gallery):
            one, two = found.sample_T[query], found.sample_T[other]
            same = test.person_N[one] == test.person_N[two]
            if name.startswith("vcm") and same and test.camera_N[one] == test.camera_N[two]:
                continue
            likeness = sum(left * right for left, right in zip(means[query], means[other], strict=True))
            ranked.append((-likeness, place, bool(same)))
        right = [rank for rank, (_, _, same) in enumerate(sorted(ranked), start=1) if same]
        if right:
            firsts.append(right[0] == 1)
            precisions.append(sum(n / rank for n, rank in enumerate(right, start=1)) / len(right))
            penalties.append(len(right) / right[-1])
    return float(np.mean(firsts)), float(np.mean(precisions)), float(np.mean(penalties))


def embeddings(test: TestSet, seed: int, width: int = 6) -> Tensor:
    """Frames of an identity lie near each other."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(int(test.person_N.max()) + 1, width, generator=generator)
    noise = torch.randn(len(test.person_N), width, generator=generator)
    return torch.nn.functional.normalize(centre[torch.from_numpy(test.person_N)] + 2.5 * noise, dim=1)


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("seed", [0, 1])
def test_tracklets_rank_as_plain_loops_rank_them(name: str, seed: int) -> None:
    test = random_video_set(seed)
    embedding = embeddings(test, seed)
    (ranking,) = rank_trials(PROTOCOLS[name], test, embedding)
    metrics = ranking.metrics
    assert (metrics.cmc[0], metrics.mAP, metrics.mINP) == pytest.approx(naive_metrics(name, test, embedding))
    assert 0.1 < metrics.mAP < 0.99
    queries, gallery = naive_sides(name, test)
    assert len(ranking.query_person_Q) == len(queries)
    compared = compare(ranking.trial, test, embedding)
    assert compared.distance_QG.shape == (len(queries), len(gallery))
    for row, number in zip(shown_rows(ranking.trial, test), queries, strict=True):
        assert test.path_N[row].split("/")[0] == str(number)  # shown by its first frame
        assert row == 0 or test.path_N[row - 1].split("/")[0] != str(number)


@pytest.mark.parametrize("name", VIDEO)
def test_only_the_frames_that_are_averaged_need_an_embedding(name: str) -> None:
    test, protocol = random_video_set(2), PROTOCOLS[name]
    embedding, known = embeddings(test, 2), protocol.rows(test)
    assert test.tracklets is not None
    wanted = {
        int(test.tracklets.sample_T[number]) + frame
        for side in naive_sides(name, test)
        for number in side
        for frame in frames_of(name, int(test.tracklets.samples_T[number]))
    }
    assert known.tolist() == sorted(wanted)
    some = SomeRows(known, embedding[known])
    assert rank_trials(protocol, test, some)[0].metrics == rank_trials(protocol, test, embedding)[0].metrics
    rest = torch.full_like(embedding, torch.nan)
    rest[known] = embedding[known]
    assert rank_trials(protocol, test, rest)[0].metrics == rank_trials(protocol, test, embedding)[0].metrics
    rest[known[3]] = torch.nan
    with refusal(ProtocolError, name, "NaN"):
        rank_trials(protocol, test, rest)


def test_frames_of_every_length_are_those_of_the_public_loaders() -> None:
    length_T = np.arange(1, 200)
    for rule, name in (
        (first_of_parts(length_T, 6), "vcm-i2v-published"),
        (at_equal_steps(length_T, 10), "bupt-i2v-published"),
    ):
        assert rule.tolist() == [frames_of(name, length) for length in length_T.tolist()]


def test_means_in_pieces_are_the_means(monkeypatch: pytest.MonkeyPatch) -> None:
    test, embedding = random_video_set(3), embeddings(random_video_set(3), 3)
    assert test.tracklets is not None
    whole = TrackletMean().means(test.tracklets, test.tracklets.sample_T, embedding)
    monkeypatch.setattr("dns.evaluation.tracklets.FRAMES_AT_ONCE", 7)
    assert torch.allclose(TrackletMean().means(test.tracklets, test.tracklets.sample_T, embedding), whole)


def test_re_ranking_takes_means_too_and_rows_say_so() -> None:
    test = random_video_set(4)
    embedding = embeddings(test, 4)
    for again in (False, True):
        rankings = rank_trials(PROTOCOLS["vcm-i2v-all-frames"], test, embedding, re_ranking=again)
        row = ranked_row("vcm-i2v-all-frames", rankings, feature="BN(Z)", dataset="hitsz_vcm")
        assert row["feature"] == "BN(Z)" + OF_TRACKLETS
        assert row["queries"] == len(rankings[0].query_person_Q)
        assert row["interval"]["identities"]["count"] == 7
    still = rank_trials(PROTOCOLS["regdb-t2v"], random_set([(1, VISIBLE), (2, INFRARED)], seed=1), embedding)
    assert ranked_row("regdb-t2v", still, feature="BN(Z)")["feature"] == "BN(Z)"


def test_what_a_set_lacks_is_named() -> None:
    still = random_set([(1, VISIBLE), (2, INFRARED)], seed=0)
    with refusal(ProtocolError, "bupt-i2v-published", "tracklets"):
        PROTOCOLS["bupt-i2v-published"].check(still)
    short = make_video_set([(1, 1, INFRARED, 11, "query"), (1, 2, VISIBLE, 30, "gallery")])
    PROTOCOLS["vcm-v2i-all-frames"].check(short)
    with refusal(ProtocolError, "vcm-i2v-published", "infrared query", "12 frames"):
        PROTOCOLS["vcm-i2v-published"].check(short)
    with refusal(ProtocolError, "bupt-v2i-all-frames", "visible query"):
        PROTOCOLS["bupt-v2i-all-frames"].check(short)
