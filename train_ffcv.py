"""Train DNS: `.beton` -> FFCV -> GPU augmentation -> DNS -> checkpoint -> rank-1.

    python train_ffcv.py --config-file configs/llcm.yaml
    make train DATASET=llcm ARGS='--optim.epochs=3'

--help lists every option. dns/training/run_folder.py describes the run's folder. The same command goes on with a
stopped run. torchrun starts it on several devices (make RANKS=4), docs/cluster.md.
Exit codes: 0 done, 1 training cannot go on, 2 bad input or a full disk, 130 / 143 stopped by Ctrl-C / SIGTERM.
"""

import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from dns import exchange, ranks
from dns.engine import Engine, make_engine
from dns.evaluation import results
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import fitting
from dns.evaluation.tables import Row, markdown, screen
from dns.model import DNS
from dns.optim import learning_rate, make_optimiser, scaled_rate, set_learning_rate
from dns.report.subject import Subject, shown_feature
from dns.report.write import FIGURES, PAGE, write_report
from dns.step import Step, make_step
from dns.training import checkpoint, config, jobs, plan, repeats, throughput
from dns.training.environment import environment
from dns.training.log import speed
from dns.training.loss_watch import LossQueue
from dns.training.network import build_network, load_initial_weights, trained_network
from dns.training.options import Config, EngineOptions
from dns.training.run_folder import CONFIG, RunFolder, folder_of
from dns.training.selection import check_same_size, describe, shown_dataset, trained
from dns.training.state import TrainingState
from dns.training.stopping import Interruption, out_of_memory
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError, ReportError, user_errors
from ffcv_convert.common.world import World
from pipelines import data
from pipelines.resident import ResidentLoader
from pipelines.subset import trials_of


@dataclass
class Training:
    """A network in training, what feeds it and what trains it."""

    config: Config
    world: World
    engine: Engine
    loader: data.TrainingLoader
    model: DNS
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: Step
    work: throughput.Work


def train(arguments: Sequence[str]) -> int:
    asked = config.read(arguments, description=__doc__)
    runs = repeats.members(asked, trials_of(set_folder(asked)))
    if asked.run.dry:
        return show_plan(runs, config.sources(arguments))
    if asked.run.jobs > 1 and ranks.started():
        raise ConfigError(
            "run.jobs trains several networks side by side, torchrun one network on several devices. Choose one: "
            "make JOBS=... or make RANKS=..."
        )
    if asked.run.jobs > 1 and len(runs) == 1:
        print("note: run.jobs has one run alone to train: no trials, and run.repeats is 1", file=sys.stderr)
    if asked.run.jobs > 1 and len(runs) > 1:
        code = jobs.train_all(Path(__file__), arguments, runs, asked.run.jobs)
    else:
        code = train_in_turn(runs)
    if not code and len(runs) > 1 and ranks.is_main():
        results.add_rows(repeats.summary(runs), repeats.folder(asked))
    return code


def train_in_turn(runs: Sequence[Config]) -> int:
    for number, member in enumerate(runs, start=1):
        if len(runs) > 1:
            print(f"run {number} of {len(runs)}: {member.data.set}, trial {member.data.trial or '-'}, "
                  f"seed {member.run.seed}")  # fmt: skip
        code = train_run(member)
        if code:
            return code
    return 0


def show_plan(runs: Sequence[Config], sources: Mapping[str, str]) -> int:
    """Say what training these runs would do, of the first one in full. Writes nothing."""
    asked, world, engine = start_engine(runs[0])
    loader = open_loader(asked, world, engine)
    run = RunFolder(asked, world)
    training = assemble(
        asked, world, engine, loader, resumed=True
    )  # initial weights are not fetched: no time needs them
    seconds = plan.timed_steps(training.step, loader, world)
    held = plan.training_bytes(training.model, training.optimiser)
    print(plan.configuration(runs[0], asked, sources))
    print(plan.what(run, [folder_of(one) for one in runs], loader, held, epochs=asked.optim.epochs))
    print(plan.cost(
        loader, held, seconds, world.device, epochs=asked.optim.epochs, tflop=training.work.tflop,
        resident=isinstance(loader, ResidentLoader),
    ))  # fmt: skip
    return 0


def set_folder(asked: Config) -> Path:
    return Path(asked.data.beton_root) / asked.data.set


