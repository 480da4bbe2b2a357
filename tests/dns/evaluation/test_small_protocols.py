"""RegDB's and the sketch sets' protocols by hand, and what makes a protocol impossible."""

import pytest
import torch

from dns.evaluation.protocols import INFRARED, PROTOCOLS, SKETCH, VISIBLE, fitting
from dns.evaluation.trial import Images, same_person_and_camera
from ffcv_convert.beton.labels import UNKNOWN_CAMERA
from ffcv_convert.common.errors import ProtocolError
from tests.support.made_sets import Sample, make_set, random_set
from tests.support.metrics_of import run_protocol
from tests.support.refusals import refusal

pytestmark = pytest.mark.numerical


def test_regdb_searches_all_of_the_other_modality_and_leaves_nothing_out() -> None:
    """One camera for all. Infrared 1 finds 2, 1, 1: AP (1/2 + 2/3) / 2; infrared 2 finds 2, 1, 1: AP 1."""
    test = make_set([(2, 0, VISIBLE, "c"), (1, 0, VISIBLE, "b"), (2, 0, INFRARED, "q2"), (1, 0, VISIBLE, "a"),
                     (1, 0, INFRARED, "q1")])  # fmt: skip
    embedding = torch.tensor([[1.0, 0.0], [0.8, 0.6], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    protocol = PROTOCOLS["regdb-t2v"]
    assert [test.path_N[n] for n in protocol.queries(test)] == ["q1", "q2"]
    assert [[test.path_N[n] for n in gallery] for gallery in protocol.galleries(test)] == [["a", "b", "c"]]
    (result,) = run_protocol(protocol, test, embedding)
    assert result.cmc[:3] == [0.5, 1.0, 1.0]
    assert result.mAP == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert result.mINP == pytest.approx((2 / 3 + 1) / 2)
    # q1 and q2 are alike to each image: q1 comes first, which is right for a and b and wrong for c.
    (result,) = run_protocol(PROTOCOLS["regdb-v2t"], test, embedding)
    assert result.cmc[:2] == [pytest.approx(2 / 3), 1.0]


@pytest.mark.parametrize("name", ["sysu-all", "regdb-t2v", "mask1k"])
def test_rows_are_the_queries_and_the_named_trials_galleries(name: str) -> None:
    modality = SKETCH if name == "mask1k" else INFRARED
    test, protocol = random_set([(1, VISIBLE), (2, VISIBLE), (3, modality), (9, 5)], seed=1), PROTOCOLS[name]
    for trials in ([0], [2, 7]) if name == "sysu-all" else ([0],):
        ranked = {*protocol.queries(test)}.union(*(protocol.galleries(test)[trial] for trial in trials))
        assert protocol.rows(test, trials).tolist() == sorted(ranked)
        assert len(ranked) < len(test.person_N)


def test_near_neighbours_rank_by_float64_products() -> None:
    """The products 1 and 1 - 2^-26 are one number in float32; there the wrong photo, which stands first, would win."""
    test = make_set([(1, 1, SKETCH, "q"), (2, 0, VISIBLE, "a"), (1, 0, VISIBLE, "b")])
    embedding = torch.tensor([[1.0, 2.0**-13], [1.0, -(2.0**-13)], [1.0, 0.0]])
    query, photos = embedding[0], embedding[1:]
    assert len((photos @ query).unique()) == 1
    assert run_protocol(PROTOCOLS["pku"], test, embedding)[0].cmc[0] == 1


def test_images_count_not_identities() -> None:
    """Two images of person 2 before person 1's: rank 3 of images, where SYSU-MM01 and LLCM would say 2."""
    test = make_set([(1, 1, SKETCH, "q"), (2, 0, VISIBLE, "a"), (2, 0, VISIBLE, "b"), (1, 0, VISIBLE, "c")])
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    for name in ("mask1k", "mask1k-multi", "pku"):
        assert run_protocol(PROTOCOLS[name], test, embedding)[0].cmc[:3] == [0, 0, 1]


SKETCHES: list[Sample] = [
    (1, 1, SKETCH, "A/1.jpg"),
    (1, 2, SKETCH, "B/1.jpg"),
    (1, 0, VISIBLE, "photo/1.jpg"),
    (2, 0, VISIBLE, "photo/2.jpg"),
]


def test_the_mean_of_two_sketches_finds_what_one_of_them_does_not() -> None:
    """Artist A's sketch looks like photo 2, B's like neither; half way between them lies photo 1."""
    embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    (single,) = run_protocol(PROTOCOLS["mask1k"], make_set(SKETCHES), embedding)
    (pku,) = run_protocol(PROTOCOLS["pku"], make_set(SKETCHES), embedding)
    (multi,) = run_protocol(PROTOCOLS["mask1k-multi"], make_set(SKETCHES), embedding)
    assert single == pku
    assert (single.cmc[:2], single.mAP, single.mINP) == ([0.5, 1.0], pytest.approx(0.75), pytest.approx(0.75))
    assert (multi.cmc[:2], multi.mAP, multi.mINP) == ([1.0, 1.0], 1.0, 1.0)


def test_means_are_taken_within_an_identity() -> None:
    """Both identities are found only if each mean is of its own sketches, however the rows lie."""
    rows = [(2, 1, SKETCH, "s"), (1, 1, SKETCH, "t"), (2, 0, VISIBLE, "u"), (1, 2, SKETCH, "v"), (1, 0, VISIBLE, "w"),
            (2, 2, SKETCH, "x")]  # fmt: skip
    embedding = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0.6, 0.8], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    (result,) = run_protocol(PROTOCOLS["mask1k-multi"], make_set(rows), embedding)
    assert (result.cmc[0], result.mAP) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("regdb-t2v", "infrared"), ("llcm-v2i", "infrared"), ("mask1k", "sketch"), ("sysu-all", "infrared")],
)
def test_a_set_without_the_modality_is_refused_by_name(name: str, missing: str) -> None:
    photos = make_set([(1, 1, VISIBLE, "a"), (1, 2, VISIBLE, "b")])
    with refusal(ProtocolError, name, missing):
        run_protocol(PROTOCOLS[name], photos, torch.eye(2))


