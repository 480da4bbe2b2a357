"""Compares published numbers with the rows of the table: which convention did a number come from?"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from dns.evaluation.tables import COLUMNS, Row, name_of
from ffcv_convert.common.errors import ConfigError

NEAR = 1e-9  # per cent, for numbers that lie halfway between two roundings


def read_claim(text: str) -> dict[str, Decimal]:
    """Read rank1=57.45,mAP=64.11: column -> per cent, with its digits. Raises ConfigError."""
    columns = {name.lower(): name for name in COLUMNS}
    claim = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\d{1,3}(?:\.\d+)?)\s*%?\s*", part)
        name = columns.get(found[1].lower().replace("-", "")) if found else None
        if not found or name is None or not 0 <= Decimal(found[2]) <= 100:
            raise ConfigError(
                f"--claim: {part!r} is not a column and its per cent. Write as in rank1=57.45,mAP=64.11; the columns "
                f"are {', '.join(COLUMNS)}"
            )
        claim[name] = Decimal(found[2])
    return claim


def agrees(row: Row, claim: Mapping[str, Decimal]) -> bool:
    """Whether every claimed number is the row's, rounded to the claim's digits."""
    return all(_apart(row, name, value) <= _half_a_digit(value) for name, value in claim.items())


def _apart(row: Row, name: str, value: Decimal) -> float:
    return abs(100 * row[name] - float(value))


def _half_a_digit(value: Decimal) -> float:
    return 0.5 * 10.0 ** int(value.as_tuple().exponent) + NEAR


def verdict(rows: Sequence[Row], claim: Mapping[str, Decimal]) -> str:
    """Say which rows agree with the claim; where none does, which is nearest: the one whose largest difference is the
    smallest."""
    said = ", ".join(f"{name}={value}" for name, value in claim.items())
    agreeing = [row for row in rows if agrees(row, claim)]
    if agreeing:
        return "\n".join(f"{said} agrees with {name_of(row)}" for row in agreeing)
    nearest = min(rows, key=lambda row: max(_apart(row, name, value) for name, value in claim.items()))
    apart = ", ".join(f"{name} {100 * nearest[name]:.2f}" for name in claim)
    return f"{said} agrees with no row. The nearest is {name_of(nearest)}: {apart}"