def train_run(asked: Config) -> int:
    """Prepare one run and train it. Returns 0, or the code of the signal that stopped it."""
    asked, world, engine = start_engine(asked)
    loader = open_loader(asked, world, engine)
    images = data.open_test(
        set_folder(asked), world, trial=asked.data.trial, styles=asked.eval.styles, source=asked.data.source,
        batch_size=asked.eval.batch_size, workers=asked.data.workers or ranks.share_of_cores(),
    )  # fmt: skip
    engine.check_width(images.size_px[1])
    check_same_size("the training set", loader.size_px, images.path, images.size_px)
    dataset = shown_dataset(images.manifest.dataset, asked)
    how_trained = trained(asked.stored())
    evaluator = Evaluator(images, world, engine, dataset=dataset, flip=asked.eval.flip, trained=how_trained)
    if asked.eval.protocol == "auto":
        asked = replace(asked, eval=replace(asked.eval, protocol=fitting(evaluator.test_set)[0]))
    run = RunFolder(asked, world)

    training = assemble(asked, world, engine, loader, resumed=run.resumed)
    digests = {"training set": loader.digest, **images.digests()}
    state = TrainingState(
        world, training.model, training.optimiser, training.scaler, asked, loader.size_px, loader.sha256, digests,
    )  # fmt: skip
    with run.training(), out_of_memory(f"; {run.last} stands"), Interruption() as interruption, state.writer:
        fit(training, run, evaluator, state, interruption)
    if interruption.code:
        print(f"stopped {state.where}; the same command goes on from {run.last}"
              + (", without --run.resume=never" if asked.run.resume == "never" else ""))  # fmt: skip
    return interruption.code


def start_engine(asked: Config) -> tuple[Config, World, Engine]:
    """The device and how it computes, with every "auto" of the configuration resolved; seeds torch, and joins the other
    ranks if torchrun started some."""
    engine = make_engine(**{**asdict(asked.engine), "device": ranks.own_device(asked.engine.device)})
    engine.activate()
    torch.manual_seed(asked.run.seed)
    world = ranks.join(engine.device)
    if asked.run.ranks not in (0, world.size):
        raise ConfigError(
            f"run.ranks = {asked.run.ranks}, but {world.size} process{'es' * (world.size != 1)} train together. "
            f"Start as many: make RANKS={asked.run.ranks}, or leave run.ranks out"
        )
    run = replace(asked.run, ranks=world.size)
    return replace(asked, engine=EngineOptions(**engine.options()), run=run), world, engine


def open_loader(asked: Config, world: World, engine: Engine) -> data.TrainingLoader:
    return data.open_training(
        set_folder(asked), world, trial=asked.data.trial, styles=asked.data.styles, source=asked.data.source,
        recipe=asked.augment.recipe, pad_px=asked.augment.pad_px, augment_on=engine.augment, dtype=engine.input_dtype(),
        workers=asked.data.workers or ranks.share_of_cores(), seed=asked.run.seed, persons=asked.data.persons,
        pictures=asked.data.pictures, replacement=asked.data.replacement, accumulate=asked.optim.accumulate,
        extra_iteration=asked.optim.published_schedule,
    )  # fmt: skip


def assemble(asked: Config, world: World, engine: Engine, loader: data.TrainingLoader, *, resumed: bool) -> Training:
    """The network, its optimiser and the step. resumed: its weights will be those of a checkpoint."""
    weights = None if resumed else load_initial_weights(asked.model.architecture, asked.model.pretrained)
    model = engine.place(build_network(asked.model, loader.identities, weights))
    optimiser = make_optimiser(
        model, name=asked.optim.name, lr=asked.optim.lr, momentum=asked.optim.momentum,
        weight_decay=asked.optim.weight_decay, multipliers=asdict(asked.multiplier), fused=engine.fused,
    )  # fmt: skip
    scaler = engine.scaler()
    exchanged = {"gather": exchange.Gather(world)} if asked.optim.gather and world.size > 1 else {}
    step = make_step(
        model, optimiser, scaler, loader.augment, engine, accumulate=asked.optim.accumulate,
        average=exchange.Mean(world, asked.optim.accumulate), **exchanged,
    )  # fmt: skip
    tflop = throughput.count(
        asked.model, loader.identities, batch=loader.batch_size, size_px=loader.size_px,
        accumulate=asked.optim.accumulate,
    )  # fmt: skip
    work = throughput.Work(loader.images_a_step, tflop, throughput.peak(engine))
    return Training(asked, world, engine, loader, model, optimiser, scaler, step, work)


