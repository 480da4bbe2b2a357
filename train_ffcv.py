"""Train DNS: `.beton` -> FFCV -> GPU augmentation -> DNS -> checkpoint -> rank-1.

    python train_ffcv.py --config-file configs/llcm.yaml
    make train DATASET=llcm ARGS='--optim.epochs=3'

--help lists every option. dns/training/run_folder.py describes the run's folder. The same command goes on with a
stopped run. torchrun starts it on several devices (make RANKS=4), docs/cluster.md.
Exit codes: 0 done, 1 training cannot go on, 2 bad input or a full disk, 128 + the signal's number where one stopped it.
"""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from dns import exchange, ranks
from dns.evaluation import results
from dns.evaluation.embedding import EmbeddedSet
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.ranking import Ranking
from dns.evaluation.tables import Measured, Row, markdown
from dns.optim import set_learning_rate
from dns.report.subject import of_network
from dns.report.write import FIGURES, PAGE, write_report
from dns.training import checkpoint, dry_run, jobs, repeats, throughput
from dns.training.config import option_sources, read_config
from dns.training.environment import environment, named, this_code
from dns.training.former_choices import with_former_choices
from dns.training.log import speed
from dns.training.loss_watch import LossQueue
from dns.training.network import started_from, trained_network
from dns.training.options import Config
from dns.training.run_folder import CONFIG, RunFolder
from dns.training.selection import describe, training_setup
from dns.training.setup import Training, assemble, open_data
from dns.training.state import TrainingState
from dns.training.stopping import Interruption, out_of_memory
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError, ReportError, user_errors
from ffcv_convert.common.streams import lasting_streams
from pipelines.subset import trials_of


def train(arguments: Sequence[str]) -> int:
    config = read_config(arguments, description=__doc__)
    ranks.refuse_lone_parts()
    runs = repeats.members(config, trials_of(config.data.folder))
    if config.run.dry:
        return dry_run.show(runs, option_sources(arguments))
    if config.run.jobs > 1 and ranks.started():
        raise ConfigError(
            "run.jobs trains several networks side by side, torchrun one network on several devices. Choose one: "
            "make JOBS=... or make RANKS=..."
        )
    if config.run.jobs > 1 and len(runs) == 1:
        print("note: run.jobs has only one run to train: no trials, and run.repeats is 1", file=sys.stderr)
    if config.run.jobs > 1 and len(runs) > 1:
        alone = [jobs.single(arguments, member) for member in runs]
        code = jobs.train_all(Path(__file__), alone, config.engine.device, config.run.jobs)
    else:
        code = train_in_turn(runs)
    if not code and len(runs) > 1 and ranks.is_main():
        results.add_rows(repeats.summary(runs), repeats.folder(config))
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


def train_run(config: Config) -> int:
    """Prepare one run and train it. Returns 0, or the code of the signal that stopped it."""
    session, loader, evaluator = open_data(with_former_choices(config))
    config, world, _ = session
    run = RunFolder(config, world)

    training = assemble(session, loader, resumed=run.resumed)
    started = {} if run.resumed else started_from(config.model.pretrained)
    state = TrainingState(
        world, training.model, training.optimiser, training.scaler, config, loader.size_px, loader.sha256,
        {"training set": loader.digest, **evaluator.images.digests(), **started},
    )  # fmt: skip
    with run.training(), out_of_memory(f"; {run.last} stands"), Interruption() as interruption, state.writer:
        fit(training, run, evaluator, state, interruption)
    if interruption.code:
        print(f"stopped {state.where}; the same command goes on from {run.last}"
              + (", without --run.resume=never" if config.run.resume == "never" else ""))  # fmt: skip
    return interruption.code