def test_a_set_without_photos_is_refused() -> None:
    with refusal(ProtocolError, "pku", "visible"):
        run_protocol(PROTOCOLS["pku"], make_set([(1, 1, SKETCH, "a")]), torch.eye(1))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("regdb-t2v", [(1, 0, INFRARED, "q"), (2, 0, VISIBLE, "g")]),
        ("llcm-i2v", [(1, 1, INFRARED, "q"), (1, 1, VISIBLE, "left out"), (2, 1, VISIBLE, "g")]),
        ("sysu-all", [(1, 3, INFRARED, "q"), (1, 2, VISIBLE, "left out"), (2, 1, VISIBLE, "g")]),
        ("sysu-indoor", [(1, 3, INFRARED, "q"), (1, 4, VISIBLE, "outdoor"), (2, 1, VISIBLE, "g")]),
        ("sysu-indoor", [(1, 3, INFRARED, "q"), (1, 4, VISIBLE, "outdoor alone")]),
    ],
)
@pytest.mark.parametrize("re_ranking", [False, True])
def test_no_query_with_a_match_is_an_error_that_names_the_protocol(
    name: str, rows: list[Sample], re_ranking: bool
) -> None:
    with refusal(ProtocolError, name, "trial 0", "no query"):
        run_protocol(PROTOCOLS[name], make_set(rows), torch.eye(len(rows)), re_ranking=re_ranking)


@pytest.mark.parametrize("re_ranking", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_not_laid_on_cameras(re_ranking: bool, value: float) -> None:
    test = make_set([(1, 3, INFRARED, "q"), (1, 1, VISIBLE, "g"), (2, 1, VISIBLE, "h")])
    embedding = torch.eye(3)
    embedding[1, 0] = value
    with refusal(ProtocolError, "sysu-all", "trial 0", "NaN") as caught:
        run_protocol(PROTOCOLS["sysu-all"], test, embedding, re_ranking=re_ranking)
    assert "cameras" not in str(caught.value)


def test_sysu_leaves_out_camera_2_for_camera_3_of_any_identity() -> None:
    """Both queries see 2 in camera 2, then 1 in camera 1; from camera 3 the first does not count."""
    test = make_set([(1, 3, INFRARED, "q3"), (1, 6, INFRARED, "q6"), (2, 2, VISIBLE, "a"), (1, 1, VISIBLE, "b")])
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.8, 0.6]])
    (result,) = run_protocol(PROTOCOLS["sysu-all"], test, embedding, trials=[0])
    assert result.cmc[:2] == [0.5, 1.0]
    assert result.mAP == pytest.approx(0.75)


