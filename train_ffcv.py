"""Train DNS: `.beton` -> FFCV -> GPU augmentation -> DNS -> checkpoint -> rank-1.

    python train_ffcv.py --config-file configs/llcm.yaml
    make train DATASET=llcm ARGS='--optim.epochs=3'

--help lists every option. The run's folder is described in dns/run.py; the same command goes on with a stopped run.
Exit codes: 0 done, 1 training cannot go on, 2 bad input or a full disk, 130 / 143 stopped by Ctrl-C / SIGTERM.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dns import checkpoint, config, series
from dns.backbone import load_initial_weights
from dns.evaluation import report
from dns.evaluation.protocols import PROTOCOLS
from dns.interruption import Interruption
from dns.model import DNS
from dns.optim import learning_rate, make_optimiser, set_learning_rate
from dns.options import declare
from dns.run import RunFolder, environment
from dns.state import TrainingState
from dns.step import Engine, LossQueue, Step, make_engine, make_step
from dns.tested import describe
from eval import Tester, Values, build_model, load_model, user_errors
from ffcv_convert.schema import DataError
from pipelines import augment
from pipelines.index import open_part, trials_of
from pipelines.loaders import TrainLoader
from pipelines.resident import ResidentLoader, is_resident

Loader = TrainLoader | ResidentLoader


def train(arguments: Sequence[str]) -> int:
    values = config.read(declare(list(PROTOCOLS), list(augment.RECIPES)), arguments, description=__doc__)
    runs = series.members(values, trials_of(Path(values["data"]["beton_root"]) / values["data"]["set"]))
    for number, member in enumerate(runs, start=1):
        if len(runs) > 1:
            data, run = member["data"], member["run"]
            print(f"run {number} of {len(runs)}: {data['set']}, trial {data['trial'] or '-'}, seed {run['seed']}")
        code = train_run({name: dict(section) for name, section in member.items()})
        if code:
            return code
    if len(runs) > 1:
        report.add_rows(series.summary(runs), series.folder(values))
    return 0


def train_run(values: dict[str, dict[str, Any]]) -> int:
    """One run: make what it takes, and go through with it. Returns 0, or the code of the signal that stopped it."""
    engine = make_engine(**values["engine"])
    values["engine"] = engine.options()
    torch.manual_seed(values["run"]["seed"])

    loader = make_loader(values, engine)
    tester = Tester(values, engine)
    tester.check_size(loader.size_px, "the training set")
    run = RunFolder(values)

    options = values["model"]
    weights = None if run.resumed else load_initial_weights(options["architecture"], options["pretrained"])
    model = engine.place(build_model(values, loader.identities, weights))
    optimiser = make_optimiser(
        model, multipliers=values["multiplier"], fused=engine.fused,
        **{key: values["optim"][key] for key in ("name", "lr", "momentum", "weight_decay")},
    )  # fmt: skip
    scaler = engine.scaler()
    step = make_step(model, optimiser, scaler, loader.augment, engine)

    lists = {"training set": loader.digest, **tester.digests()}
    state = TrainingState(model, optimiser, scaler, values, loader.size_px, loader.sha256, lists=lists)
    with run.training(), Interruption() as interruption:
        go_through(run, loader, tester, step, state, interruption)
    if interruption.code:
        print(f"stopped {state.where}; the same command goes on from {run.last}"
              + (", without --run.resume=never" if values["run"]["resume"] == "never" else ""))  # fmt: skip
    return interruption.code


def go_through(
    run: RunFolder, loader: Loader, tester: Tester, step: Step, state: TrainingState, interruption: Interruption
) -> None:
    """Train, test, write the run's folder, from where its last checkpoint stands."""
    protocol, epochs = state.values["eval"]["protocol"], state.values["optim"]["epochs"]
    if run.resumed:
        state.restore(run.last)
        run.forget_after(state.epoch * loader.iterations + state.iteration, tested=state.tested)
        print(f"going on with {run.path} {state.where}")
    else:
        state.save(run.last)
    if "rank1_untrained" not in state.results:
        print("testing the untrained network", flush=True)
        with interruption.at_once():
            state.results["rank1_untrained"] = scored(tester, state.model, protocol, "untrained")["rank1"]
        state.save(run.last)
    while not interruption.code and (state.epoch < epochs or not state.tested):
        if not state.tested:
            begin = time.monotonic()
            with interruption.at_once():
                rank1 = tester.choosing_rank1(state.model, protocol)
            state.note_rank1(rank1, run.best)
            at = {"step": state.epoch * loader.iterations, "epoch": state.epoch}
            run.write_log("eval", **at, protocol=protocol, rank1=rank1, seconds=time.monotonic() - begin)
        elif train_epoch(run, loader, step, state, interruption) and (
            state.epoch == epochs or state.epoch % (state.values["eval"]["every"] or epochs) == 0
        ):
            state.results["untested"] = True
        state.save(run.last)
    with interruption.at_once():
        if run.resumed and run.finished():
            print(f"{run.path}: finished before; its result:\n{report.read_markdown(run.result)}")
        else:
            write_result(run, loader, tester, state)


