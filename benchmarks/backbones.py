"""How large is each backbone under each method that fits it, and how fast does it train?

    python -m benchmarks.backbones                              # all pairs: half an hour on two cores
    python -m benchmarks.backbones resnet50 vit_base_patch16    # these backbones alone

Repeats the trainer's own step on one batch of 8 images of 288 x 144 in fp32, with random weights and each method's own
recipe for SYSU-MM01: 2 identities x 2 images of each modality, of which CAJ's recipe has a second view. Every round
builds every network again, because all of them together do not fit into memory, and takes one step before it measures.
Writes benchmarks/results/backbones-<hardware>-<date>.json and prints the table. Images/s are for a comparison of
networks: a GPU and a larger batch give others.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import digits, drawn_set, interleaved, summarise
from benchmarks.seeds import store
from benchmarks.training import REPOSITORY, Training, assemble, one_batch
from dns.backbones import ARCHITECTURES
from dns.methods import METHODS
from dns.training.environment import environment
from dns.training.options import DEFAULT_METHOD
from ffcv_convert.common.errors import user_errors

ROUNDS = 3  # each takes ten minutes on two cores
HEADER = ("backbone", "method", "parameters, million", "TFLOP a step", "images/s", "lowest", "highest", "TFLOP/s")


def fitting(architectures: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each of these backbones with each method that it fits."""
    for architecture in architectures:
        for name, method in METHODS.items():
            if ARCHITECTURES[architecture].pooled_stem or not method.network.pooled_stem:
                yield architecture, name


def open_pair(beton_root: Path, architecture: str, method: str) -> Training:
    """Assemble the training of a method on a backbone, by the method's recipe for SYSU-MM01 at the set's own size."""
    recipe = REPOSITORY / "configs" / ("" if method == DEFAULT_METHOD else method) / "sysu.yaml"
    return assemble([
        "--config-file", str(recipe), f"--data.beton_root={beton_root}", "--data.height_px=0", "--data.width_px=0",
        "--data.persons=2", "--data.pictures=2", f"--model.architecture={architecture}", "--model.pretrained=none",
        "--engine.device=cpu", "--engine.precision=fp32",
    ])  # fmt: skip


class Pair:
    """A backbone and a method. facts: what does not change from round to round, after the first one."""

    def __init__(self, beton_root: Path, architecture: str, method: str):
        self._opened = partial(open_pair, beton_root, architecture, method)
        self.facts: dict[str, Any] = {"architecture": architecture, "method": method}

    def images_per_s(self) -> float:
        training = self._opened()
        batch, work = one_batch(training), training.work
        self.facts |= {
            "parameters": sum(one.numel() for group in training.model.groups().values() for one in group),
            "tflop": work.tflop, "images": work.images, "size_px": training.loader.size_px,
        }  # fmt: skip
        training.step(*batch)
        begin = time.perf_counter()
        training.step(*batch)
        return work.speed(work.images, time.perf_counter() - begin)["images_per_s"]


def measure(architectures: Sequence[str]) -> dict[str, Any]:
    """Return a row for each pair: parameters that are trained, TFLOP (10^12 operations) of a step, images/s."""
    root = drawn_set()[1].parent
    pairs = {f"{one}, {method}": Pair(root, one, method) for one, method in fitting(architectures)}
    figures = summarise(interleaved({name: pair.images_per_s for name, pair in pairs.items()}, ROUNDS))
    return {"rows": [{**pair.facts, "images_per_s": figures[name]} for name, pair in pairs.items()]}


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row for each backbone and method."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for row in content["rows"]:
        speed = row["images_per_s"]
        lines.append([
            row["architecture"], row["method"], f"{row['parameters'] / 1e6:.1f}", digits(row["tflop"]),
            *(digits(speed[key]) for key in ("median", "least", "most")),
            digits(speed["median"] / row["images"] * row["tflop"]),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    unknown = [name for name in arguments if name not in ARCHITECTURES]
    if unknown:
        print(f"error: unknown backbone {unknown[0]!r}. Choose from {', '.join(ARCHITECTURES)}", file=sys.stderr)
        return 2
    place = environment(torch.device("cpu"))
    content = {**measure(arguments or list(ARCHITECTURES)), "environment": place}
    print(table(content))
    return store("backbones", content, place)


if __name__ == "__main__":
    with user_errors():  # a backbone may need a library that is not installed
        sys.exit(main(sys.argv[1:]))
