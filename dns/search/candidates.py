"""Narrows a search to candidates: rows that something quicker than a comparison with every row has chosen.

exact.py compares the candidates with the query, from the index's own rows in float64. So the similarities are exact,
and all that can go wrong is that a row is missed because it is no candidate. The filters choose rows first: the number
of rows that were searched, from which strangers and false alarms are counted, is the one of an exact search.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dns.search.exact import Part
from dns.search.rows import Filters

FEWEST, TIMES = 1000, 50  # candidates of a query: at least so many, and so many for each hit that is asked for


class Candidates(Protocol):
    """What chooses candidates."""

    def narrow(self, query_D: np.ndarray, filters: Filters, parts: Sequence[Part], hits: int) -> list[Part]:
        """Return the parts with fewer chosen rows. query_D: float32, of length 1; parts: what the filters choose, a
        part a segment; hits: how many rows will be shown at most. Raises DataError where it cannot choose."""


def wanted(hits: int) -> int:
    """Return how many candidates to take for so many hits."""
    return max(FEWEST, TIMES * hits)
