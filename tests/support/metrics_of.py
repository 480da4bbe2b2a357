"""Computes metrics: of a protocol's trials without their rankings, and of a matrix of distances."""

from typing import Any

from dns.evaluation.metrics import Metrics, mean_metrics, rank_queries
from dns.evaluation.ranking import rank_trials


def run_protocol(*arguments: Any, **options: Any) -> list[Metrics]:
    """Return the metrics of each trial; rank_trials explains the arguments."""
    return [ranking.metrics for ranking in rank_trials(*arguments, **options)]


def rank_metrics(*arguments: Any, **options: Any) -> Metrics:
    """Return the mean metrics of a matrix of distances; rank_queries explains the arguments."""
    return mean_metrics(rank_queries(*arguments, **options))
