"""Every option of train_ffcv.py and eval.py, declared once: type, default, range, help, and whether it may change when
a run is resumed.

config.py makes --help, the reading of YAML and command line, and the stored config.yaml of these declarations. The type
of a field says what it takes: a number in a range, true or false, one of some names (Literal or `names`), or text.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fastargs.validation import Checker

from dns.backbone import ARCHITECTURES
from dns.evaluation.protocols import PROTOCOLS
from dns.training.checkers import Choice, FilePath, Letters, Names, Number, Switch, Text
from ffcv_convert.beton.labels import PUBLISHED_SETS, STYLES

MAX_EPOCHS = 100_000
Resumed = Callable[[Any], Any]
AutoSwitch = Literal["auto", "true", "false"]


def unchanged(value: Any) -> Any:
    """Of an option that decides numbers of a training: all of it stays as it was when a run is resumed."""
    return value


def free(value: Any) -> None:
    """Of an option that decides none: it may change."""


def device_type(value: str) -> str:
    """cuda:0 may become cuda:1, but no cpu."""
    return str(value).partition(":")[0]


@dataclass(frozen=True)
class Option:
    """What a field of a section declares beside type and default. limits: of a number, both included; every number
    between them can be used, as a seed, a count or a float32. resumed: what of the value stays the same when a run is
    resumed."""

    help: str
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    letters: str = ""
    path: bool = False
    resumed: Resumed = unchanged

    def checker(self, kind: Any) -> Checker:
        """What reads a value of the type `kind`."""
        if get_origin(kind) is Literal:
            return Choice(*get_args(kind))
        if kind is bool:
            return Switch()
        if self.limits is not None:
            return Number(kind, *self.limits)
        if self.letters:
            return Letters(self.letters)
        if self.names:
            return Choice(*self.names) if kind is str else Names(self.names)
        return FilePath() if self.path else Text()


def option(
    default: Any,
    help: str,
    limits: tuple[float, float] | None = None,
    *,
    names: Iterable[str] = (),
    letters: str = "",
    path: bool = False,
    resumed: Resumed = unchanged,
) -> Any:
    """A field of a section, see Option. default: MISSING if it has to be given."""
    return field(default=default, metadata={"option": Option(help, limits, tuple(names), letters, path, resumed)})


SOME = (1, 1000)
EPOCHS = (1, MAX_EPOCHS)
SHARE = (0, 1)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data set and batches"""

    set: str = option(MISSING, "data set, as named by python -m ffcv_convert")
    beton_root: str = option("Beton", "folder of the .beton files", path=True, resumed=free)
    persons: int = option(6, "P: identities a batch", SOME)
    pictures: int = option(4, "K: images of each modality for each identity", SOME)
    trial: int = option(0, "RegDB's split; 0: all in turn, or the only split of a set", (0, 9999))
    styles: str = option(STYLES, "artists whose sketches to train on", letters=STYLES)
    replacement: Literal["always", "needed"] = option("always", "draw an identity's images with replacement")
    source: Literal["auto", "stream", "resident"] = option(
        "auto", "resident: in device memory, if it fits", resumed=free
    )
    workers: int = option(0, "decoding threads, 0 = all cores", (0, 1000), resumed=free)


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Augmentation"""

    recipe: str = option("sysu", "whose published augmentation", names=PUBLISHED_SETS)
    pad_px: int = option(10, "black border before the random crop", (0, 100))


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Network"""

    architecture: str = option("resnet50", "backbone", names=ARCHITECTURES)
    pretrained: str = option("imagenet", "imagenet, none, or a file in torchvision's layout", path=True)
    tau: float = option(0.2, "how fast the momentum classifiers of DD follow", SHARE)
    dropout: float = option(0.01, "in CSS", SHARE)


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """Optimisation"""

    name: Literal["sgd", "adamw"] = option("sgd", "SGD with Nesterov momentum, or AdamW")
    lr: float = option(0.2, "peak learning rate of a group with multiplier 1", (0, 1e30))
    momentum: float = option(0.9, "of SGD", SHARE)
    weight_decay: float = option(5e-4, "on every parameter", (0, 1000))
    epochs: int = option(100, "epochs, and where the learning rate reaches 0", EPOCHS)
    peak_epoch: int = option(16, "epoch at which the learning rate peaks; half of a run that is shorter", EPOCHS)
    published_schedule: bool = option(
        True, "an epoch's first iteration takes its last learning rate, and it runs one more"
    )
    accumulate: int = option(1, "published batches an optimiser step on each device", SOME)
    gather: bool = option(False, "circle, alignment and identity terms over the batches of all ranks, not of each")
    scale_lr: Literal["none", "sqrt", "linear"] = option(
        "none", "how optim.lr grows with the number of published batches a step, over all ranks"
    )


# Keeps learning rate * multiplier * weight decay inside float32, in which the optimisers compute it.
MULTIPLIER = (0, 1000)