def fit(
    training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, interruption: Interruption
) -> None:
    """Train and evaluate from the last checkpoint on, and write the run's folder."""
    resume_or_start(training, run, state)
    evaluator.about |= training_setup(training.config.stored(), state.data_digests)
    epochs, every = training.config.optim.epochs, training.config.eval.every
    test_between = partial(test_epoch, training, run, evaluator, state, interruption)
    if state.progress.rank1_untrained is None:
        test_untrained(training, run, evaluator, state, interruption)
    if state.progress.evaluation_due:  # the run was stopped before it
        test_between()
    for epoch in range(state.progress.epoch + 1, epochs + 1):
        whole = train_epoch(training, run, state, interruption)
        state.progress.evaluation_due = whole and (epoch == epochs or epoch % (every or epochs) == 0)
        state.save(run.last)
        if interruption.code:
            break
        if state.progress.evaluation_due:
            test_between()
    ranks.on_main(training.world, state.writer.wait)
    with interruption.at_once(), exchange.averaged_statistics(training.world, state.model):
        finish(training, run, evaluator, state)


def resume_or_start(training: Training, run: RunFolder, state: TrainingState) -> None:
    """Restore the run's last checkpoint, or write its first one."""
    progress, world, former = state.progress, training.world, None
    if run.resumed:
        former = state.restore(run.last, run.take_last())
        progress = state.progress
        ranks.on_main(
            world, lambda: run.lines.truncate(progress.epoch, progress.iteration, evaluated=not progress.evaluation_due)
        )
        others = f", which {former} process{'es' * (former != 1)} began" if former != world.size else ""
        print(f"going on with {run.path} {state.where}{others}")
    changed = note_code(run, state)
    if not run.resumed:
        state.save(run.last)
    if (changed or former != world.size) and progress.epoch < training.config.optim.epochs:
        step = training.steps(progress.epoch, progress.iteration)
        at = {"step": step, "iteration": progress.iteration, "epoch": progress.epoch}
        how = training_setup(training.config.stored(), state.data_digests)
        run.log.write("run", **at, **how, **this_code())


def note_code(run: RunFolder, state: TrainingState) -> bool:
    """Record which code trains from here on; say so where other code trained until now. Returns whether it changed."""
    before = named(state.code[-1]) if state.code else "an earlier version of the program"
    changed, trained = state.note_code(this_code()), state.progress.epoch or state.progress.iteration
    if changed and trained and run.world.is_main:
        print(f"note: {run.path} was trained by {before} until now; this is {named(this_code())}. To train all of it "
              "by this code: --run.resume=never, make RESUME=never", file=sys.stderr)  # fmt: skip
    return changed


def test_untrained(
    training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, interruption: Interruption
) -> None:
    print("testing the untrained network", flush=True)
    with interruption.at_once():
        row = evaluator.own_row(state.model, training.config.eval.protocol, "untrained")
    state.progress.rank1_untrained = row["rank1"]
    state.save(run.last)


def test_epoch(
    training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, interruption: Interruption
) -> None:
    """Test the last complete epoch, and save its weights as the best ones if it is the best so far."""
    protocol, begin = training.config.eval.protocol, time.monotonic()
    with interruption.at_once(), exchange.averaged_statistics(training.world, state.model):
        rank1 = evaluator.choosing_rank1(state.model, protocol)
    best = state.note_rank1(rank1)
    at = {"step": training.steps(state.progress.epoch), "epoch": state.progress.epoch}
    run.log.write("eval", **at, protocol=protocol, rank1=rank1, seconds=time.monotonic() - begin)
    state.save(*[run.best] * best, run.last)  # in this order: last.pt says which epoch best.pt holds


