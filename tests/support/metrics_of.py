"""Computes the metrics of a protocol's trials, without their rankings."""

from typing import Any

from dns.evaluation.metrics import Metrics
from dns.evaluation.ranking import rank_trials


def run_protocol(*arguments: Any, **options: Any) -> list[Metrics]:
    """Return the metrics of each trial; rank_trials explains the arguments."""
    return [ranking.metrics for ranking in rank_trials(*arguments, **options)]
