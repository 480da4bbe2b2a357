"""Axes of figures: their ends, their ticks, and where a value lies on them."""

import math
from collections.abc import Sequence


def scale(values: Sequence[float], log: bool, *, whole: bool) -> tuple[float, float, list[float]]:
    """Ends and ticks of an axis. whole: the ends are ticks."""
    values = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(values), max(values)
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last = max(last, first + 1)
        every = max(1, (last - first) // 6)
        return 10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, every)]
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    if whole:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return low, high, [step * number for number in range(first, last + 1)]


def share(value: float, low: float, high: float, log: bool) -> float:
    """Where a value lies between the ends of its axis; a logarithm's 0 lies at the low end."""
    if log:
        value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))
