"""How many strangers score as high: against naive loops, and the same numbers in the page."""

from pathlib import Path

import numpy as np
import pytest

from dns.evaluation.open_set import DECIDING
from dns.evaluation.strangers import POINTS, expected_strangers
from tests.support.page_modules import in_node, needs_node

Set = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def drawn(seed: int, identities: int, *, most: int = 5, width: int = 8) -> Set:
    """Queries and a gallery of the same identities, 1 to `most` images each, in random order; identity 0 is only in the
    gallery, identity 1 only among the queries."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(identities, width))
    sides = []
    for absent in (0, 1):
        person = np.repeat(np.arange(identities), rng.integers(1, most + 1, identities))
        person = rng.permutation(person[person != absent])
        embedding = centre[person] + rng.normal(size=(len(person), width))
        sides += [(embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32), person]
    return sides[0], sides[1], sides[2], sides[3]


def counted(
    query_QD: np.ndarray, person_Q: np.ndarray, gallery_GD: np.ndarray, person_G: np.ndarray, at: float
) -> tuple[float, float]:
    """Count by loops: mean over the queries of strangers and of their images that are at least as similar."""
    people = images = 0
    for query, person in zip(query_QD, person_Q, strict=True):
        found = [
            other for row, other in zip(gallery_GD, person_G, strict=True) if other != person and row @ query >= at
        ]
        people, images = people + len(set(found)), images + len(found)
    return people / len(person_Q), images / len(person_Q)


@pytest.mark.parametrize("seed", range(4))
def test_each_point_of_the_curve_is_what_loops_count(seed: int) -> None:
    given = drawn(seed, identities=9)
    curve = expected_strangers(*given)
    assert 20 < len(curve.similarity) <= POINTS
    assert (np.diff(curve.similarity) < 0).all()
    for similarity, people, images in list(zip(*curve, strict=True))[::7]:
        slightly_less = similarity - 1e-6  # of a product of matrices, a sum may be rounded otherwise than alone
        assert (people, images) == pytest.approx(counted(*given, slightly_less))


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_ends_where_ten_pairs_of_identities_decide(seed: int) -> None:
    query_QD, person_Q, gallery_GD, person_G = given = drawn(seed, identities=9)
    first = expected_strangers(*given).similarity[0]
    pairs = {
        (int(a), int(b)) for query, a in zip(query_QD, person_Q, strict=True)
        for row, b in zip(gallery_GD, person_G, strict=True) if a != b and query @ row >= first - 1e-6
    }  # fmt: skip
    assert len(pairs) == DECIDING


def test_many_images_of_few_people_tell_nothing() -> None:
    """Three identities make six pairs at most, however many images they have."""
    assert not len(expected_strangers(*drawn(0, identities=3, most=60)).similarity)


def test_more_queries_than_are_multiplied_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(5, identities=12)
    whole = expected_strangers(*given)
    monkeypatch.setattr("dns.evaluation.strangers.QUERIES", 5)
    for one, other in zip(expected_strangers(*given), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


ASK = """
import { ranked, said, similarities, strangers, toCsv } from "./search.js";
const rows = new Float32Array(given.gallery.flat());
const found = given.query.map((one) => similarities(new Float32Array(one), rows));
answer({
  similarity: found.map((one) => [...one]),
  ranked: found.map(ranked),
  strangers: given.asked.map((one) => strangers(given.curve, one)),
  nothing: strangers({ similarity: [], people: [], images: [] }, 0.5),
  said: [null, ...given.asked.map((one) => strangers(given.curve, one))].map((one) => said(one, "people")),
  csv: toCsv(["a", "b"], [[1, 'say "x", y'], ["line\\nbreak", 0.5]]),
});
"""


@needs_node
def test_the_page_computes_the_same(tmp_path: Path) -> None:
    """It ranks as NumPy does, and reads numbers between the points of the curve."""
    given = drawn(6, identities=14)
    query_QD, _, gallery_GD, _ = given
    curve = expected_strangers(*given)
    above, below = float(curve.similarity[0]) + 0.01, float(curve.similarity[-1]) - 0.01
    between = np.linspace(curve.similarity[0] - 1e-3, curve.similarity[-1] + 1e-3, 40).tolist()
    stored = {name: values.tolist() for name, values in curve._asdict().items()}
    asked = [above, below, *curve.similarity[:3].tolist(), *between]
    sent = {"query": (3 * query_QD).tolist(), "gallery": gallery_GD.tolist(), "curve": stored, "asked": asked}
    found = in_node(tmp_path, ASK, sent)
    expected = query_QD.astype(float) @ gallery_GD.T.astype(float)
    np.testing.assert_allclose(found["similarity"], expected, atol=1e-6)
    assert found["ranked"] == np.argsort(-np.array(found["similarity"]), axis=1, kind="stable").tolist()
    assert found["strangers"][0] == {"people": curve.people[0], "images": curve.images[0], "fewer": True}
    assert found["strangers"][1] == {"people": curve.people[-1], "images": curve.images[-1], "fewer": False}
    assert [one["people"] for one in found["strangers"][2:5]] == curve.people[:3].tolist()
    exact = [counted(*given, one - 1e-6) for one in between]
    for one, (people, images) in zip(found["strangers"][5:], exact, strict=True):
        assert one["people"] == pytest.approx(people, rel=0.1)
        assert one["images"] == pytest.approx(images, rel=0.1)
    assert found["nothing"] is None
    assert found["said"][:2] == ["not known", f"fewer than {curve.people[0]:#.2g}"]
    assert found["csv"] == 'a,b\r\n1,"say ""x"", y"\r\n"line\nbreak",0.5\r\n'
