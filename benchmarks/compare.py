"""What got slower between two results of one question: python -m benchmarks compare A.json B.json"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import digits

BIGGER_IS_BETTER = {"images/s"}
LEAST_ROUNDS = 3  # fewer say nothing about the spread
OURS_ALONE = {"startup", "step"}  # questions without a peer


def verdict(before: Mapping[str, Any], after: Mapping[str, Any], unit: str) -> str:
    """slower or faster where the rounds of the two do not overlap; else "within the spread"."""
    rounds = min(len(case.get("rounds", ())) for case in (before, after))
    if rounds < LEAST_ROUNDS:
        return f"{'one round' if rounds == 1 else f'{rounds} rounds'}, no verdict"
    if before["least"] <= after["most"] and after["least"] <= before["most"]:
        return "within the spread"
    return "faster" if (after["median"] > before["median"]) == (unit in BIGGER_IS_BETTER) else "slower"


def is_ours(question: str, case: str) -> bool:
    """Whether a case times this program, not a peer."""
    return question in OURS_ALONE or re.search(r"\bours\b", case) is not None


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Markdown, and the names of our own cases that got slower."""
    unit, question = before["unit"], before["question"]
    lines = [f"| case | A, {unit} | B, {unit} | B / A | |", "| --- | --- | --- | --- | --- |"]
    slower = []
    for name in {**before["cases"], **after["cases"]}:
        one, two = before["cases"].get(name), after["cases"].get(name)
        if one is None or two is None:
            lines.append(f"| {name} | {shown(one)} | {shown(two)} | | only in {'A' if one else 'B'} |")
            continue
        found = verdict(one, two, unit)
        lines.append(f"| {name} | {shown(one)} | {shown(two)} | {two['median'] / one['median']:.2f} | {found} |")
        if found == "slower" and is_ours(question, name):
            slower.append(name)
    return "\n".join(lines), slower


def shown(case: Mapping[str, Any] | None) -> str:
    """Median (least to most)."""
    return f"{digits(case['median'])} ({digits(case['least'])} to {digits(case['most'])})" if case else ""


def read(path: Path) -> dict[str, Any]:
    """Raises ValueError, with the file and the problem, for what is no result of a question."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(case.keys() >= {"median", "least", "most"} for case in content["cases"].values()):
            raise KeyError("median, least, most")
        return {**content, "unit": str(content["unit"]), "question": str(content["question"])}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}. Name two files of benchmarks/results/") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: no result of a benchmark. Name two files of benchmarks/results/") from None


def main(arguments: Sequence[str]) -> int:
    """0 nothing of ours got slower, 1 something did, 2 the files cannot be compared."""
    if len(arguments) != 2:
        print(f"error: {__doc__}", file=sys.stderr)
        return 2
    try:
        before, after = (read(Path(name)) for name in arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for key, does in (("question", "answers"), ("unit", "counts")):
        if before[key] != after[key]:
            print(f"error: {arguments[0]} {does} {before[key]}, {arguments[1]} {after[key]}", file=sys.stderr)
            return 2
    places = [content.get("environment", {}).get("device") for content in (before, after)]
    if places[0] != places[1]:
        print(f"note: A was measured on {places[0]}, B on {places[1]}")
    text, slower = table(before, after)
    print(text)
    print(f"slower: {', '.join(slower)}" if slower else "nothing of ours got slower")
    return 1 if slower else 0
