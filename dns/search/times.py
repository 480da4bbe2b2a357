"""Reads the times that lists and users write."""

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FORMS = "ISO 8601, such as 2024-05-31T14:05:09.250+02:00, or seconds since 1970"
ISO_8601 = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)? ?(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


@lru_cache(maxsize=4096)  # all boxes of a frame have one time
def to_ms(text: str) -> int:
    """Return milliseconds since 1970 in UTC. text: ISO 8601, as UTC where it names no zone, or seconds since 1970: a
    number alone is always seconds. Raises ValueError for anything else and beyond the years 1 to 9999, as milliseconds
    would be in place of seconds."""
    if re.fullmatch(r"(19|20)\d{6}", text):  # 20260302 would be a day in 1970
        raise ValueError(f"{text} is a day or a number of seconds. Write 2026-03-02")
    try:
        seconds = float(text)
    except ValueError:
        return _of_date(text)
    try:
        EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{text} s is beyond the year 9999") from None
    return round(1000 * seconds)


def _of_date(text: str) -> int:
    if not (found := ISO_8601.fullmatch(text)):
        raise ValueError(f"not {FORMS}")
    *parts, fraction, zone = found.groups(default="0")
    year, month, day, hour, minute, second = map(int, parts)
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    return (moment - EPOCH) // timedelta(milliseconds=1) + round(1000 * float(f"0.{fraction}")) - _zone_ms(zone)


def _zone_ms(zone: str) -> int:
    """Return how far local time is ahead of UTC. zone: +02:00, -0330, +01, Z, or 0 for none."""
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = 60 * int(digits[:2]) + int(digits[2:])
    return (-1 if zone[0] == "-" else 1) * minutes * 60_000
