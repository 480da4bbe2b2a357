"""Every option of train_ffcv.py and eval.py: declared once, with type, default and help.

fastargs' sections and parameters, with checkers that refuse what they cannot take (its own read "False" as true and
3.7 as 3). config.py reads the values.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastargs import Param, Section
from fastargs.config import Config
from fastargs.validation import Checker

from dns.backbone import ARCHITECTURES

REQUIRED = "(required)"


class Number(Checker):
    """An int or float in a closed range; 3.7 is no int, true is no number, "1e-4" is the number it says. A number that
    is accepted can be used: no range reaches to where seeds, counts or float32 end."""

    def __init__(self, kind: type, low: float, high: float):
        self.kind, self.low, self.high = kind, low, high

    def check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        if self.kind is int and isinstance(value, float):
            raise ValueError
        if not self.low <= (number := self.kind(value)) <= self.high:  # as no NaN is
            raise ValueError
        return number

    def help(self) -> str:
        if self.kind is int:
            return f"an integer from {self.low} to {self.high}"
        return f"a number from {self.low:g} to {self.high:g}"


class Switch(Checker):
    def check(self, value: Any) -> bool:
        return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]

    def help(self) -> str:
        return "true or false"


class Choice(Checker):
    def __init__(self, *names: str):
        self.names = names

    def check(self, value: Any) -> str:
        # YAML reads a bare on, off, yes or no as a boolean.
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
        text = {"on": "true", "off": "false"}[text] if isinstance(value, bool) and "true" in self.names else text
        if text not in self.names:
            raise ValueError
        return text

    def help(self) -> str:
        return "one of " + ", ".join(self.names)


class Text(Checker):
    def check(self, value: Any) -> str:
        if not isinstance(value, str) or not value or "\0" in value:  # no file or folder has a NUL in its name
            raise ValueError
        return value

    def help(self) -> str:
        return "text without NUL"


class Names(Checker):
    """Several of some names: a YAML list, or text with commas. Kept as text with commas."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def check(self, value: Any) -> str:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list) or not parts or any(part not in self.names for part in parts):
            raise ValueError
        if len(set(parts)) < len(parts):
            raise ValueError
        return ",".join(parts)

    def help(self) -> str:
        return "some of " + ", ".join(self.names) + ", each once, with commas"


class Styles(Checker):
    """Artists of Market-Sketch-1K, by their letters."""

    def check(self, value: Any) -> str:
        letters = "".join(sorted(set(str(value).upper())))
        if not letters or set(letters) - set("ABCDEF") or len(letters) != len(str(value)):
            raise ValueError
        return letters

    def help(self) -> str:
        return "letters out of ABCDEF, each once"


AUTO_SWITCH = Choice("auto", "true", "false")
SOME = Number(int, 1, 1000)
EPOCHS = 100_000
# Rate times multiplier times weight decay is a float32 in the optimisers.
MULTIPLIER = Number(float, 0, 1000)


def declare(protocols: Sequence[str], recipes: Sequence[str]) -> Config:
    """A fresh fastargs Config with every section. The names of protocols and augmentation recipes come from outside."""
    config = Config()

    def section(name: str, text: str, /, **params: Param) -> None:
        Section(name, text, config).params(**params)

    _declare_recipe(section, recipes)
    _declare_running(section, protocols)
    return config


