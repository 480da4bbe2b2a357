"""Writes the tables of the documentation from the stored results: python -m benchmarks.page

Between `<!-- NAME -->` and `<!-- end -->` in docs/*.md stands what the newest benchmarks/results/NAME*.json says: its
table, and its plot if there is one. A test compares both.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import __main__ as menu
from benchmarks import (
    ablation,
    backbones,
    cuda_tables,
    duration,
    exports,
    gpu,
    methods,
    ranks,
    search_people,
    search_size,
    search_stores,
    seeds,
    serve,
    sysu_size,
    video,
)  # fmt: skip
from benchmarks.harness import RESULTS

DOCS = Path(__file__).parent.parent / "docs"
CUDA = {"cuda-check": cuda_tables.check, "cuda-ablation": cuda_tables.ablation, "cuda-numbers": cuda_tables.numbers}
BY_NAME: dict[str, Any] = {  # how the names of their results begin -> modules with a table of their own
    "ablation": ablation,
    "ranks": ranks, "methods": methods, "exports": exports, "search-size": search_size, "search-stores": search_stores,
    "search-people": search_people, "serve": serve, "seeds": seeds, "sysu-size": sysu_size, "backbones": backbones,
    "video": video,
}  # fmt: skip
BLOCK = re.compile(r"<!-- ([\w-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def newest(name: str) -> Path:
    """Return the newest stored result whose name begins so, by its date. A question's bare name means a CPU's."""
    found = sorted(
        (path for path in RESULTS.glob(f"{name}*.json") if not gpu.of_a_gpu(path)), key=lambda path: path.stem[-10:]
    )
    if not found:
        raise FileNotFoundError(f"{RESULTS / name}*.json: no such result. Measure it: python -m benchmarks")
    return found[-1]


def render(text: str) -> str:
    """Return `text` with every block filled in."""

    def filled(block: re.Match[str]) -> str:
        name, check = block[1], RESULTS / "cuda-check.json"
        if name == "gpu":
            shown = gpu.table(gpu.stored("", RESULTS), check)
        else:
            shown = duration.table(check) if name == "duration" else _block(newest(name))
        return f"<!-- {name} -->\n{shown}<!-- end -->"

    return BLOCK.sub(filled, text)


def _block(path: Path) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    plot = path.with_suffix(".svg")
    shown = f"\n![The rounds of each case](../benchmarks/results/{plot.name})\n" if plot.exists() else ""
    return f"{_where(content)}\n\n{_table(path.stem, content)}{shown}"


def _table(name: str, content: dict[str, Any]) -> str:
    question = name.partition("-")[0]
    if question in menu.QUESTIONS:
        return menu.table(question, content)
    if name in CUDA:
        return CUDA[name](content)
    found = next((module for begin, module in BY_NAME.items() if name.startswith(begin)), None)
    if found is not None:
        return found.table(content)
    return faults_table(content)


def _where(content: dict[str, Any]) -> str:
    if "cases" in content and "races" in content:
        return cuda_tables.where_numbers(content)
    if "host" in content:
        return cuda_tables.where(content)
    place = content["environment"] if "environment" in content else content["runs"][0]["environment"]
    return f"{place['device']}, {place['cores']} cores, torch {place['torch']}, commit {place['commit'][:7]}:"


def faults_table(content: dict[str, Any]) -> str:
    counts = {key.replace("_", " "): value for key, value in content.items() if key != "environment"}
    rows = [list(counts), ["---"] * len(counts), [f"{count:,}" for count in counts.values()]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def main() -> int:
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