def scored(tester: Tester, model: DNS, protocol: str, tested: str) -> Mapping[str, Any]:
    """A report's row of the feature after the BN neck, over every trial."""
    return tester.row(tester.metrics(tester.embed(model).bn, protocol), protocol, "bn", tested)


def make_loader(values: Values, engine: Engine) -> Loader:
    """Streamed or resident, as data.source says; auto: resident on CUDA, if the set fits. Raises ConfigError."""
    data, augmentation = values["data"], values["augment"]
    part = open_part(Path(data["beton_root"]) / data["set"], "train", trial=data["trial"], styles=data["styles"])
    options = {
        "recipe": replace(augment.RECIPES[augmentation["recipe"]], pad_px=augmentation["pad_px"]),
        "seed": values["run"]["seed"],
        "device": engine.device,
        "extra_iteration": values["optim"]["published_schedule"],
        **{key: data[key] for key in ("persons", "pictures", "workers", "replacement")},
    }
    if data["source"] == "resident" and engine.augment == "host":
        raise config.ConfigError(
            "data.source = 'resident' augments in the step. Add --engine.augment=device, or leave data.source at auto"
        )
    if engine.augment == "device" and is_resident(data["source"], part, engine.device):
        return ResidentLoader(part, **options)
    return TrainLoader(part, augment_on=engine.augment, dtype=engine.input_dtype(), **options)


def train_epoch(run: RunFolder, loader: Loader, step: Step, state: TrainingState, interruption: Interruption) -> bool:
    """Train from where `state` stands to the end of its epoch (True), or to the first signal (False)."""
    optim, options = state.values["optim"], state.values["run"]
    scheduled = loader.iterations - optim["published_schedule"]
    state.model.train()
    begin, first, queue = time.monotonic(), state.iteration, LossQueue()
    with (
        state.kept(run.last, DataError),  # a damaged picture, or a disk that does not answer
        loader.epoch(state.epoch, first) as batches,
        tqdm(desc=f"epoch {state.epoch + 1}/{optim['epochs']}", total=loader.iterations * loader.batch_size,
             initial=first * loader.batch_size, unit="images", dynamic_ncols=True) as bar,
    ):  # fmt: skip
        for batch in interruption.before_stop(batches):
            lr = learning_rate(
                state.epoch, state.iteration, scheduled=scheduled, peak=optim["lr"], epochs=optim["epochs"],
                peak_epoch=optim["peak_epoch"], published=optim["published_schedule"],
            )  # fmt: skip
            set_learning_rate(state.optimiser, lr)
            # The first step may take minutes to compile, and can be given up: nothing was done since the checkpoint.
            with interruption.at_once() if state.iteration == first else nullcontext():
                queue.put(step(batch.images, batch.augmentation, batch.person_B))
            state.iteration += 1
            bar.update(loader.batch_size)
            logs = state.iteration % options["log_every"] == 0 or state.iteration == loader.iterations
            saves = time.monotonic() - state.saved_at >= 60 * options["save_minutes"]
            read = read_losses(run, loader, state, queue, wait=logs or saves)
            if logs:
                at = {"step": state.epoch * loader.iterations + state.iteration, "iteration": state.iteration}
                run.write_log("train", **at, epoch=state.epoch, lr=lr, **read)
                bar.set_postfix({name: f"{value:.3f}" for name, value in read.items()}, refresh=False)
            if saves:
                state.save(run.last)
    if state.iteration < loader.iterations:
        read_losses(run, loader, state, queue, wait=True)
        return False
    seconds, images = time.monotonic() - begin, (loader.iterations - first) * loader.batch_size
    state.epoch, state.iteration = state.epoch + 1, 0
    run.write_log("epoch", step=state.epoch * loader.iterations, epoch=state.epoch, seconds=seconds, images=images)
    return True


