"""Test a checkpoint: checkpoint -> embeddings -> protocols -> report.

    python eval.py --eval.checkpoint=runs/llcm-seed0/best.pt
    make eval DATASET=llcm
    make eval DATASET=sysu CHECKPOINT=sysu_p6_n4_lr_0.2_seed_0_best.pth PROTOCOL=sysu-all,sysu-indoor

The data set and the network are the checkpoint's own; every option of train_ffcv.py can still be given. A checkpoint
of the published code brings no configuration: it takes its set's recipe, unless --config-file names another. Its keys
tell its method, where no two methods have the same: name theirs with --model.method (make METHOD=...). {trial} in a
checkpoint's name stands for the number of each of RegDB's ten trials. The rows go to the screen, and into result.json
and result.md; with --report.write=true (make report) also into report.html, with figures and ranked images; of several
checkpoints, these are of the first. Under torchrun (make RANKS=4) each process embeds a part of the images.
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from dns import ranks
from dns.evaluation import results
from dns.evaluation.embedding import COUNTERPART, EmbeddedSet, save_features
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.ranking import Ranking
from dns.evaluation.tables import Measured, Row, joined, together
from dns.export.description import FILE as EXPORTED
from dns.network import Network
from dns.report.subject import Subject, of_network, shown_feature
from dns.report.write import write_report
from dns.training import checkpoint
from dns.training.config import METHOD, given_options, read_config, split_arguments
from dns.training.options import Config
from dns.training.selection import (
    check_export,
    check_trials,
    checkpoint_pattern,
    config_for_checkpoint,
    expand_pattern,
    how_chosen,
    result_folder,
)
from dns.training.setup import Opened, open_content
from dns.training.stopping import out_of_memory
from ffcv_convert.common.errors import user_errors
from ffcv_convert.common.streams import lasting_streams
from pipelines.subset import trials_of


def evaluate(arguments: Sequence[str]) -> int:
    if split_arguments(arguments)[0] is None:
        read_config(arguments, description=__doc__)  # prints the help and leaves
    ranks.refuse_lone_parts()
    given = given_options(arguments)
    pattern, trial = checkpoint_pattern(given)
    checkpoints = expand_pattern(pattern, trial)
    found: dict[tuple[str, str], list[Ranking]] = defaultdict(list)
    each: list[Measured] = []
    abouts: list[Row] = []
    subject: Subject | None = None
    folder: Path | None = None
    for path, number in checkpoints:
        content = checkpoint.load_to_test(path, given.get(METHOD))
        config = config_for_checkpoint(arguments, content, number, __doc__)
        numbers = [number for _, number in checkpoints]
        check_trials(config, pattern, numbers, trial, trials_of(config.data.folder))
        several, ours = len(checkpoints) > 1, checkpoint.is_ours(content["config"])
        if folder is None:  # what cannot be written or added to stops here, before the work begins
            folder = result_folder(pattern if several else path, Path(given.get("run.root", "runs")), ours=ours)
            results.read_json(folder / "result.json")
            check_export(config.eval.export)

        opened = open_content(path, content, config)
        embeddings = opened.embed()
        if not ranks.is_main():
            continue
        each.append(opened.evaluator.measured(opened.model, opened.name))
        abouts.append(opened.evaluator.about)
        export(config, number, embeddings, opened.evaluator)
        rankings = rank(opened, embeddings)
        for key, trials in rankings.items():
            found[key] += trials
        if config.report.write == "true" and subject is None:
            subject = subject_of(opened, embeddings, rankings, shlex.join(["python", "eval.py", *arguments]))
    if folder is None or not ranks.is_main():
        return 0
    name = opened.name if len(checkpoints) == 1 else f"{pattern.name} of {len(checkpoints)} runs{how_chosen(pattern)}"
    tested = Measured(name, joined(one.weights for one in each), joined(one.images for one in each))
    opened.evaluator.about = together(abouts)
    results.add_rows(
        [
            opened.evaluator.row(rankings, protocol, feature, tested, re_ranking=config.eval.re_ranking)
            for (protocol, feature), rankings in found.items()
        ],
        folder,
    )
    if subject is not None:
        print(f"written: {write_report(folder, subject, tested)}")
    return 0


def rank(opened: Opened, embeddings: EmbeddedSet) -> dict[tuple[str, str], list[Ranking]]:
    """Return the rankings of every trial, by (protocol, feature)."""
    return {
        (protocol, feature): opened.evaluator.rankings(
            embeddings.compared(feature), protocol, re_ranking=opened.config.eval.re_ranking
        )
        for protocol in opened.protocols
        for feature in opened.config.features
    }


def subject_of(
    opened: Opened, embeddings: EmbeddedSet, rankings: Mapping[tuple[str, str], list[Ranking]], command: str
) -> Subject:
    """Return what the report is about. An exported network has no gradients and no layers to look into."""
    path, config = opened.path, opened.config
    shown = {protocol: rankings[protocol, shown_feature(config)] for protocol in opened.protocols}
    model = opened.model if isinstance(opened.model, Network) else None
    file = path / EXPORTED if path.is_dir() else path
    return of_network(config, opened.evaluator, embeddings, shown, file, command, model)


def export(config: Config, number: int, embeddings: EmbeddedSet, evaluator: Evaluator) -> None:
    """Write the embeddings where eval.export says, if it does. number: the trial's, for {trial} in the name."""
    if config.eval.export == "none":
        return
    target = Path(config.eval.export.replace("{trial}", str(number)))
    own = config.method.feature
    save_features(target, embeddings.both, evaluator.test_set, [own, COUNTERPART[own]])
    print(f"written: {target}")


if __name__ == "__main__":
    with lasting_streams(), user_errors(), out_of_memory(), ranks.main_alone_prints(), ranks.leaving():
        sys.exit(evaluate(sys.argv[1:]))
