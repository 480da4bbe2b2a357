"""Writes times as text, and chooses the round ones that label an axis. All times are in UTC.

Times are milliseconds since 1970. NumPy's calendar takes any of them, Python's ends with the year 9999.
"""

from collections.abc import Iterator

import numpy as np

from dns.search.rows import Row

MOST_TICKS = 7
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
STEPS_S = (
    1, 2, 5, 10, 20, 30, MINUTE_S, 2 * MINUTE_S, 5 * MINUTE_S, 10 * MINUTE_S, 20 * MINUTE_S, 30 * MINUTE_S,
    HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S, 5 * DAY_S, 10 * DAY_S,
)  # fmt: skip
STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def moment(time_ms: int) -> str:
    """Return a time as 2026-03-02 08:15:42."""
    return str(np.datetime64(time_ms, "ms").astype("datetime64[s]")).replace("T", " ")


def when(row: Row) -> str:
    """Return from when to when a row was seen; empty where that is unknown."""
    if row.first_ms is None or row.last_ms is None:
        return ""
    first, last = moment(row.first_ms), moment(row.last_ms)
    day = first.split(" ")[0]
    return f"{first} UTC" if first == last else f"{first} to {last.removeprefix(f'{day} ')} UTC"


def ticks(low_ms: int, high_ms: int) -> Iterator[tuple[int, str, str]]:
    """Yield at most MOST_TICKS round times of a span, each with two lines of label; the second line, the day or the
    year, is empty where it is that of the tick before."""
    step_s, times_ms = _round_times(low_ms, high_ms)
    former = ""
    for time_ms in times_ms:
        upper, lower = _label(time_ms, step_s)
        yield time_ms, upper, lower if lower != former else ""
        former = lower


def _round_times(low_ms: int, high_ms: int) -> tuple[int | None, list[int]]:
    """Return the step in seconds, None for whole months, and the round times of a span."""
    for step_s in STEPS_S:
        step_ms = 1000 * step_s
        first, last = -(-low_ms // step_ms), high_ms // step_ms
        if last - first < MOST_TICKS:
            return step_s, [step_ms * number for number in range(first, last + 1)]
    first, last = (int(np.datetime64(end_ms, "ms").astype("datetime64[M]").astype(int)) for end_ms in (low_ms, high_ms))
    ages = 12 * -(-(last - first) // (12 * (MOST_TICKS - 1)))  # whole years, for a span that no other step divides
    step = next((step for step in STEPS_MONTHS if last // step - -(-first // step) < MOST_TICKS), ages)
    months = range(-(-first // step) * step, last + 1, step)
    times = [int(np.datetime64(month, "M").astype("datetime64[ms]").astype(int)) for month in months]
    return None, [time_ms for time_ms in times if low_ms <= time_ms]


def _label(time_ms: int, step_s: int | None) -> tuple[str, str]:
    day, time = moment(time_ms).split(" ")
    year, month, number = day.rsplit("-", 2)
    named = MONTHS[int(month) - 1]
    if step_s is None:
        return named, year
    if step_s >= DAY_S:
        return f"{int(number)} {named}", year
    return time if step_s < MINUTE_S else time[:5], f"{int(number)} {named} {year}"