def test_trials_are_the_ones_asked_for() -> None:
    test = make_set([(1, 3, INFRARED, "q"), *((1, 1, VISIBLE, f"{n}") for n in range(9)), (2, 1, VISIBLE, "z")])
    embedding = torch.tensor([[1.0], *([n / 9] for n in range(9)), [0.5]])
    every = run_protocol(PROTOCOLS["sysu-all"], test, embedding)
    assert len({result.cmc[0] for result in every}) == 2
    assert run_protocol(PROTOCOLS["sysu-all"], test, embedding, trials=[7, 2]) == [every[7], every[2]]


PHOTOS = (VISIBLE, INFRARED)


@pytest.mark.parametrize(
    ("modalities", "cameras", "names"),
    [
        (PHOTOS, (1, 2), ["llcm-i2v", "llcm-v2i"]),
        (PHOTOS, (0, 0), ["regdb-t2v", "regdb-v2t"]),
        (PHOTOS, (1, 0), ["llcm-i2v", "llcm-v2i"]),  # 0 is a camera
        (PHOTOS, (1, UNKNOWN_CAMERA), ["regdb-t2v", "regdb-v2t"]),
        (PHOTOS, (UNKNOWN_CAMERA, UNKNOWN_CAMERA), ["regdb-t2v", "regdb-v2t"]),
        (PHOTOS, (1, 1), ["regdb-t2v", "regdb-v2t"]),  # every match would be excluded
        ((VISIBLE, SKETCH), (0, 0), ["pku"]),
        ((VISIBLE, SKETCH), (1, 2), ["pku"]),
    ],
)
def test_a_set_of_ones_own_gets_protocols_that_it_can_have(
    modalities: tuple[int, ...], cameras: tuple[int, ...], names: list[str]
) -> None:
    """And every query has a match in it: with exclusion by camera, the others would be refused."""
    samples = [
        (person, camera, modality, f"{person}{modality}")
        for person in (1, 2)
        for camera, modality in zip(cameras, modalities, strict=True)
    ]
    test = make_set(samples)
    assert fitting(test) == names
    for name in names:
        run_protocol(PROTOCOLS[name], test, torch.eye(4))


@pytest.mark.parametrize(
    ("changing", "name"), [(0, "regdb-t2v"), (1, "regdb-t2v"), (18, "regdb-t2v"), (19, "llcm-i2v"), (20, "llcm-i2v")]
)
@pytest.mark.parametrize("first", [0, 1])
def test_nine_in_ten_queries_need_a_match_in_another_camera(changing: int, name: str, first: int) -> None:
    """Of twenty identities that have both modalities, `changing` change cameras; forty have no match and do not count.
    The number of the first camera does not count either."""
    samples = [(person, first, VISIBLE, f"{person}v") for person in range(40)]
    samples += [(person, first + (person < changing), INFRARED, f"{person}i") for person in range(20)]
    samples += [(person, first + 1, INFRARED, f"{person}i") for person in range(40, 60)]
    assert fitting(make_set(samples))[0] == name


def test_both_directions_need_matches_in_another_camera() -> None:
    """Every visible image has one in another camera; two of three infrared images have not."""
    infrared = [(1, camera, INFRARED, f"{n}") for n, camera in enumerate((1, 1, 2))]
    assert fitting(make_set([(1, 1, VISIBLE, "v"), *infrared]))[0] == "regdb-t2v"


def test_an_unknown_camera_gives_no_match_in_another_one() -> None:
    query, gallery = (
        Images(torch.ones(len(cameras)), torch.tensor(cameras))
        for cameras in ([1, UNKNOWN_CAMERA], [1, 2, UNKNOWN_CAMERA])
    )
    assert same_person_and_camera(query, gallery).tolist() == [[True, False, True], [True, True, True]]


@pytest.mark.parametrize("modality", PHOTOS)
def test_no_protocol_fits_one_modality(modality: int) -> None:
    with refusal(ProtocolError, "visible", "infrared", "sketches"):
        fitting(make_set([(1, 1, modality, "a")]))
