"""Times as lists write them become milliseconds since 1970 in UTC."""

import pytest

from dns.search.times import to_ms


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-01", 0),
        ("1970-01-02T00:00", 86_400_000),
        ("1970-01-01 00:01:02.5", 62_500),
        ("1970-01-01T00:00:00,0019", 2),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-05-31T12:05:09.250Z", 1_717_157_109_250),
        ("2024-05-31T14:05:09.250+02:00", 1_717_157_109_250),
        ("20240531T083509.25-0330", 1_717_157_109_250),
        ("2024-05-31 13:05:09.250 +01", 1_717_157_109_250),
        ("1717157109.25", 1_717_157_109_250),
        ("1717157109", 1_717_157_109_000),
        ("-0.5", -500),
        ("2024-05-31", 1_717_113_600_000),
    ],
)
def test_dates_and_seconds_become_milliseconds(text: str, wanted: int) -> None:
    assert to_ms(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "20240531", "31.05.2024", "2024-13-01", "2024-02-30T00:00", "2024-05-31T25:00",
        "2024-05-31T12:05:09 CET", "1717157109250", "inf", "nan", "1e400", "\N{ARABIC-INDIC DIGIT TWO}024-05-31",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """Milliseconds since 1970 among them: as seconds they would lie tens of thousands of years ahead."""
    with pytest.raises(ValueError, match=r".*"):
        to_ms(text)