def train_epoch(training: Training, run: RunFolder, state: TrainingState, interruption: Interruption) -> bool:
    """Train from where `state` stands to the end of its epoch (True), or to the first signal (False)."""
    loader, progress, first = training.loader, state.progress, state.progress.iteration
    queue, pace, begin = LossQueue(), throughput.Pace(training.work, first), time.monotonic()
    state.model.train()
    with (
        state.saving_on(DataError, run.last),  # a damaged image, or a disk that does not answer
        loader.epoch(progress.epoch, first) as batches,
        progress_bar(training, first, progress.epoch) as bar,
    ):
        for batch, saves in interruption.before_stop(batches, partial(stop_or_save, training, state)):
            lr = training.rate(progress.epoch, progress.iteration)
            set_learning_rate(state.optimiser, lr)
            seeds = loader.dropout_seeds(progress.epoch, progress.iteration)
            # The first step may compile for minutes. A signal may end it: nothing was done since the checkpoint.
            with interruption.at_once() if progress.iteration == first else nullcontext():
                queue.put(training.step(batch.images, batch.augmentation, batch.person_B, dropout_seeds=seeds))
            progress.iteration += 1
            bar.update(loader.images_a_step)
            logs = progress.iteration % training.config.run.log_every == 0 or progress.iteration == loader.iterations
            losses = read_losses(training, run, state, queue, wait=logs or saves)
            if logs:
                log_step(training, run, state, bar, {"lr": lr, **losses}, pace.since(progress.iteration))
            if saves:
                state.save(run.last)
    if progress.iteration < loader.iterations:
        read_losses(training, run, state, queue, wait=True)
        return False
    progress.epoch, progress.iteration = progress.epoch + 1, 0
    log_epoch(training, run, progress.epoch, loader.iterations - first, time.monotonic() - begin)
    return True


def stop_or_save(training: Training, state: TrainingState, code: int) -> tuple[int, bool]:
    """Agree with all ranks on the code of a signal, before the next batch, and whether a checkpoint is due after it."""
    due = time.monotonic() - state.saved_at >= 60 * training.config.run.save_minutes
    code, saves = ranks.highest(training.world, code, int(due))
    return code, bool(saves)


def progress_bar(training: Training, first: int, epoch: int) -> tqdm:
    loader = training.loader
    return tqdm(
        desc=f"epoch {epoch + 1}/{training.config.optim.epochs}", total=loader.iterations * loader.images_a_step,
        initial=first * loader.images_a_step, unit="images", dynamic_ncols=True, disable=not training.world.is_main,
    )  # fmt: skip


def log_step(
    training: Training, run: RunFolder, state: TrainingState, bar: tqdm, numbers: dict[str, float],
    pace: dict[str, float],
) -> None:  # fmt: skip
    """Write the last step's learning rate and losses, and the speed since the last line, to the log and the bar."""
    epoch, iteration = state.progress.epoch, state.progress.iteration
    at = {"step": training.steps(epoch, iteration), "iteration": iteration, "epoch": epoch}
    run.log.write("train", **at, **numbers)
    run.log.write("speed", **at, **pace)
    losses = {name: f"{value:.3f}" for name, value in numbers.items() if name != "lr"}
    bar.set_postfix({**losses, **throughput.shown(pace)}, refresh=False)


def log_epoch(training: Training, run: RunFolder, epoch: int, iterations: int, seconds: float) -> None:
    """Write the epoch's seconds, images and speed to the log. iterations: the epoch's, without those before a stop."""
    images = iterations * training.loader.images_a_step
    at = {"step": training.steps(epoch), "epoch": epoch}
    run.log.write("epoch", **at, seconds=seconds, images=images, **training.work.speed(images, seconds))


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
            training.steps(progress.epoch, at + 1), losses, epoch=progress.epoch, iteration=at,
            samples=loader.plan(progress.epoch)[at].tolist(), size_px=list(loader.size_px), data_sha256=loader.sha256,
        )  # fmt: skip
    return losses


class LastTest(NamedTuple):
    """The last weights on the test images. rankings: every trial's, on rank 0."""

    tested: Measured
    embeddings: EmbeddedSet
    rankings: list[Ranking]


def finish(training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState) -> None:
    """Embed and rank the last weights once; write the result and the report of it."""
    finished = run.resumed and run.finished()
    if finished:
        print(f"{run.path}: finished before; its result:\n{results.read_markdown(run.result)}")
    page = ranks.on_main(training.world, (run.path / PAGE).exists)
    reports = training.config.report.write != "false" and not (finished and page)
    if finished and not reports:
        return
    last = test_last(training, evaluator, state)
    if not finished:
        write_result(training, run, evaluator, state, last)
        if training.world.is_main:
            (run.path / PAGE).unlink(missing_ok=True)  # a page that showed the unfinished run
    if reports and training.world.is_main:
        report(training, run, evaluator, state, last)