def fit(
    training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, interruption: Interruption
) -> None:
    """Train and evaluate from the last checkpoint on, and write the run's folder."""
    loader, protocol = training.loader, training.config.eval.protocol
    epochs, every = training.config.optim.epochs, training.config.eval.every
    if run.resumed:
        former = state.restore(run.last)
        progress = state.progress
        ranks.on_main(
            training.world,
            lambda: run.lines.truncate(progress.epoch, progress.iteration, evaluated=not progress.evaluation_due),
        )
        others = f", which {former} process{'es' * (former != 1)} began" if former != training.world.size else ""
        print(f"going on with {run.path} {state.where}{others}")
    else:
        former = 0
        state.save(run.last)
    if former != training.world.size:
        at = {"step": state.progress.epoch * loader.iterations, "epoch": state.progress.epoch}
        run.log.write("run", **at, **trained(training.config.stored()))
    if state.progress.rank1_untrained is None:
        print("testing the untrained network", flush=True)
        with interruption.at_once():
            state.progress.rank1_untrained = evaluator.bn_row(state.model, protocol, "untrained")["rank1"]
        state.save(run.last)
    while not interruption.code and (state.progress.epoch < epochs or state.progress.evaluation_due):
        paths = [run.last]
        if state.progress.evaluation_due:
            begin = time.monotonic()
            with interruption.at_once(), exchange.averaged_statistics(training.world, state.model):
                rank1 = evaluator.choosing_rank1(state.model, protocol)
            if state.note_rank1(rank1):
                paths = [run.best, run.last]  # in this order: last.pt says which epoch best.pt holds
            at = {"step": state.progress.epoch * loader.iterations, "epoch": state.progress.epoch}
            run.log.write("eval", **at, protocol=protocol, rank1=rank1, seconds=time.monotonic() - begin)
        elif train_epoch(training, run, state, interruption):
            epoch = state.progress.epoch
            state.progress.evaluation_due = epoch == epochs or epoch % (every or epochs) == 0
        state.save(*paths)
    ranks.on_main(training.world, state.writer.wait)
    with interruption.at_once():
        if run.resumed and run.finished():
            print(f"{run.path}: finished before; its result:\n{results.read_markdown(run.result)}")
        else:
            write_result(training, run, evaluator, state)
            (run.path / PAGE).unlink(missing_ok=True)  # of a look at the unfinished run
        wanted = training.config.report.write != "false"
        if wanted and not ranks.on_main(training.world, (run.path / PAGE).exists):
            report(training, run, evaluator, state)


def train_epoch(training: Training, run: RunFolder, state: TrainingState, interruption: Interruption) -> bool:
    """Train from where `state` stands to the end of its epoch (True), or to the first signal (False)."""
    loader, optim, options, progress = training.loader, training.config.optim, training.config.run, state.progress
    scheduled = loader.iterations - optim.published_schedule
    peak = scaled_rate(optim.lr, training.world.size * optim.accumulate, optim.scale_lr)
    state.model.train()
    begin, first, queue = time.monotonic(), progress.iteration, LossQueue()
    logged = first, begin  # iteration and time of the last line of the log
    saves = 0  # 1: after the batch that comes

    def agreed(code: int) -> int:
        """Every rank stops before the same batch, and saves after the same one."""
        nonlocal saves
        due = time.monotonic() - state.saved_at >= 60 * options.save_minutes
        code, saves = ranks.highest(training.world, code, int(due))
        return code

    with (
        state.saving_on(DataError, run.last),  # a damaged image, or a disk that does not answer
        loader.epoch(progress.epoch, first) as batches,
        tqdm(desc=f"epoch {progress.epoch + 1}/{optim.epochs}", total=loader.iterations * loader.images_a_step,
             initial=first * loader.images_a_step, unit="images", dynamic_ncols=True,
             disable=not training.world.is_main) as bar,
    ):  # fmt: skip
        for batch in interruption.before_stop(batches, agreed):
            lr = learning_rate(
                progress.epoch, progress.iteration, scheduled=scheduled, peak=peak, epochs=optim.epochs,
                peak_epoch=optim.peak_epoch, published=optim.published_schedule,
            )  # fmt: skip
            set_learning_rate(state.optimiser, lr)
            # The first step may take minutes to compile, and can be given up: nothing was done since the checkpoint.
            seeds = loader.dropout_seeds(progress.epoch, progress.iteration)
            with interruption.at_once() if progress.iteration == first else nullcontext():
                queue.put(training.step(batch.images, batch.augmentation, batch.person_B, dropout_seeds=seeds))
            progress.iteration += 1
            bar.update(loader.images_a_step)
            logs = progress.iteration % options.log_every == 0 or progress.iteration == loader.iterations
            losses = read_losses(training, run, state, queue, wait=logs or bool(saves))
            if logs:
                at = {"step": progress.epoch * loader.iterations + progress.iteration, "iteration": progress.iteration}
                run.log.write("train", **at, epoch=progress.epoch, lr=lr, **losses)
                now = time.monotonic()
                since = training.work.speed((progress.iteration - logged[0]) * loader.images_a_step, now - logged[1])
                logged = progress.iteration, now
                run.log.write("speed", **at, epoch=progress.epoch, **since)
                shown = {name: f"{value:.3f}" for name, value in losses.items()}
                bar.set_postfix({**shown, **throughput.shown(since)}, refresh=False)
            if saves:
                state.save(run.last)
    if progress.iteration < loader.iterations:
        read_losses(training, run, state, queue, wait=True)
        return False
    seconds, images = time.monotonic() - begin, (loader.iterations - first) * loader.images_a_step
    progress.epoch, progress.iteration = progress.epoch + 1, 0
    step = progress.epoch * loader.iterations
    whole = training.work.speed(images, seconds)
    run.log.write("epoch", step=step, epoch=progress.epoch, seconds=seconds, images=images, **whole)
    return True


