"""Test a checkpoint: checkpoint -> embeddings -> protocols -> report.

    python eval.py --eval.checkpoint=runs/llcm-seed0/best.pt
    make eval DATASET=llcm
    make eval DATASET=sysu CHECKPOINT=sysu_p6_n4_lr_0.2_seed_0_best.pth PROTOCOL=sysu-all,sysu-indoor

The data set and the network are the checkpoint's own; every option of train_ffcv.py can still be given. A checkpoint
of the published code brings no configuration: name its recipe with --config-file. {trial} in a checkpoint's name
stands for the number of each of RegDB's ten trials. The rows go to the screen, and into result.json and result.md; with
--report.write=true (make report) also into report.html, with figures and ranked images; of several checkpoints, these
are of the first. Under torchrun (make RANKS=4) each process embeds a part of the images.
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dns import ranks
from dns.engine import Engine, make_engine
from dns.evaluation import results
from dns.evaluation.embedding import Embeddings, save_features
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import Ranking
from dns.report.subject import Subject, shown_feature
from dns.report.write import write_report
from dns.training import checkpoint, config
from dns.training.network import trained_network
from dns.training.options import Config
from dns.training.selection import (
    check_size,
    check_training,
    check_trials,
    checkpoint_pattern,
    chosen,
    describe,
    numbered,
    protocols_of,
    result_folder,
    settings,
    shown_dataset,
    trained,
)
from dns.training.stopping import out_of_memory
from ffcv_convert.common.errors import CheckpointError, user_errors
from pipelines import data
from pipelines.subset import trials_of


def evaluate(arguments: Sequence[str]) -> int:
    if config.split_arguments(arguments)[0] is None:
        config.read(arguments, description=__doc__)  # prints the help and leaves
    pattern, trial = checkpoint_pattern(config.given(arguments))
    checkpoints = numbered(pattern, trial)
    found: dict[tuple[str, str], list[Ranking]] = defaultdict(list)
    names: list[str] = []
    subjects: list[Subject] = []
    for path, number in checkpoints:
        content = checkpoint.load_to_test(path)
        asked = settings(arguments, content, number, __doc__)
        set_folder = Path(asked.data.beton_root) / asked.data.set
        check_trials(asked, pattern, [number for _, number in checkpoints], trial, trials_of(set_folder))
        folder = result_folder(
            pattern if len(checkpoints) > 1 else path, Path(asked.run.root), ours=bool(content["config"])
        )
        results.read_json(folder / "result.json")  # what cannot be added to is said before the work begins

        engine = make_engine(**{**asdict(asked.engine), "device": ranks.own_device(asked.engine.device)})
        engine.activate()
        evaluator, images = open_evaluator(asked, set_folder, engine, trained(content["config"]))
        protocols = protocols_of(asked.eval, evaluator.test_set)
        for protocol in protocols:
            PROTOCOLS[protocol].check(evaluator.test_set)  # a misfit is said before the work begins
        check_size(path, content, images.path, images.size_px)
        training = data.training_digest(set_folder, trial=asked.data.trial, styles=asked.data.styles)
        check_training(path, content, asked.data.set, training)

        model = engine.place(trained_network(path, content["model"], asked.model))
        embeddings = evaluator.embed(model)
        if not all(torch.isfinite(embedding).all() for embedding in embeddings):
            raise CheckpointError(f"{path}: gives embeddings that are not finite. Name an earlier checkpoint")
        names.append(describe(path, content, asked.data.set))
        if not ranks.is_main():
            continue
        export(asked, number, embeddings, evaluator)
        for protocol in protocols:
            for feature in asked.eval.features:
                found[protocol, feature] += evaluator.rankings(
                    getattr(embeddings, feature), protocol, re_ranking=asked.eval.re_ranking
                )
        if asked.report.write == "true" and not subjects:
            command = shlex.join(["python", "eval.py", *arguments])
            shown = {protocol: [*found[protocol, shown_feature(asked)]] for protocol in protocols}
            subjects.append(Subject(asked, evaluator, model, embeddings, shown, path, command))
    tested = names[0] if len(names) == 1 else f"{pattern.name} of {len(names)} runs{chosen(pattern)}"
    rows = [
        evaluator.row(rankings, protocol, feature, tested, re_ranking=asked.eval.re_ranking)
        for (protocol, feature), rankings in found.items()
    ]
    if ranks.is_main():
        results.add_rows(rows, folder)
    for subject in subjects:
        print(f"written: {write_report(folder, subject, tested)}")
    return 0


def open_evaluator(
    asked: Config, set_folder: Path, engine: Engine, how_trained: dict[str, Any]
) -> tuple[Evaluator, data.TestImages]:
    world = ranks.join(engine.device)
    images = data.open_test(
        set_folder, world, trial=asked.data.trial, styles=asked.eval.styles, source=asked.data.source,
        batch_size=asked.eval.batch_size, workers=asked.data.workers or ranks.share_of_cores(),
    )  # fmt: skip
    engine.check_width(images.size_px[1])
    dataset = shown_dataset(images.manifest.dataset, asked)
    return Evaluator(images, world, engine, dataset=dataset, flip=asked.eval.flip, trained=how_trained), images


def export(asked: Config, number: int, embeddings: Embeddings, evaluator: Evaluator) -> None:
    """Write the embeddings where eval.export says, if it does. number: of the trial, for {trial} in the name."""
    if asked.eval.export == "none":
        return
    target = Path(asked.eval.export.replace("{trial}", str(number)))
    save_features(target, embeddings, evaluator.test_set)
    print(f"written: {target}")


if __name__ == "__main__":
    with user_errors(), out_of_memory(), ranks.main_alone_prints(), ranks.leaving():
        sys.exit(evaluate(sys.argv[1:]))
