"""How long does a published recipe take at least, on a card that nobody here has?

Computed, not measured, from what `make check-cuda` stored: the roofline of one training step, ResNet-50 with 48 images
of 288 x 144. All published recipes have this network and this size. A lower bound:

    minutes  = runs x (epochs x steps x step_ms + embedded x embed_ms) / 60,000
    steps    = floor(max(visible, other) / (P K)) + 1, of the training images; 1 is the published schedule's
    step_ms  = roofline of 48 images x 2 P K / 48
    embedded = epochs x (queries + gallery of trial 0) + 2 x test images x 2 (x 1 without flip)
    embed_ms = TFLOP of a step's convolutions / 3 / 48 images / assumed rate of convolutions

A batch holds P identities with K images of each modality. A network is tested after every epoch; the untrained and the
last one are tested on all images. A forward pass has at least a third of a step's convolutions. Where a gallery holds
one image of each identity and camera, one image an identity counts. A batch of 16 images moves as many weights as one
of 48, so a third of the step's time is a bound for it too. Loading, the optimiser, ranking, checkpoints and compilation
are not counted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dns.evaluation.protocols import PROTOCOLS
from dns.training.config import read_config
from ffcv_convert.beton import Modality
from ffcv_convert.beton.labels import PUBLISHED_SETS
from ffcv_convert.datasets import DATASETS

CONFIGS = Path(__file__).parent.parent / "configs"
# Operations in bf16 that the roofline assumes convolutions to reach, of the 790e12 of large matrix products.
CONVOLUTIONS_PER_S = 0.65 * 790e12
ROOFLINE_IMAGES = 48


class Recipe(NamedTuple):
    """A published recipe's sizes. images: those of a step; embedded: test images of a run, with mirrored ones."""

    runs: int
    epochs: int
    steps: int
    images: int
    embedded: int

    def minutes(self, step_ms: float, convolution_tflop: float) -> float:
        """Return the minutes of all runs. step_ms: the roofline's; convolution_tflop: that of the same step."""
        training_ms = self.epochs * self.steps * step_ms * self.images / ROOFLINE_IMAGES
        embedding_ms = self.embedded * 1e15 * convolution_tflop / 3 / ROOFLINE_IMAGES / CONVOLUTIONS_PER_S
        return self.runs * (training_ms + embedding_ms) / 60_000


def recipe(name: str) -> Recipe:
    """Return the sizes for the data set `name`, from its recipe in configs/ and its published counts."""
    config = read_config(["--config-file", str(CONFIGS / f"{name}.yaml")], description="")
    training, testing, trials = _counts(DATASETS[name].counts)
    protocol = PROTOCOLS[config.eval.protocol]
    half = config.data.persons * config.data.pictures
    larger = max(training[kind] for kind in Modality if kind in training)
    queries = testing[Modality(protocol.query)]
    gallery = testing["identities"] if protocol.shots else testing[Modality(protocol.gallery)]
    images = sum(testing[kind] for kind in Modality if kind in testing)
    flips = 1 if config.eval.flip == "off" else 2
    return Recipe(
        runs=trials * config.run.repeats,
        epochs=config.optim.epochs,
        steps=larger // half + config.optim.published_schedule,
        images=2 * half,
        embedded=config.optim.epochs * (queries + gallery) + 2 * images * flips,
    )


def _counts(counts: Mapping[str, int]) -> tuple[dict[Any, int], dict[Any, int], int]:
    """Return identities and images by modality of the training and of the test part, and the number of trials.

    A set of one part is split into halves of its identities in each trial: RegDB, whose identities all have the same
    number of images.
    """
    trials = sum(key.startswith("train-") for key in counts)
    if trials:
        share = counts["train-1 identities"] / counts["all identities"]
        half = {key: round(share * count) for key, count in _part("all", counts).items()}
        return half, half, trials
    return _part("train", counts), _part("test", counts), 1


def _part(part: str, counts: Mapping[str, int]) -> dict[Any, int]:
    named = {kind: f"{part} {kind.name.lower()} images" for kind in Modality}
    found = {kind: counts[key] for kind, key in named.items() if key in counts}
    return {"identities": counts[f"{part} identities"], **found}


def table(check: Path) -> str:
    """Return a Markdown table. check: the file that `make check-cuda` stored."""
    stored = json.loads(check.read_text(encoding="utf-8"))
    limits = stored["roofline_ms"]
    rows = [["recipe", "runs", "epochs", "steps an epoch", "images a step", "images embedded a run"]]
    rows[0] += [f"{card}, at least, minutes" for card in limits]
    rows.append(["---"] * len(rows[0]))
    for name in PUBLISHED_SETS:
        sizes = recipe(name)
        minutes = [f"{sizes.minutes(step_ms, stored['convolution_tflop']):.1f}" for step_ms in limits.values()]
        rows.append([f"`configs/{name}.yaml`", *(f"{size:,}" for size in sizes), *minutes])
    steps = " and ".join(f"{step_ms:.2f} ms ({card})" for card, step_ms in limits.items())
    where = f"From a step of {steps} and {stored['convolution_tflop']} TFLOP, commit {stored['commit'][:7]}:\n\n"
    return where + "".join("| " + " | ".join(cells) + " |\n" for cells in rows)