def read_losses(
    run: RunFolder, loader: Loader, state: TrainingState, queue: LossQueue, *, wait: bool
) -> dict[str, float]:
    """Look at the losses that have arrived, of all steps so far with `wait` (the only synchronisation inside an epoch).

    Returns the newest. Raises TrainingError at the first that is not finite, and writes down what repeats it.
    """
    read: dict[str, float] = {}
    for later_steps, read in queue.arrived(wait=wait):
        if all(map(math.isfinite, read.values())):
            continue
        at = state.iteration - 1 - later_steps
        raise run.nonfinite(
            state.epoch * loader.iterations + at + 1, read, epoch=state.epoch, iteration=at,
            samples=loader.plan(state.epoch)[at].tolist(), size_px=list(loader.size_px), data_sha256=loader.sha256,
        )  # fmt: skip
    return read


def write_result(run: RunFolder, loader: Loader, tester: Tester, state: TrainingState) -> None:
    """Test the last weights, and the best ones if they are others, on every trial; write result.json and result.md."""
    values, protocol = state.values, state.values["eval"]["protocol"]
    rows = [scored(tester, state.model, protocol, f"last.pt, epoch {state.epoch}")]
    if state.results["best_epoch"] != state.epoch:
        try:
            content = checkpoint.load(run.best)
            model = load_model(run.best, content, values, tester)
            rows.append(scored(tester, model, protocol, describe(run.best, content, values["data"]["set"])))
        except checkpoint.CheckpointError as error:
            print(f"note: {error}. The result is the last epoch's alone", file=sys.stderr)
    last = {key: value for key, value in rows[0].items() if key != "per_trial"}
    content = {
        **last,
        "rank1_untrained": state.results["rank1_untrained"],
        "best_epoch": state.results["best_epoch"],
        **run.speed(loader.iterations * loader.batch_size),
        **{"epochs": state.epoch, "steps": state.epoch * loader.iterations},
        "identities": loader.identities,
        "environment": environment(tester.engine.device),
        "training": rows,  # for the mean over several runs; eval.py adds to `evaluation` alone
        "evaluation": rows,
    }
    title = run.path.name
    with report.in_turn(run.path):
        report.write_text(run.result.with_suffix(".md"), report.markdown(rows, title))
        report.write_json(run.result, content)  # the last thing: a run that has it is finished
    print(report.screen(rows, title))
    print(
        f"rank-1 {100 * last['rank1']:.2f} %, untrained {100 * content['rank1_untrained']:.2f} %, "
        f"chance {100 * last['chance']:.2f} %; {content['images_per_s']:.1f} images/s; written: {run.result}"
    )


if __name__ == "__main__":
    with user_errors():
        sys.exit(train(sys.argv[1:]))
