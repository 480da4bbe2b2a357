"""Run benchmarks: python -m benchmarks [QUESTION ...], or compare A.json B.json

Without a QUESTION, all of them run. A question is the name of a module here, whose docstring says what it asks and
compares; `measure` gives its result and `words` says it in sentences. A result is written to benchmarks/results/ as
<question>-<hardware>-<date>.json, with a Markdown table and a plot beside it. Its main figures also go into
summary-<hardware>.json there, which holds figures of a single commit. A speedup above 1 always means: ours is faster.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import compare, convert, embed, epoch, evaluate, intervals, loader, pipeline, plot, save, startup, step
from benchmarks.harness import RESULTS, digits, hardware, result_path, write_json
from dns.evaluation.results import write_text
from dns.training.environment import environment

QUESTIONS = {
    module.__name__.split(".")[-1]: module
    for module in (startup, convert, loader, pipeline, step, save, epoch, evaluate, intervals, embed)
}
# Key in the summary -> the question and the key in its result. The summary has null for what was not measured.
SUMMARY = {
    "ready_speedup_published": ("pipeline", "speedup_published"),
    "ready_speedup_best_peer": ("pipeline", "speedup_best_peer"),
    "best_peer": ("pipeline", "best_peer"),
    "ready_speedup_by_hand": ("pipeline", "speedup_by_hand"),
    "uint8_speedup_memcpy": ("loader", "speedup_memcpy"),
    "startup_warm_s": ("startup", "warm_s"),
    "convert_speedup_pillow": ("convert", "speedup_pillow"),
    "convert_speedup_pillow_threads": ("convert", "speedup_pillow_threads"),
    "metrics_speedup_sysu": ("evaluate", "speedup_sysu"),
    "metrics_speedup_llcm": ("evaluate", "speedup_llcm"),
    "metrics_speedup_regdb": ("evaluate", "speedup_regdb"),
    "step_ms": ("step", "step_ms"),
    "step_speedup_eager": ("step", "speedup_eager"),
    "save_cost_s": ("save", "cost_resnet50_s"),
    "data_wait_share": ("epoch", "wait_share"),
    "epoch_s_sysu_size": ("epoch", "epoch_s_sysu_size"),
}


def table(question: str, content: dict[str, Any]) -> str:
    """Return Markdown: one row per case, then the result in words."""
    lines = [f"| {question} | median, {content['unit']} | lowest | highest |", "| --- | --- | --- | --- |"]
    for name, case in content["cases"].items():
        lines.append(f"| {name} | {digits(case['median'])} | {digits(case['least'])} | {digits(case['most'])} |")
    return "\n".join([*lines, "", *QUESTIONS[question].words(content)]) + "\n"


def answer(question: str, place: dict[str, Any]) -> dict[str, Any]:
    """Measure one question; write its result, table and plot."""
    begin = time.perf_counter()
    content = {"question": question, **QUESTIONS[question].measure(), "environment": place}
    path = write_json(result_path(question, place), content)
    text = table(question, content)
    write_text(path.with_suffix(".md"), text)
    print(text)
    try:
        plot.draw(question, content, path.with_suffix(".svg"))
    except ImportError:
        print("note: no plot, because matplotlib is missing. Install it: pip install '.[bench]'", file=sys.stderr)
    print(f"written: {path}, after {time.perf_counter() - begin:.0f} s\n", flush=True)
    return content


def former(target: Path, now: Mapping[str, str]) -> dict[str, Any]:
    """Return the stored summary if it is of the commit and hardware of `now`; else one without values."""
    empty = {**dict.fromkeys(SUMMARY), **now}
    try:
        found = json.loads(target.read_text(encoding="utf-8")) if target.exists() else empty
        if not isinstance(found, dict):
            raise ValueError("not a summary")
    except (OSError, ValueError) as error:
        print(f"note: {target}: not readable ({error}); starting a new one", file=sys.stderr)
        return empty
    return empty | found if all(found.get(key) == value for key, value in now.items()) else empty


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "compare":
        return compare.main(arguments[1:])
    unknown = [name for name in arguments if name not in QUESTIONS]
    if unknown:
        print(f"error: unknown question {unknown[0]!r}. Choose from {', '.join(QUESTIONS)}", file=sys.stderr)
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