@dataclass(frozen=True, kw_only=True)
class MultiplierOptions:
    """Learning-rate multipliers of the parameter groups"""

    rest: float = option(0.1, "both stems, HSS, CSS", MULTIPLIER)
    layer3: float = option(0.2, "layer3", MULTIPLIER)
    layer4: float = option(0.25, "layer4", MULTIPLIER)
    neck: float = option(1.0, "BN neck", MULTIPLIER)
    classifier: float = option(1.0, "classifier", MULTIPLIER)
    distillation: float = option(1.0, "per-modality classifiers of DD", MULTIPLIER)


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How it runs"""

    device: str = option("auto", "auto, cpu, cuda, cuda:1", resumed=device_type)
    precision: Literal["auto", "fp64", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: bf16 where hardware has it; fp64: to compare"
    )
    channels_last: AutoSwitch = option("auto", "memory layout of maps; auto: on CUDA")
    compile: AutoSwitch = option("auto", "torch.compile; auto: on CUDA")
    fused: AutoSwitch = option("auto", "fused optimiser kernels; auto: on CUDA")
    graph: AutoSwitch = option("auto", "the step as a CUDA graph; auto: on CUDA with a fused optimiser")
    combo_kernels: AutoSwitch = option("auto", "Inductor joins independent kernels; auto: on CUDA")
    cooperative_reductions: AutoSwitch = option("auto", "Inductor splits long reductions; auto: off")
    cudnn_benchmark: AutoSwitch = option("auto", "cuDNN tries its algorithms; auto: off")
    augment: Literal["auto", "device", "host"] = option("auto", "in the step or the loader; auto: by device")


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """Evaluation"""

    every: int = option(1, "epochs between evaluations in training, 0 = only at the end", (0, MAX_EPOCHS))
    protocol: str = option(
        MISSING,
        "of evaluations in training (trial 0 between epochs); auto: by the test set",
        names=("auto", *PROTOCOLS),
    )
    protocols: tuple[str, ...] = option(
        ("auto",), "that eval.py reports; auto: eval.protocol", names=("auto", *PROTOCOLS), resumed=free
    )
    styles: str = option(STYLES, "artists whose sketches to test", letters=STYLES)
    features: tuple[str, ...] = option(
        ("bn", "z"), "that eval.py reports: after the BN neck, before it", names=("bn", "z"), resumed=free
    )
    re_ranking: bool = option(False, "k-reciprocal re-ranking in eval.py; off in published tables", resumed=free)
    export: str = option("none", "file.npz for eval.py to write embeddings to, or none", path=True, resumed=free)
    flip: Literal["published", "normalised", "off"] = option(
        "published", "mirrored images in the final tables, see embedding.py", resumed=free
    )
    batch_size: int = option(128, "images a forward pass", (1, 4096), resumed=free)
    checkpoint: str = option(
        "auto", "for eval.py, {trial} in it for a number; auto: best.pt of the run", path=True, resumed=free
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run folder"""

    root: str = option("runs", "where run folders are made", path=True, resumed=free)
    name: str = option("auto", "auto: <data.set>-seed<run.seed>", resumed=free)
    repeats: int = option(1, "runs, with one seed after another, and their mean", SOME, resumed=free)
    jobs: int = option(1, "trials or seeds side by side, each on a GPU or a share of the cores", SOME, resumed=free)
    ranks: int = option(
        0, "processes that train one network together; 0: as many as torchrun started", (0, 4096), resumed=free
    )
    seed: int = option(0, "of initial weights, batches, augmentation and dropout", (0, 2**32 - 1))
    resume: Literal["auto", "never"] = option(
        "auto", "auto: go on with the folder's run; never: rename it", resumed=free
    )
    save_minutes: float = option(10, "between checkpoints inside an epoch", (0, 1e9), resumed=free)
    log_every: int = option(50, "iterations between lines of log.jsonl", (1, 10**9), resumed=free)
    tensorboard: bool = option(False, "also log to TensorBoard, see dns/training/tensorboard.py", resumed=free)
    dry: bool = option(False, "show what a training would do, and change nothing", resumed=free)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Report"""

    write: AutoSwitch = option("auto", "report.html; auto: at a training's end, not in eval.py", resumed=free)
    images: bool = option(True, "whether report.html shows images", resumed=free)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration. The first four sections are what a recipe in configs/ decides; the others may differ from
    machine to machine and from run to run."""

    data: DataOptions
    augment: AugmentOptions
    model: ModelOptions
    optim: OptimOptions
    multiplier: MultiplierOptions
    engine: EngineOptions
    eval: EvalOptions
    run: RunOptions
    report: ReportOptions

    def stored(self) -> dict[str, dict[str, Any]]:
        """Section -> option -> plain value, as config.yaml and checkpoints hold them: several names as text."""
        return {
            section: {
                name: ",".join(value) if isinstance(value, tuple) else value for name, value in vars(part).items()
            }
            for section, part in vars(self).items()
        }


SECTIONS: dict[str, type] = get_type_hints(Config)


def declared(section: str) -> dict[str, tuple[Option, Any, Any]]:
    """Option -> what it declares, its type, its default (MISSING if it has to be given)."""
    kinds = get_type_hints(SECTIONS[section])
    return {one.name: (one.metadata["option"], kinds[one.name], one.default) for one in fields(SECTIONS[section])}
