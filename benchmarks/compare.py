"""What got slower between two results of one question: python -m benchmarks compare A.json B.json"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import digits

BIGGER_IS_BETTER = {"images/s"}


def verdict(before: Mapping[str, Any], after: Mapping[str, Any], unit: str) -> str:
    """slower or faster where the rounds of the two do not overlap; else "within the spread"."""
    if before["least"] <= after["most"] and after["least"] <= before["most"]:
        return "within the spread"
    return "faster" if (after["median"] > before["median"]) == (unit in BIGGER_IS_BETTER) else "slower"


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Markdown, and the names of the cases that got slower. Cases that only one of them has are left out."""
    unit = before["unit"]
    lines = [f"| case | A, {unit} | B, {unit} | B / A | |", "| --- | --- | --- | --- | --- |"]
    slower = []
    for name in before["cases"]:
        if name in after["cases"]:
            one, two = before["cases"][name], after["cases"][name]
            found = verdict(one, two, unit)
            ratio = two["median"] / one["median"]
            lines.append(f"| {name} | {shown(one)} | {shown(two)} | {ratio:.2f} | {found} |")
            if found == "slower":
                slower.append(name)
    return "\n".join(lines), slower


def shown(case: Mapping[str, Any]) -> str:
    """Median (least to most)."""
    return f"{digits(case['median'])} ({digits(case['least'])} to {digits(case['most'])})"


def read(path: Path) -> dict[str, Any]:
    """Raises ValueError, with the file and the problem, for what is no result of a question."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(case.keys() >= {"median", "least", "most"} for case in content["cases"].values()):
            raise KeyError("median, least, most")
        return {**content, "unit": str(content["unit"])}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}. Name two files of benchmarks/results/") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: no result of a benchmark. Name two files of benchmarks/results/") from None


def main(arguments: Sequence[str]) -> int:
    """0 nothing got slower, 1 something did, 2 the files cannot be compared."""
    if len(arguments) != 2:
        print(f"error: {__doc__}", file=sys.stderr)
        return 2
    try:
        before, after = (read(Path(name)) for name in arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if before["unit"] != after["unit"]:
        print(f"error: {arguments[0]} counts {before['unit']}, {arguments[1]} {after['unit']}", file=sys.stderr)
        return 2
    places = [content.get("environment", {}).get("device") for content in (before, after)]
    if places[0] != places[1]:
        print(f"note: A was measured on {places[0]}, B on {places[1]}")
    text, slower = table(before, after)
    print(text)
    print(f"slower: {', '.join(slower)}" if slower else "nothing got slower")
    return 1 if slower else 0
