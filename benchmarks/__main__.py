"""Measure: python -m benchmarks [QUESTION ...]

Without a name, every question that needs no GPU. Each writes benchmarks/results/<question>-<hardware>-<date>.json, and
what was measured goes into benchmarks/results/summary-<hardware>.json.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import convert, evaluate, loader, pipeline, startup
from benchmarks.harness import RESULTS, hardware, write_json, write_result
from dns.run import environment

QUESTIONS = {module.__name__.split(".")[-1]: module for module in (startup, convert, loader, pipeline, evaluate)}
# Key of the summary -> question and key of its result; those that nothing measures yet stay null.
SUMMARY: dict[str, tuple[str, str] | None] = {
    "ready_ratio_published": ("pipeline", "ratio_published"),
    "ready_ratio_best_peer": ("pipeline", "ratio_best_peer"),
    "best_peer": ("pipeline", "best_peer"),
    "uint8_ratio_memcpy": ("loader", "ratio"),
    "startup_warm_s": ("startup", "median_s"),
    "convert_ratio_pillow": ("convert", "ratio"),
    "metrics_ratio_sysu": ("evaluate", "ratio_sysu"),
    "metrics_ratio_llcm": ("evaluate", "ratio_llcm"),
    "metrics_ratio_regdb": ("evaluate", "ratio_regdb"),
    "step_ms": None,
    "step_ratio_eager": None,
    "data_wait_share": None,
    "epoch_s_sysu_size": None,
}


def table(question: str, content: dict[str, Any]) -> str:
    """Markdown: a row a case, then the ratios."""
    lines = [f"| {question} | median, {content['unit']} | least | most |", "| --- | --- | --- | --- |"]
    for name, case in content["cases"].items():
        lines.append(f"| {name} | {case['median']:,.4g} | {case['least']:,.4g} | {case['most']:,.4g} |")
    rest = {key: value for key, value in content.items() if key not in ("cases", "unit", "environment")}
    return "\n".join(lines) + "\n\n" + ", ".join(f"{key} {value}" for key, value in rest.items()) + "\n"


def main(arguments: Sequence[str]) -> int:
    unknown = [name for name in arguments if name not in QUESTIONS]
    if unknown:
        print(f"error: no question {unknown[0]!r}. There are {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    here = environment(torch.device("cpu"))
    target = RESULTS / f"summary-{hardware(here)}.json"
    summary = json.loads(target.read_text(encoding="utf-8")) if target.exists() else dict.fromkeys(SUMMARY)
    for name in arguments or QUESTIONS:
        begin = time.perf_counter()
        content = {**QUESTIONS[name].measure(), "environment": here}
        if name == "startup":
            content["median_s"] = content["cases"]["import to first batch"]["median"]
        print(table(name, content))
        print(f"written: {write_result(name, content, here)}, after {time.perf_counter() - begin:.0f} s\n", flush=True)
        summary |= {key: content[source[1]] for key, source in SUMMARY.items() if source and source[0] == name}
    summary |= {"hardware": here["device"], "commit": here["commit"]}
    print(f"written: {write_json(target, summary)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