def test_last(training: Training, evaluator: Evaluator, state: TrainingState) -> LastTest:
    protocol = training.config.eval.protocol
    embeddings = evaluator.embed(state.model, evaluator.rows([protocol]))
    embedding_ND, rankings = embeddings.compared(evaluator.feature), list[Ranking]()
    ranks.on_main(training.world, lambda: rankings.extend(evaluator.rankings(embedding_ND, protocol)))
    tested = evaluator.measured(state.model, f"last.pt, epoch {state.progress.epoch}")
    return LastTest(tested, embeddings, rankings)


def write_result(
    training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, last: LastTest
) -> None:
    """Test the best weights, if they differ from the last; write result.json and result.md."""
    progress, protocol, rows = state.progress, training.config.eval.protocol, []
    if training.world.is_main:
        rows.append(evaluator.row(last.rankings, protocol, evaluator.feature, last.tested))
    if progress.best_epoch != progress.epoch:
        try:
            rows.append(best_row(training, run, evaluator))
        except CheckpointError as error:
            print(f"note: {error}. The result is the last epoch's alone", file=sys.stderr)
    if not training.world.is_main:
        return
    content = content_of(training, run, state, rows)
    title = run.path.name
    with results.results_lock(run.path):
        results.write_text(run.result.with_suffix(".md"), markdown(rows, title))
        results.write_json(run.result, content)  # last: a run that has this file is finished
    results.show(rows, title)
    print(
        f"rank-1 {100 * content['rank1']:.2f} %, untrained {100 * content['rank1_untrained']:.2f} %, "
        f"chance {100 * content['chance']:.2f} %; {content['images_per_s']:.1f} images/s; written: {run.result}"
    )


def content_of(training: Training, run: RunFolder, state: TrainingState, rows: Sequence[Row]) -> Row:
    """Return what result.json holds. rows: the last epoch's, and the best one's if it is another."""
    loader, progress = training.loader, state.progress
    return {
        **{key: value for key, value in rows[0].items() if key != "per_trial"},
        "complete": True,
        "rank1_untrained": progress.rank1_untrained,
        "best_epoch": progress.best_epoch,
        **speed(run.lines.read("epoch"), loader.iterations * loader.images_a_step),
        "epochs": progress.epoch,
        "steps": training.steps(progress.epoch),
        "identities": loader.identities,
        "training_images": loader.digest,
        "environment": environment(training.world.device),
        "code": state.code,
        "training": rows,  # for the mean over several runs; eval.py adds only to `evaluation`
        "evaluation": rows,
    }


def best_row(training: Training, run: RunFolder, evaluator: Evaluator) -> Row:
    """Return the row of the checkpoint that the evaluations between epochs chose. Raises CheckpointError if it cannot
    be read."""
    content = checkpoint.load(run.best)
    model = training.engine.place(trained_network(run.best, content["model"], training.config))
    tested = describe(run.best, content, training.config.data.set)
    return evaluator.own_row(model, training.config.eval.protocol, tested)


def report(training: Training, run: RunFolder, evaluator: Evaluator, state: TrainingState, last: LastTest) -> None:
    """Write report.html of the last weights. The result stands whether or not it can be written."""
    config = training.config
    # What a training's own table shows.
    tested_so = replace(config.eval, features=(evaluator.feature,), re_ranking=False)
    command = shlex.join(["python", "train_ffcv.py", "--config-file", str(run.path / CONFIG)])
    subject = of_network(
        replace(config, eval=tested_so), evaluator, last.embeddings, {config.eval.protocol: last.rankings}, run.last,
        command, state.model,
    )  # fmt: skip
    try:
        print(f"written: {write_report(run.path, subject, last.tested)}")
    except ReportError as error:
        print(f"note: {error}. The result stands", file=sys.stderr)
        return
    for picture in (run.path / FIGURES).glob("ranked-*.png"):
        run.log.show(picture.stem, picture, training.steps(state.progress.epoch))


if __name__ == "__main__":
    with lasting_streams(), user_errors(), out_of_memory(), ranks.main_alone_prints(), ranks.leaving():
        sys.exit(train(sys.argv[1:]))
