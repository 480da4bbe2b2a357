"""Declares every option of train_ffcv.py and eval.py: the sections of a configuration.

The network, the losses, the optimiser and the engine declare theirs beside the code that reads them; the sections of
the harness stand here. config.py makes --help, the reading of YAML and command line, and the stored config.yaml of
these declarations. The type of a field says what it takes: a number in a range, true or false, one of some names
(Literal or `names`), or text.
"""

from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from dns.backbones import ARCHITECTURES
from dns.engine import EngineOptions
from dns.evaluation.embedding import COUNTERPART, FEATURES
from dns.evaluation.protocols import PROTOCOLS
from dns.methods import METHODS, Method
from dns.network import NetworkOptions
from dns.optim import MAX_EPOCHS, OptimOptions
from dns.option import AutoSwitch, Option, free, option
from ffcv_convert.beton.labels import STYLES
from ffcv_convert.common.errors import ConfigError
from pipelines.augment.normalisation import NORMALISATIONS, Normalisation
from pipelines.augment.recipes import RECIPES

SOME = (1, 1000)
SIZE = (0, 10_000)
PUBLISHED_PX = (288, 144)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data set and batches"""

    set: str = option(MISSING, "data set, as named by python -m ffcv_convert")
    beton_root: str = option("Beton", "folder of the .beton files", path=True, resumed=free)
    height_px: int = option(0, "of images converted for this recipe, in a folder of their size; 0: the set's own", SIZE)
    width_px: int = option(0, "theirs", SIZE)
    persons: int = option(6, "P: identities a batch", SOME)
    pictures: int = option(4, "K: images of each modality for each identity", SOME)
    trial: int = option(0, "RegDB's split; 0: all in turn, or the only split of a set", (0, 9999))
    styles: str = option(STYLES, "artists whose sketches to train on", letters=STYLES)
    replacement: Literal["always", "needed"] = option("always", "draw an identity's images with replacement")
    samples: Literal["auto", "images", "tracklets"] = option(
        "auto", "what is drawn: single images, or frames by tracklet; auto: by tracklet from a set of video"
    )
    tracklet_frames: int = option(1, "F: frames of each drawn tracklet, one from each of F equal parts", SOME)
    source: Literal["auto", "stream", "resident"] = option(
        "auto", "resident: in device memory, if it fits", resumed=free
    )
    workers: int = option(0, "decoding threads, 0 = all cores", (0, 1000), resumed=free)

    def __post_init__(self) -> None:
        if bool(self.height_px) != bool(self.width_px):
            raise ConfigError(
                f"data.height_px = {self.height_px}, data.width_px = {self.width_px}: one without the other. Give "
                "both, or 0 for both to take the set at its own size"
            )
        if self.samples != "images" and self.pictures % self.tracklet_frames:
            raise ConfigError(
                f"data.pictures = {self.pictures} is not a multiple of data.tracklet_frames = {self.tracklet_frames}. "
                "Change one of them"
            )

    @property
    def size_folder(self) -> str:
        """Return the folder below beton_root of sets at this recipe's size, such as 384x144; "" for their own size."""
        return f"{self.height_px}x{self.width_px}" if self.height_px else ""

    @property
    def folder(self) -> Path:
        """Return the folder of the converted set."""
        return Path(self.beton_root) / self.size_folder / self.set

    @property
    def published_px(self) -> tuple[int, int]:
        """Return height and width of the images that the recipe was published for."""
        return (self.height_px, self.width_px) if self.height_px else PUBLISHED_PX


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Augmentation"""

    recipe: str = option("sysu", "whose published augmentation", names=tuple(RECIPES))
    pad_px: int = option(10, "black border before the random crop", (0, 100))
    normalisation: str = option(
        "auto",
        "mean and deviation of the pixels; auto: those of the backbone's published weights",
        names=("auto", *NORMALISATIONS),
        former="imagenet",
    )


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
        ("auto",), "that eval.py reports, see embedding.py; auto: the method's", names=("auto", *FEATURES), resumed=free
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
    name: str = option("auto", "auto: <data.set>-seed<run.seed>, the method between", resumed=free)
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


def plain(value: Any) -> Any:
    """Return an option's value as files hold it: several values as text."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration. A recipe in configs/ decides the sections down to `multiplier`; the others may differ from
    machine to machine and from run to run. model, loss, multiplier: of the classes that the method names."""

    data: DataOptions
    augment: AugmentOptions
    model: NetworkOptions
    loss: Any
    optim: OptimOptions
    multiplier: Any
    engine: EngineOptions
    eval: EvalOptions
    run: RunOptions
    report: ReportOptions

    def __post_init__(self) -> None:
        if self.method.network.pooled_stem and not ARCHITECTURES[self.model.architecture].pooled_stem:
            fitting = ", ".join(name for name, method in METHODS.items() if not method.network.pooled_stem)
            raise ConfigError(
                f"model.method = {self.model.method!r} takes four stages after a stem that ends with a pooling, which "
                f"model.architecture = {self.model.architecture!r} does not have. Methods that it fits: {fitting}"
            )

    @property
    def method(self) -> Method:
        return METHODS[self.model.method]

    @property
    def normalisation(self) -> Normalisation:
        """Return the mean and the deviation that training and test images are normalised with."""
        return NORMALISATIONS[self.normalisation_name]

    @property
    def normalisation_name(self) -> str:
        own = ARCHITECTURES[self.model.architecture].normalisation
        return own if self.augment.normalisation == "auto" else self.augment.normalisation

    def with_normalisation(self) -> "Config":
        """Return the configuration with the name of its normalisation in the place of auto: it belongs to the weights,
        so that a run keeps the one that it began with."""
        return replace(self, augment=replace(self.augment, normalisation=self.normalisation_name))

    @property
    def features(self) -> tuple[str, ...]:
        """Return the features that eval.py reports, each once: for auto, the one by which the method's training chooses
        an epoch, and its counterpart."""
        own = (self.method.feature, COUNTERPART[self.method.feature])
        named = (own if name == "auto" else (name,) for name in self.eval.features)
        return tuple(dict.fromkeys(name for names in named for name in names))

    def stored(self) -> dict[str, dict[str, Any]]:
        """Return section -> option -> plain value, as config.yaml and checkpoints hold them: several values as text."""
        return {
            section: {name: plain(value) for name, value in vars(part).items()} for section, part in vars(self).items()
        }


SECTIONS = tuple(get_type_hints(Config))
BY_METHOD = ("model", "loss", "multiplier")  # sections whose options are the method's
DEFAULT_METHOD = next(iter(METHODS))  # of configurations that name none, as all did before there were several


def section_class(section: str, method: str = DEFAULT_METHOD) -> type:
    return getattr(METHODS[method], section) if section in BY_METHOD else get_type_hints(Config)[section]


def declared(section: str, method: str = DEFAULT_METHOD) -> dict[str, tuple[Option, Any, Any]]:
    """Return option -> what it declares, its type, its default (MISSING if it has to be given)."""
    options = section_class(section, method)
    kinds = get_type_hints(options)
    found = {one.name: (one.metadata["option"], kinds[one.name], one.default) for one in fields(options)}
    if section == "model":  # its choices are the table, which knows these classes
        named = replace(found["method"][0], names=tuple(METHODS))
        found["method"] = (named, str, method)
    return found
