"""A service of the index of footage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dns.search.network import SearchNetwork, open_search_network
from tests.dns.search.conftest import Add, add, footage, footage_index, query
from tests.support.search_commands import CPU
from tests.support.served import Served, serving

__all__ = ["Add", "add", "footage", "footage_index", "query"]  # fixtures of the search


@pytest.fixture(scope="session")
def network(small_run: Path) -> SearchNetwork:
    """last.pt of the small run, which made the index. It has no state that a test changes."""
    return open_search_network(small_run / "last.pt", CPU)


@pytest.fixture(scope="module")
def served(footage_index: Path, network: SearchNetwork) -> Iterator[Served]:
    with serving(footage_index, network) as running:
        yield running


@pytest.fixture
def photo(query: Path) -> bytes:
    """The bytes of an infrared frame with two people."""
    return query.read_bytes()