def _declare_recipe(section: Callable[..., None], recipes: Sequence[str]) -> None:
    """What a recipe in configs/ decides: data, augmentation, network, optimisation."""
    section(
        "data", "Data set and batches",
        set=Param(Text(), "data set, as named by python -m ffcv_convert", required=True),
        beton_root=Param(Text(), "folder of the .beton files", default="Beton"),
        persons=Param(SOME, "P: identities a batch", default=6),
        pictures=Param(SOME, "K: pictures of each modality for each identity", default=4),
        trial=Param(Number(int, 0, 9999), "RegDB's split; 0: all in turn, or the only split of a set", default=0),
        styles=Param(Styles(), "artists whose sketches to train on", default="ABCDEF"),
        replacement=Param(Choice("always", "needed"), "draw an identity's pictures with replacement", default="always"),
        source=Param(Choice("auto", "stream", "resident"), "resident: in device memory, if it fits", default="auto"),
        workers=Param(Number(int, 0, 1000), "decoding threads, 0 = all cores", default=0),
    )  # fmt: skip
    section(
        "augment", "Augmentation",
        recipe=Param(Choice(*recipes), "whose published augmentation", default="sysu"),
        pad_px=Param(Number(int, 0, 100), "black border before the random crop", default=10),
    )  # fmt: skip
    section(
        "model", "Network",
        architecture=Param(Choice(*ARCHITECTURES), "backbone", default="resnet50"),
        pretrained=Param(Text(), "imagenet, none, or a file in torchvision's layout", default="imagenet"),
        tau=Param(Number(float, 0, 1), "how fast the momentum classifiers of DD follow", default=0.2),
        dropout=Param(Number(float, 0, 1), "in CSS", default=0.01),
    )  # fmt: skip
    section(
        "optim", "Optimisation",
        name=Param(Choice("sgd", "adamw"), "SGD with Nesterov momentum, or AdamW", default="sgd"),
        lr=Param(Number(float, 0, 1e30), "peak learning rate of a group with multiplier 1", default=0.2),
        momentum=Param(Number(float, 0, 1), "of SGD", default=0.9),
        weight_decay=Param(Number(float, 0, 1000), "on every parameter", default=5e-4),
        epochs=Param(Number(int, 1, EPOCHS), "epochs, and where the learning rate reaches 0", default=100),
        peak_epoch=Param(
            Number(int, 1, EPOCHS), "epoch at which the learning rate peaks; half of a run that is shorter", default=16
        ),
        published_schedule=Param(
            Switch(), "an epoch's first iteration takes its last learning rate, and it runs one more", default=True
        ),
    )  # fmt: skip
    section(
        "multiplier", "Learning-rate multipliers of the parameter groups",
        rest=Param(MULTIPLIER, "both stems, HSS, CSS", default=0.1),
        layer3=Param(MULTIPLIER, "layer3", default=0.2),
        layer4=Param(MULTIPLIER, "layer4", default=0.25),
        neck=Param(MULTIPLIER, "BN neck", default=1.0),
        classifier=Param(MULTIPLIER, "classifier", default=1.0),
        distillation=Param(MULTIPLIER, "per-modality classifiers of DD", default=1.0),
    )  # fmt: skip


def _declare_running(section: Callable[..., None], protocols: Sequence[str]) -> None:
    """What may differ from machine to machine and from run to run."""
    section(
        "engine", "How it runs",
        device=Param(Text(), "auto, cpu, cuda, cuda:1", default="auto"),
        precision=Param(
            Choice("auto", "fp64", "fp32", "bf16", "fp16"),
            "auto: bf16 where hardware has it; fp64: to compare",
            default="auto",
        ),
        channels_last=Param(AUTO_SWITCH, "memory layout of maps; auto: on CUDA", default="auto"),
        compile=Param(AUTO_SWITCH, "torch.compile; auto: on CUDA", default="auto"),
        fused=Param(AUTO_SWITCH, "fused optimiser kernels; auto: on CUDA", default="auto"),
        graph=Param(AUTO_SWITCH, "the step as a CUDA graph; auto: on CUDA with a fused optimiser", default="auto"),
        augment=Param(Choice("auto", "device", "host"), "in the step or the loader; auto: by device", default="auto"),
    )  # fmt: skip
    section(
        "eval", "Evaluation",
        every=Param(Number(int, 0, EPOCHS), "epochs between evaluations in training, 0 = only at the end", default=1),
        protocol=Param(Choice(*protocols), "of evaluations in training (trial 0 between epochs)", required=True),
        protocols=Param(Names(["auto", *protocols]), "that eval.py reports; auto: eval.protocol", default="auto"),
        styles=Param(Styles(), "artists whose sketches to test", default="ABCDEF"),
        features=Param(Names(("bn", "z")), "that eval.py reports: after the BN neck, before it", default="bn,z"),
        re_ranking=Param(Switch(), "k-reciprocal re-ranking in eval.py; off in published tables", default=False),
        export=Param(Text(), "file.npz for eval.py to write embeddings to, or none", default="none"),
        flip=Param(Choice("published", "normalised", "off"), "mirrored images, see extract.py", default="published"),
        batch_size=Param(Number(int, 1, 4096), "images a forward pass", default=128),
        checkpoint=Param(Text(), "for eval.py, {trial} in it for a number; auto: best.pt of the run", default="auto"),
    )  # fmt: skip
    section(
        "run", "Run folder",
        root=Param(Text(), "where run folders are made", default="runs"),
        name=Param(Text(), "auto: <data.set>-seed<run.seed>", default="auto"),
        repeats=Param(SOME, "runs, with one seed after another, and their mean", default=1),
        seed=Param(Number(int, 0, 2**32 - 1), "of initial weights, batches, augmentation and dropout", default=0),
        resume=Param(Choice("auto", "never"), "auto: go on with the folder's run; never: set it aside", default="auto"),
        save_minutes=Param(Number(float, 0, 1e9), "between checkpoints inside an epoch", default=10),
        log_every=Param(Number(int, 1, 10**9), "iterations between lines of log.jsonl", default=50),
    )  # fmt: skip
