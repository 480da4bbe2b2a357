"""Measure: python -m benchmarks [QUESTION ...], or compare A.json B.json

Without a name, every question that this machine can answer. Each writes its result to benchmarks/results/, as
<question>-<hardware>-<date>.json, a Markdown table and a plot beside it, and what was measured goes into
summary-<hardware>.json there, which holds the figures of one commit only. The questions are the modules' names; each
says what it asks and compares.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import compare, convert, epoch, evaluate, loader, pipeline, plot, startup, step
from benchmarks.harness import RESULTS, digits, hardware, result_path, write_json
from dns.evaluation.results import write_text
from dns.training.environment import environment

QUESTIONS = {
    module.__name__.split(".")[-1]: module for module in (startup, convert, loader, pipeline, step, epoch, evaluate)
}
# Key of the summary -> question and key of its result; null where it was not measured.
SUMMARY = {
    "ready_ratio_published": ("pipeline", "ratio_published"),
    "ready_ratio_best_peer": ("pipeline", "ratio_best_peer"),
    "best_peer": ("pipeline", "best_peer"),
    "ready_ratio_by_hand": ("pipeline", "ratio_by_hand"),
    "uint8_ratio_memcpy": ("loader", "ratio_memcpy"),
    "startup_warm_s": ("startup", "warm_s"),
    "convert_ratio_pillow": ("convert", "ratio_pillow"),
    "metrics_ratio_sysu": ("evaluate", "ratio_sysu"),
    "metrics_ratio_llcm": ("evaluate", "ratio_llcm"),
    "metrics_ratio_regdb": ("evaluate", "ratio_regdb"),
    "step_ms": ("step", "step_ms"),
    "step_ratio_eager": ("step", "ratio_eager"),
    "data_wait_share": ("epoch", "wait_share"),
    "epoch_s_sysu_size": ("epoch", "epoch_s_sysu_size"),
}


def table(question: str, content: dict[str, Any]) -> str:
    """Markdown: a row a case, then what was made of them."""
    lines = [f"| {question} | median, {content['unit']} | least | most |", "| --- | --- | --- | --- |"]
    for name, case in content["cases"].items():
        lines.append(f"| {name} | {digits(case['median'])} | {digits(case['least'])} | {digits(case['most'])} |")
    skipped = ("question", "cases", "unit", "environment", "engine")
    rest = {key: value for key, value in content.items() if key not in skipped and value is not None}
    shown = [f"{key} {digits(value)}" if isinstance(value, float) else f"{key} {value}" for key, value in rest.items()]
    return "\n".join(lines) + "\n\n" + ", ".join(shown) + "\n"


def answer(question: str, place: dict[str, Any]) -> dict[str, Any]:
    """Measure one question and write its result, table and plot."""
    begin = time.perf_counter()
    content = {"question": question, **QUESTIONS[question].measure(), "environment": place}
    path = write_json(result_path(question, place), content)
    text = table(question, content)
    write_text(path.with_suffix(".md"), text)
    print(text)
    try:
        plot.draw(question, content, path.with_suffix(".svg"))
    except ImportError:
        print("note: no plot without matplotlib; pip install '.[bench]'", file=sys.stderr)
    print(f"written: {path}, after {time.perf_counter() - begin:.0f} s\n", flush=True)
    return content


def former(target: Path, now: Mapping[str, str]) -> dict[str, Any]:
    """The summary that is there, if it was measured on the commit and hardware of `now`; else one without values."""
    empty = {**dict.fromkeys(SUMMARY), **now}
    try:
        found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else empty
        if not isinstance(found, dict):
            raise ValueError("no summary")
    except (OSError, ValueError) as error:
        print(f"note: {target}: not readable ({error}); begun anew", file=sys.stderr)
        return empty
    return empty | found if all(found.get(key) == value for key, value in now.items()) else empty


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "compare":
        return compare.main(arguments[1:])
    unknown = [name for name in arguments if name not in QUESTIONS]
    if unknown:
        print(f"error: no question {unknown[0]!r}. There are {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    place = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    target = RESULTS / f"summary-{hardware(place)}.json"
    summary = former(target, {"hardware": place["device"], "commit": place["commit"]})
    for name in arguments or QUESTIONS:
        content = answer(name, place)
        summary |= {key: content[source] for key, (question, source) in SUMMARY.items() if question == name}
        write_json(target, summary)
    print(f"written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
