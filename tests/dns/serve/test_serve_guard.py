"""Who may ask: tokens, names of the host, pages of elsewhere; and what is refused at start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dns.search.network import SearchNetwork
from dns.serve import __main__ as command
from dns.serve.guard import is_loopback
from dns.serve.service import listener, read_token
from ffcv_convert.common.errors import ConfigError
from tests.conftest import Refused
from tests.support.refusals import assert_tells, refusal
from tests.support.served import Served, serving

TOKEN = "0123456789abcdef-secret"
PRIVATE = ("/thumbnails/0", "/about", "/metrics", "/openapi.json", "/nothing")
PUBLIC = ("/", "/main.js", "/page.css", "/demo.css", "/serve.css", "/health")


@pytest.fixture(scope="module")
def locked(footage_index: Path, network: SearchNetwork) -> Iterator[Served]:
    """A service that other machines could reach: with a token."""
    with serving(footage_index, network, token=TOKEN, local=False) as running:
        yield running


WRONG = ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"]


@pytest.mark.parametrize("authorization", WRONG)
def test_a_wrong_token_sees_nothing_of_the_index(authorization: str, locked: Served, photo: bytes) -> None:
    for path in PRIVATE:
        found = locked.ask("GET", path, authorization=authorization)
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in found.error
    assert locked.ask("POST", "/search?modality=infrared", photo, authorization=authorization).status == 401
    for path in PUBLIC:
        assert locked.ask("GET", path, authorization=authorization).status == 200
    assert locked.ask("GET", "/health").json == {"status": "ok", "token": True}


def test_the_right_token_opens_it_under_any_name_of_the_machine(locked: Served, photo: bytes) -> None:
    asked = {"authorization": f"Bearer {TOKEN}", "host": "cameras.example:8080"}
    assert locked.ask("POST", "/search?modality=infrared", photo, **asked).status == 200
    assert [locked.ask("GET", path, **asked).status for path in PRIVATE] == [200, 200, 200, 200, 404]


FOREIGN = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "169.254.0.1",
    "",
    "[",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_was_made_to_lead_here_is_refused(host: str, served: Served, photo: bytes) -> None:
    """A page of that name would ask as its own page: same Origin, same site."""
    before, headers = served.metrics.batches.count, {"host": host, "origin": f"http://{host}"}
    for method, path in (("POST", "/search?modality=infrared"), ("GET", "/thumbnails/0"), ("GET", "/")):
        found = served.ask(method, path, photo if method == "POST" else None, **headers, sec_fetch_site="same-origin")
        assert found.status == 403
        assert_tells(found.error, "127.0.0.1")
    assert served.metrics.batches.count == before


def test_the_names_of_this_machine_are_its_own(served: Served) -> None:
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1", f"127.0.0.1:{served.port}", "[::1]:8080", "127.0.0.2"):
        found = served.ask("GET", "/about", host=host, origin=f"http://{host}", sec_fetch_site="same-origin")
        assert found.status == 200, host


PAGES = [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:3000"},
    {"origin": "http://localhost.evil.example"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
]  # fmt: skip


@pytest.mark.parametrize("headers", PAGES)
def test_a_page_of_elsewhere_is_refused(headers: dict[str, str], served: Served, locked: Served, photo: bytes) -> None:
    before = served.metrics.batches.count
    asked = {"host": "localhost", **headers}
    assert served.ask("POST", "/search?modality=infrared", photo, **asked).status == 403
    assert_tells(served.ask("GET", "/thumbnails/0", **asked).error, "own page")
    assert locked.ask("GET", "/about", **asked, authorization=f"Bearer {TOKEN}").status == 403
    assert served.metrics.batches.count == before


def test_the_page_s_own_requests_and_those_of_programs_are_answered(served: Served, photo: bytes) -> None:
    own = f"127.0.0.1:{served.port}"
    for headers in ({}, {"origin": f"http://{own}", "sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}):
        assert served.ask("POST", "/search?modality=infrared", photo, **headers).status == 200


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback(name: str) -> None:
    assert is_loopback(name)
    assert not is_loopback(f"{name}.example")


def test_a_host_that_others_reach_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DNS_SERVE_TOKEN", raising=False)
    assert read_token(None, "127.0.0.1") is None
    for host in ("0.0.0.0", "::", "192.168.0.7", "cameras.example"):
        with refusal(ConfigError, f"--host={host}", "--token-file=token", "DNS_SERVE_TOKEN"):
            read_token(None, host)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token", "0.0.0.0") == read_token(tmp_path / "token", "127.0.0.1") == TOKEN
    monkeypatch.setenv("DNS_SERVE_TOKEN", f"of-the-environment-{TOKEN}")
    assert read_token(None, "0.0.0.0") == f"of-the-environment-{TOKEN}"
    assert read_token(tmp_path / "token", "0.0.0.0") == TOKEN


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words are no token", b"\xff" * 20, "täglich neu 0123456".encode()]
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with refusal(ConfigError, tmp_path / "token"):
        read_token(tmp_path / "token", "127.0.0.1")


def test_mistakes_at_the_command_stop_it_before_anything_is_loaded(
    footage_index: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DNS_SERVE_TOKEN", raising=False)
    monkeypatch.setattr("dns.serve.service.network_of", lambda *_: pytest.fail("the network was opened"))
    assert_tells(refused(command.main, [footage_index, "--host=0.0.0.0"]), "--host=0.0.0.0", "token")
    assert_tells(refused(command.main, [footage_index, f"--token-file={tmp_path / 'none'}"]), tmp_path / "none")
    assert_tells(refused(command.main, [tmp_path / "none", "--port=0"]), tmp_path / "none", "no index")
    with listener("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert_tells(refused(command.main, [footage_index, f"--port={port}"]), f"--port={port}")
    assert_tells(refused(command.main, [footage_index, "--port=99999"]), "--port", "99999")
    assert_tells(refused(command.main, [footage_index, "--host=no.such.host.invalid"]), "--host=no.such.host.invalid")
    assert "--ports" in refused(command.main, [footage_index, "--ports=1"])


def test_a_missing_library_is_named(footage_index: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "uvicorn" else name)
    assert_tells(refused(command.main, [footage_index]), "uvicorn", ".venv/bin/pip install '.[serve]'")
