"""Counts what the service does, and writes it as text that Prometheus reads (exposition format 0.0.4)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16)


class Histogram:
    """Values, counted by upper limits."""

    def __init__(self, limits: Sequence[float]):
        self.limits, self.sum, self.count = limits, 0.0, 0
        self.within = [0] * len(limits)

    def add(self, value: float) -> None:
        self.sum += value
        self.count += 1
        for number, limit in enumerate(self.limits):
            self.within[number] += value <= limit

    def lines(self, name: str) -> Iterator[str]:
        for limit, count in zip(self.limits, self.within, strict=True):
            yield f'{name}_bucket{{le="{limit:g}"}} {count}'
        yield f'{name}_bucket{{le="+Inf"}} {self.count}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {self.count}"


class Metrics:
    """What /metrics says. responses: by address and status; seconds: of each search, from its first byte to the end of
    its response; batches: how many searches each batch had."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, int]] = Counter()
        self.seconds, self.batches = Histogram(SECONDS), Histogram(SIZES)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return all of it. gauges: name -> (help, value) of what is counted elsewhere."""
        lines = [*_head("dns_requests_total", "counter", "Requests that were answered, by address and status.")]
        for (path, status), count in sorted(self.responses.items()):
            lines.append(f'dns_requests_total{{path="{path}",code="{status}"}} {count}')
        lines += _head("dns_search_seconds", "histogram", "Seconds that a search took.")
        lines += self.seconds.lines("dns_search_seconds")
        lines += _head("dns_batch_size", "histogram", "Searches that were answered together.")
        lines += self.batches.lines("dns_batch_size")
        for name, (told, value) in gauges.items():
            lines += [*_head(name, "gauge", told), f"{name} {value}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
