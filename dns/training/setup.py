"""Opens the parts of a run from a configuration or a checkpoint: engine, data, network, evaluator.

train_ffcv.py, eval.py, `make plan`, `make report`, docs/test.ipynb and the benchmarks call these functions.

    training = open_training(config)        a network in training, its loader, optimiser and step
    opened = open_checkpoint("best.pt")     a trained network, and what it is tested on
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dns import exchange, ranks
from dns.engine import Engine, EngineOptions, make_engine
from dns.evaluation.embedding import EmbeddedSet, compared_width
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import PROTOCOLS, fitting
from dns.evaluation.ranking import check_memory
from dns.export import description
from dns.export.runtime import ExportedNetwork
from dns.network import Network
from dns.optim import make_optimiser, schedule
from dns.step import Step, make_step
from dns.training import checkpoint, selection, throughput
from dns.training.config import METHOD, given_options
from dns.training.environment import this_code
from dns.training.network import build_network, initial_network, trained_network
from dns.training.options import Config
from ffcv_convert.common.errors import CheckpointError, ConfigError
from ffcv_convert.common.world import World
from pipelines import data
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions


class Session(NamedTuple):
    """A configuration with every "auto" of its engine resolved, the processes that run it, and how this one
    computes."""

    config: Config
    world: World
    engine: Engine


@dataclass
class Training:
    """A network in training, what feeds it and what trains it. rate: (epoch, iteration) -> learning rate of a group
    with multiplier 1."""

    config: Config
    world: World
    engine: Engine
    loader: data.TrainingLoader
    model: Network
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: Step
    rate: Callable[[int, int], float]
    work: throughput.Work

    def steps(self, epochs: int, iterations: int = 0) -> int:
        """Count the optimiser steps of so many whole epochs and iterations, as the log does."""
        return epochs * self.loader.iterations + iterations


@dataclass(frozen=True)
class Opened:
    """A trained network in evaluation and what it is tested on. model: perhaps one that was exported; protocols: those
    of its configuration; name: its name in reports."""

    path: Path
    config: Config
    world: World
    engine: Engine
    evaluator: Evaluator
    model: Network | ExportedNetwork
    protocols: Sequence[str]
    name: str

    def rows(self) -> np.ndarray | None:
        """Return the test images whose features are needed, see Evaluator.rows; all of them where they are written."""
        return self.evaluator.rows(self.protocols) if self.config.eval.export == "none" else None

    def embed(self) -> EmbeddedSet:
        """Return both features of the test images of `rows`. Raises CheckpointError where they are not finite."""
        embeddings = self.evaluator.embed(self.model, self.rows())
        if not all(torch.isfinite(embedding).all() for embedding in embeddings.both):
            raise CheckpointError(f"{self.path}: gives embeddings that are not finite. Name an earlier checkpoint")
        return embeddings


def start_engine(options: EngineOptions) -> tuple[World, Engine]:
    """Resolve every "auto", set up this process accordingly, and join the other ranks if torchrun started some."""
    engine = make_engine(replace(options, device=ranks.own_device(options.device)))
    engine.activate()
    return ranks.join(engine.device), engine


def open_session(config: Config) -> Session:
    """Start the engine that trains this configuration, and seed torch. Raises ConfigError where run.ranks asks for
    another number of processes."""
    world, engine = start_engine(config.engine)
    torch.manual_seed(config.run.seed)
    if config.run.ranks not in (0, world.size):
        raise ConfigError(
            f"run.ranks = {config.run.ranks}, but {world.size} process{'es' * (world.size != 1)} train together. "
            f"Start as many: make RANKS={config.run.ranks}, or leave run.ranks out"
        )
    run = replace(config.run, ranks=world.size)
    return Session(replace(config, engine=engine.options(), run=run), world, engine)


def plan_options(config: Config) -> PlanOptions:
    """Return what a plan of batches needs. Raises ConfigError where the recipe does not give the views that the method
    takes."""
    recipe, views = RECIPES[config.augment.recipe], config.method.network.views
    if recipe.views != views:
        fitting = ", ".join(name for name, other in RECIPES.items() if other.views == views)
        raise ConfigError(
            f"augment.recipe = {config.augment.recipe!r} has {recipe.views} views of each visible image, and "
            f"model.method = {config.model.method!r} takes {views}. Recipes with as many: {fitting}"
        )
    return PlanOptions(
        persons=config.data.persons, pictures=config.data.pictures, replacement=config.data.replacement,
        samples=config.data.samples, tracklet_frames=config.data.tracklet_frames,
        recipe=replace(recipe, pad_px=config.augment.pad_px, normalisation=config.normalisation), seed=config.run.seed,
        accumulate=config.optim.accumulate, extra_iteration=config.optim.published_schedule,
    )  # fmt: skip


def open_loader(session: Session) -> data.TrainingLoader:
    config, world, engine = session
    return data.open_training(
        config.data.folder, plan_options(config), world, trial=config.data.trial, styles=config.data.styles,
        source=config.data.source, augment_on=engine.augment, dtype=engine.input_dtype(), workers=decoders(config),
    )  # fmt: skip


def open_images(config: Config, world: World) -> data.TestImages:
    """Open the images that the configuration tests on."""
    return data.open_test(
        config.data.folder, world, trial=config.data.trial, styles=config.eval.styles, source=config.data.source,
        batch_size=config.eval.batch_size, workers=decoders(config), normalisation=config.normalisation,
    )  # fmt: skip


def decoders(config: Config) -> int:
    """Return the number of decoding threads of this process; 0: as many as cores."""
    return config.data.workers or ranks.share_of_cores()


def open_evaluator(
    config: Config, world: World, engine: Engine, training_setup: dict[str, Any], trained_on: str = ""
) -> Evaluator:
    """Open the evaluator of the images that the configuration tests on.

    training_setup: how the network was trained, see selection; trained_on: the digest of its training images. Raises
    ConfigError for images that are too narrow for the engine, DataError where the network cannot take their size.
    """
    images = open_images(config, world)
    engine.check_width(images.size_px[1])
    selection.check_patches(config.model.architecture, images.path, images.size_px)
    dataset = selection.dataset_label(images.name, config)
    folder, trial, styles = config.data.folder, config.data.trial, config.data.styles
    seen = images.also_trained(folder, trained_on, trial=trial, styles=styles)
    about = {**training_setup, "also_trained": seen, "normalisation": config.normalisation_name, **this_code()}
    flip, feature = config.eval.flip, config.method.feature
    return Evaluator(images, world, engine, dataset=dataset, flip=flip, feature=feature, about=about)


def open_data(config: Config) -> tuple[Session, data.TrainingLoader, Evaluator]:
    """Open what a training trains and tests on. The session's configuration has the protocol that fits the test images
    where eval.protocol is auto. Raises DataError where the sizes of the images differ."""
    session = open_session(config)
    loader, (config, world, engine) = open_loader(session), session
    evaluator = open_evaluator(config, world, engine, selection.training_setup(config.stored()), loader.digest)
    images = evaluator.images
    selection.check_same_size("the training set", loader.size_px, images.path, images.size_px)
    if config.eval.protocol == "auto":
        config = replace(config, eval=replace(config.eval, protocol=fitting(evaluator.test_set)[0]))
    return session._replace(config=config), loader, evaluator


def assemble(session: Session, loader: data.TrainingLoader, *, resumed: bool) -> Training:
    """Build the network, its optimiser and the step. resumed: its weights will be those of a checkpoint."""
    config, world, engine = session
    model = engine.place((build_network if resumed else initial_network)(config, loader.identities))
    optimiser = make_optimiser(model, config.optim, config.multiplier, fused=engine.fused)
    scaler, accumulate = engine.scaler(), config.optim.accumulate
    exchanged = {"gather": exchange.Gather(world)} if config.optim.gather and world.size > 1 else {}
    step = make_step(
        model, optimiser, scaler, loader.augment, engine, accumulate=accumulate,
        average=exchange.Mean(world, accumulate), **exchanged,
    )  # fmt: skip
    tflop = throughput.count(
        config.model, config.loss, loader.identities, batch=loader.batch_size, size_px=loader.size_px,
        accumulate=accumulate, views=loader.recipe.views,
    )  # fmt: skip
    return Training(
        config, world, engine, loader, model, optimiser, scaler, step,
        rate=schedule(config.optim, loader.iterations, world.size * accumulate),
        work=throughput.Work(loader.images_a_step, tflop, throughput.peak(engine)),
    )  # fmt: skip


def open_training(config: Config) -> Training:
    """Open everything that trains this configuration, from its initial weights."""
    session = open_session(config)
    return assemble(session, open_loader(session), resumed=False)


def open_checkpoint(path: str | Path, *options: str) -> Opened:
    """Open a checkpoint of this program or of the published code for testing.

    options: as on eval.py's command line, such as "--data.set=sysu", which a published checkpoint needs. Raises
    CheckpointError, ConfigError, DataError or ProtocolError.
    """
    content = checkpoint.load_to_test(Path(path), given_options(options).get(METHOD))
    return open_content(Path(path), content, selection.config_for_checkpoint(options, content, 0, ""))


def open_content(path: Path, content: checkpoint.Tested, config: Config) -> Opened:
    """Open a checkpoint that was read, with its configuration, for testing. Raises errors before the network is built
    where data, protocols and checkpoint do not fit."""
    world, engine = start_engine(config.engine)
    setup, trained_on = selection.training_setup(content["config"], content["lists"]), content["lists"]
    evaluator = open_evaluator(config, world, engine, setup, trained_on.get("training set", ""))
    images, test_set = evaluator.images, evaluator.test_set
    protocols = selection.protocols_of(config.eval, test_set)
    for protocol in protocols:
        PROTOCOLS[protocol].check(test_set)
    selection.check_size(path, content, images.path, images.size_px, config.data.published_px)
    training = data.training_digest(config.data.folder, trial=config.data.trial, styles=config.data.styles)
    selection.check_training(path, content, config.data.set, training)
    model = open_network(path, content, config, engine)
    if isinstance(model, ExportedNetwork):
        evaluator.take_exported(model.precision)
    for protocol in protocols if config.eval.re_ranking else ():  # rank 0 re-ranks
        width = max(compared_width(model.width, feature) for feature in config.features)
        ranks.on_main(world, partial(check_memory, PROTOCOLS[protocol], test_set, width, engine.device))
    name = describe(path, content, config.data.set)
    return Opened(path, config, world, engine, evaluator, model, protocols, name)


def open_network(path: Path, content: checkpoint.Tested, config: Config, engine: Engine) -> Network | ExportedNetwork:
    """Build the network of a checkpoint in evaluation mode, or open that of an exported folder."""
    if path.is_dir():
        return ExportedNetwork(path, description.read(path), torch.get_num_threads())
    return engine.place(trained_network(path, content["model"], config)).eval()


def describe(path: Path, content: checkpoint.Tested, tested: str) -> str:
    """Return the name in a report of a checkpoint, or of the folder that one was exported to."""
    if path.is_dir():
        return f"{path.name}: {selection.describe(path / content['file'], content, tested)}"
    return selection.describe(path, content, tested)
