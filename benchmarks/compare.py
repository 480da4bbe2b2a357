"""Compares two results of one question and says what became slower: python -m benchmarks compare A.json B.json"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import digits

BIGGER_IS_BETTER = {"images/s"}
LEAST_ROUNDS = 3  # with fewer, the spread is unknown
OURS_ALONE = {"startup", "step", "save", "embed"}  # questions that time this program only


def verdict(before: Mapping[str, Any], after: Mapping[str, Any], unit: str) -> str:
    """Return "slower" or "faster" if the rounds of the two do not overlap, else "within the spread"."""
    rounds = min(len(case.get("rounds", ())) for case in (before, after))
    if rounds < LEAST_ROUNDS:
        return f"{'one round' if rounds == 1 else f'{rounds} rounds'}, no verdict"
    if before["least"] <= after["most"] and after["least"] <= before["most"]:
        return "within the spread"
    return "faster" if speedup(before, after, unit) > 1 else "slower"


def speedup(before: Mapping[str, Any], after: Mapping[str, Any], unit: str) -> float:
    """Return how many times as fast B is as A, by the medians: above 1, B is faster."""
    ratio = after["median"] / before["median"]
    return ratio if unit in BIGGER_IS_BETTER else 1 / ratio


def is_ours(question: str, case: str) -> bool:
    """Whether a case times this program, not a peer."""
    return question in OURS_ALONE or re.search(r"\bours\b", case) is not None


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return a Markdown table, and the names of our own cases that became slower."""
    unit, question = before["unit"], before["question"]
    lines = [f"| case | A, {unit} | B, {unit} | speed-up | |", "| --- | --- | --- | --- | --- |"]
    slower = []
    for name in {**before["cases"], **after["cases"]}:
        one, two = before["cases"].get(name), after["cases"].get(name)
        if one is None or two is None:
            lines.append(f"| {name} | {shown(one)} | {shown(two)} | | only in {'A' if one else 'B'} |")
            continue
        found = verdict(one, two, unit)
        lines.append(f"| {name} | {shown(one)} | {shown(two)} | {speedup(one, two, unit):.2f} | {found} |")
        if found == "slower" and is_ours(question, name):
            slower.append(name)
    return "\n".join(lines), slower


def shown(case: Mapping[str, Any] | None) -> str:
    """Return the case's median (lowest to highest) as text."""
    return f"{digits(case['median'])} ({digits(case['least'])} to {digits(case['most'])})" if case else ""


def read(path: Path) -> dict[str, Any]:
    """Read a result. Raises ValueError, naming file and problem, if the file is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(case.keys() >= {"median", "least", "most"} for case in content["cases"].values()):
            raise KeyError("median, least, most")
        return {**content, "unit": str(content["unit"]), "question": str(content["question"])}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}. Name two files of benchmarks/results/") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a result of a benchmark. Name two files of benchmarks/results/") from None


def main(arguments: Sequence[str]) -> int:
    """Compare two results. Exit code: 0 nothing of ours became slower, 1 something did, 2 they cannot be compared."""
    if len(arguments) != 2:
        print(f"error: {__doc__}", file=sys.stderr)
        return 2
    try:
        before, after = (read(Path(name)) for name in arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for key, does in (("question", "answers"), ("unit", "measures")):
        if before[key] != after[key]:
            print(f"error: {arguments[0]} {does} {before[key]}, {arguments[1]} {after[key]}", file=sys.stderr)
            return 2
    places = [content.get("environment", {}).get("device") for content in (before, after)]
    if places[0] != places[1]:
        print(f"note: A was measured on {places[0]}, B on {places[1]}")
    text, slower = table(before, after)
    print(text)
    print(f"slower: {', '.join(slower)}" if slower else "nothing of ours became slower")
    return 1 if slower else 0