def read_losses(
    training: Training, run: RunFolder, state: TrainingState, queue: LossQueue, *, wait: bool
) -> dict[str, float]:
    """Read the losses that have arrived; with `wait`, those of all steps (the only synchronisation inside an epoch).

    Returns the newest. At the first loss that is not finite, writes down the batch that repeats it and raises
    TrainingError.
    """
    loader, progress = training.loader, state.progress
    losses: dict[str, float] = {}
    for later_steps, losses in queue.arrived(wait=wait):
        if all(map(math.isfinite, losses.values())):
            continue
        at = progress.iteration - 1 - later_steps
        raise run.nonfinite(
            progress.epoch * loader.iterations + at + 1, losses, epoch=progress.epoch, iteration=at,
            samples=loader.plan(progress.epoch)[at].tolist(), size_px=list(loader.size_px), data_sha256=loader.sha256,
        )  # fmt: skip
    return losses


def write_result(training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState) -> None:
    """Test the last weights, and the best ones if they are others, on every trial; write result.json and result.md."""
    loader, progress, protocol = training.loader, state.progress, training.config.eval.protocol
    with exchange.averaged_statistics(training.world, state.model):
        rows = [evaluator.bn_row(state.model, protocol, last_name(state))]
    if progress.best_epoch != progress.epoch:
        try:
            rows.append(best_row(training, run, evaluator))
        except CheckpointError as error:
            print(f"note: {error}. The result is the last epoch's alone", file=sys.stderr)
    if not training.world.is_main:
        return
    last = {key: value for key, value in rows[0].items() if key != "per_trial"}
    epochs = run.lines.read("epoch")
    content = {
        **last,
        "complete": True,
        "rank1_untrained": progress.rank1_untrained,
        "best_epoch": progress.best_epoch,
        **speed(epochs, loader.iterations * loader.images_a_step),
        "epochs": progress.epoch,
        "steps": progress.epoch * loader.iterations,
        "identities": loader.identities,
        "environment": environment(training.world.device),
        "training": rows,  # for the mean over several runs; eval.py adds to `evaluation` alone
        "evaluation": rows,
    }
    title = run.path.name
    with results.results_lock(run.path):
        results.write_text(run.result.with_suffix(".md"), markdown(rows, title))
        results.write_json(run.result, content)  # the last thing: a run that has it is finished
    print(screen(rows, title))
    print(
        f"rank-1 {100 * last['rank1']:.2f} %, untrained {100 * content['rank1_untrained']:.2f} %, "
        f"chance {100 * last['chance']:.2f} %; {content['images_per_s']:.1f} images/s; written: {run.result}"
    )


def report(training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState) -> None:
    """Write report.html of the last weights. The result stands whether or not it can be written."""
    with exchange.averaged_statistics(training.world, state.model):
        embeddings = evaluator.embed(state.model)
        if not training.world.is_main:
            return
        asked, command = (
            training.config,
            shlex.join(["python", "train_ffcv.py", "--config-file", str(run.path / CONFIG)]),
        )
        embedding_ND, protocol = getattr(embeddings, shown_feature(asked)), asked.eval.protocol
        rankings = {protocol: evaluator.rankings(embedding_ND, protocol, re_ranking=asked.eval.re_ranking)}
        subject = Subject(asked, evaluator, state.model, embeddings, rankings, run.last, command)
        try:
            print(f"written: {write_report(run.path, subject, last_name(state))}")
        except ReportError as error:
            print(f"note: {error}. The result stands", file=sys.stderr)
            return
        if run.board:
            for picture in (run.path / FIGURES).glob("ranked-*.png"):
                run.board.show(picture.stem, picture, state.progress.epoch * training.loader.iterations)


def last_name(state: TrainingState) -> str:
    """The last weights' name in a report."""
    return f"last.pt, epoch {state.progress.epoch}"


def best_row(training: Training, run: RunFolder, evaluator: Evaluator) -> Row:
    """Of the checkpoint that the evaluations between epochs chose. Raises CheckpointError if it cannot be read."""
    content = checkpoint.load(run.best)
    model = training.engine.place(trained_network(run.best, content["model"], training.config.model))
    tested = describe(run.best, content, training.config.data.set)
    return evaluator.bn_row(model, training.config.eval.protocol, tested)


if __name__ == "__main__":
    with user_errors(), ranks.main_alone_prints(), ranks.leaving():
        sys.exit(train(sys.argv[1:]))
