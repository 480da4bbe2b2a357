"""Searches that come together: batches, a full queue, and failures that stay with whom they belong to."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dns.search import answer
from dns.search.network import SearchNetwork
from dns.search.store import Index
from ffcv_convert.common.errors import CheckpointError, DataError
from tests.support.refusals import assert_tells
from tests.support.served import Gate, Response, Served, serving, wait_for


@pytest.fixture
def own(footage_index: Path, network: SearchNetwork) -> Iterator[Served]:
    """A service of this test alone."""
    with serving(footage_index, network) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads


def held(
    own: Served, pool: ThreadPoolExecutor, gate: Gate, photo: bytes, asked: list[dict[str, Any]]
) -> list["Future[Response]"]:
    """Send a search that waits at the gate, then the others, which wait for it."""
    first = pool.submit(own.search, photo)
    wait_for(lambda: gate.calls)
    others = [pool.submit(own.search, photo, **parameters) for parameters in asked]
    wait_for(lambda: own.worker.waiting() == len(asked))
    return [first, *others]


def test_what_waits_is_embedded_and_compared_together(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten searches behind one: a call of the network for each modality, a comparison for each filter."""
    asked = [
        *({"hits": hits} for hits in range(1, 6)), *({"cameras": "cam1"} for _ in range(3)),
        {"modality": "visible", "fpir": 0.5}, {"modality": "visible", "cameras": "cam1"},
    ]  # fmt: skip
    alone = [own.search(photo, **parameters).json for parameters in asked]
    gate, compared = Gate(network.embed), []
    together = answer.answer_together
    monkeypatch.setattr(network, "embed", gate)

    def counted(
        index: Index, questions: list[answer.Question], *rest: Any, **options: Any
    ) -> list[list[answer.Answer]]:
        compared.append(len(questions))
        return together(index, questions, *rest, **options)

    monkeypatch.setattr("dns.serve.searching.answer_together", counted)
    before = own.metrics.batches.count
    responses = held(own, pool, gate, photo, asked)
    gate.open()
    found = [response.result().json for response in responses[1:]]
    assert [len(crops) for crops, _ in gate.calls] == [1, 8, 2]
    assert compared == [1, 6, 4]
    assert own.metrics.batches.count - before == 2
    for one, other in zip(found, alone, strict=True):
        check_alike(one, other)


def check_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A network rounds otherwise in a batch of another size, by a few units of float32."""
    for mine, theirs in zip(one["answers"], other["answers"], strict=True):
        assert [hit["number"] for hit in mine["hits"]] == [hit["number"] for hit in theirs["hits"]]
        similarity = [hit["similarity"] for hit in theirs["hits"]]
        assert [hit["similarity"] for hit in mine["hits"]] == pytest.approx(similarity, abs=1e-5)
        assert (mine["searched"], mine["rows"]) == (theirs["searched"], theirs["rows"])


def test_a_mistake_in_a_batch_is_answered_alone(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "embed", gate := Gate(network.embed))
    first = pool.submit(own.search, photo)
    wait_for(lambda: gate.calls)
    bodies = (photo, b"no image", photo[:200], photo)
    others = [pool.submit(own.search, body) for body in bodies]
    others += [pool.submit(own.search, photo, box="900,900,5,5"), pool.submit(own.search, photo, cameras="none")]
    wait_for(lambda: own.worker.waiting() == 6)
    gate.open()
    assert first.result().status == 200
    assert [response.result().status for response in others] == [200, 400, 400, 200, 400, 400]
    assert [len(crops) for crops, _ in gate.calls] == [1, 2]


def test_a_batch_has_a_limit(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "embed", gate := Gate(network.embed))
    responses = held(own, pool, gate, photo, [{}] * 20)
    gate.open()
    assert {response.result().status for response in responses} == {200}
    assert [len(crops) for crops, _ in gate.calls] == [1, 16, 4]


def test_a_full_queue_says_when_to_come_again(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dns.serve.app.WAITING", 4)
    monkeypatch.setattr(network, "embed", gate := Gate(network.embed))
    responses = held(own, pool, gate, photo, [{}] * 3)
    assert "dns_queue_length 3" in own.ask("GET", "/metrics").body.decode()
    for refused in (own.search(photo), own.search(bytes(900_000)), own.ask("GET", "/thumbnails/0")):
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert_tells(refused.error, "wait")
    assert own.ask("GET", "/health").status == 200
    gate.open()
    assert {response.result().status for response in responses} == {200}
    assert own.search(photo).status == own.ask("GET", "/thumbnails/0").status == 200


def test_where_the_network_fails_the_service_says_so_and_goes_on(
    own: Served, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise CheckpointError("last.pt: gives embeddings that cannot be compared. Name another checkpoint")

    def breaks(*_: object) -> None:
        raise RuntimeError("a secret of the machine")

    for function, status in ((fails, 503), (breaks, 500)):
        with monkeypatch.context() as patch:
            patch.setattr(network, "embed", function)
            found = own.search(photo)
        assert found.status == status
        assert "secret" not in found.error
    assert "RuntimeError: a secret of the machine" in capsys.readouterr().err
    assert own.search(photo).status == 200


def test_a_small_image_that_is_damaged_fails_no_search(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise DataError("thumbnails.bin: damaged. Restore the index")

    monkeypatch.setattr(network, "embed", gate := Gate(network.embed))
    monkeypatch.setattr("dns.serve.library.Opened.thumbnail", damaged)
    first = pool.submit(own.search, photo)
    wait_for(lambda: gate.calls)
    others = [pool.submit(own.ask, "GET", "/thumbnails/0"), pool.submit(own.search, photo)]
    wait_for(lambda: own.worker.waiting() == 2)
    gate.open()
    assert [response.result().status for response in (first, *others)] == [200, 503, 200]
    assert_tells(others[0].result().error, "thumbnails.bin")


def test_the_service_computes_in_one_thread(
    own: Served, pool: ThreadPoolExecutor, network: SearchNetwork, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, embed = [], network.embed
    monkeypatch.setattr(
        network, "embed", lambda *given: names.append(threading.current_thread().name) or embed(*given)
    )  # fmt: skip
    assert {response.status for response in pool.map(own.search, [photo] * 12)} == {200}
    assert set(names) == {"search"}
