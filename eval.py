"""Test a checkpoint: checkpoint -> embeddings -> protocols -> report.

    python eval.py --eval.checkpoint=runs/llcm-seed0/best.pt
    make eval DATASET=llcm
    make eval DATASET=sysu CHECKPOINT=sysu_p6_n4_lr_0.2_seed_0_best.pth PROTOCOL=sysu-all,sysu-indoor

The data set and the network are the checkpoint's own; every option of train_ffcv.py can still be given. A checkpoint
of the published code brings no configuration: name its recipe with --config-file. {trial} in a checkpoint's name
stands for the number of each of RegDB's ten trials. The rows go to the screen, and into result.json and result.md.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns import checkpoint, config, published
from dns.backbone import WeightsError
from dns.evaluation import report
from dns.evaluation.extract import FEATURES, Embeddings, embed_images, save_features
from dns.evaluation.metrics import Metrics
from dns.evaluation.protocols import PROTOCOLS, ProtocolError, TestSet, run_protocol
from dns.model import DNS
from dns.options import declare
from dns.run import TrainingError, checkpoint_pattern, numbered
from dns.step import Engine, make_engine
from ffcv_convert.schema import DataError, Modality
from pipelines.augment import RECIPES, normalise
from pipelines.index import STYLES, open_part, trials_of
from pipelines.loaders import TestLoader

Values = Mapping[str, Mapping[str, Any]]
PUBLISHED_SIZE_PX = (288, 144)


class Tester:
    """The test part of a data set, embedded by a model and ranked under named protocols."""

    def __init__(self, values: Values, engine: Engine):
        options, data = values["eval"], values["data"]
        self.folder, self.data = Path(data["beton_root"]) / data["set"], data
        self.part = open_part(self.folder, "test", trial=data["trial"], styles=options["styles"])
        self.manifest = self.part.converted.manifest
        self.options, self.engine = options, engine
        self._row_of = np.full(len(self.part.converted), -1)
        self._row_of[self.part.sample_N] = np.arange(len(self.part.sample_N))
        draws = {name: self._row_of[rows] for name, rows in self.manifest.trials.items() if name.startswith("official")}
        part = self.part
        self.test_set = TestSet(part.person_N, part.camera_N, part.modality_N, part.path_N, draws)
        self._loader = TestLoader(
            part.converted, batch_size=options["batch_size"], device=engine.device, workers=data["workers"]
        )

    def check_size(self, size_px: Sequence[int], trained: str) -> None:
        """Raises DataError unless `trained` (a name) has pictures of the test set's height and width."""
        if list(size_px) != [self.manifest.height_px, self.manifest.width_px]:
            raise DataError(
                f"{self.part.converted.path}: {self.manifest.height_px} x {self.manifest.width_px} px images, but "
                f"{trained} has {size_px[0]} x {size_px[1]}. Convert the set again with --height-px and --width-px"
            )

    def train_identities(self) -> int:
        """Identities of the training part; 0 if it is not here."""
        try:
            part = open_part(self.folder, "train", trial=self.data["trial"], styles=self.data["styles"])
        except DataError:
            return 0
        return len(np.unique(part.person_N))

    def embed(self, model: DNS) -> Embeddings:
        """Every test image once, on the engine's device. Leaves the model in evaluation mode."""
        model.eval()
        test, loader = self.test_set, self._loader
        row_of = torch.from_numpy(self._row_of).to(self.engine.device)
        shape = (len(test.person_N), model.width)
        embeddings = Embeddings(*(torch.empty(shape, device=self.engine.device) for _ in Embeddings._fields))
        for modality in np.unique(test.modality_N):
            with loader.samples(self.part.sample_N[test.modality_N == modality]) as batches:
                embed_images(
                    model,
                    ((batch.images, row_of[batch.index_B[: batch.count]]) for batch in batches),
                    normalise,
                    embeddings,
                    visible=bool(modality == Modality.VISIBLE),
                    flip=self.options["flip"],
                    engine=self.engine,
                )
        return embeddings

    def metrics(self, embedding_ND: Tensor, protocol: str, trials: Sequence[int] | None = None) -> list[Metrics]:
        return run_protocol(
            PROTOCOLS[protocol], self.test_set, embedding_ND, trials, re_ranking=self.options["re_ranking"]
        )

    def row(self, results: Sequence[Metrics], protocol: str, feature: str, tested: str) -> Mapping[str, Any]:
        """A report's row, see report.make_row."""
        trained, tested_on = self.data["styles"], self.options["styles"]
        styles = f", styles {trained} tested on {tested_on}" if trained + tested_on != 2 * STYLES else ""
        return report.make_row(
            protocol,
            results,
            dataset=self.manifest.dataset + styles,
            feature=FEATURES[feature],
            flip=self.options["flip"],
            re_ranking="k-reciprocal" if self.options["re_ranking"] else "off",
            checkpoint=tested,
        )


def build_model(values: Values, identities: int, weights: dict[str, Tensor] | None = None) -> DNS:
    options = values["model"]
    return DNS(
        identities,
        architecture=options["architecture"],
        weights=weights,
        tau=options["tau"],
        dropout=options["dropout"],
    )


def load_model(path: Path, content: Mapping[str, Any], values: Values, tester: Tester) -> DNS:
    """The checkpoint's network, checked against the data set it is to be tested on."""
    manifest = tester.manifest
    if content["size_px"] is not None:
        tester.check_size(content["size_px"], str(path))
    elif (manifest.height_px, manifest.width_px) != PUBLISHED_SIZE_PX:
        print(f"note: {path} is of the published code, which trains on 288 x 144 px; the set has "
              f"{manifest.height_px} x {manifest.width_px}", file=sys.stderr)  # fmt: skip
    classifier = content["model"].get("classifier.weight")
    identities = len(classifier) if isinstance(classifier, Tensor) and classifier.ndim == 2 else 1
    known = tester.train_identities()
    if known and known != identities:
        print(f"note: {path} was trained on {identities} identities, {values['data']['set']} trains on {known}: "
              "is it another set's?", file=sys.stderr)  # fmt: skip
    model = build_model(values, identities)
    checkpoint.load_model(model, content["model"], path)
    return tester.engine.place(model)


def describe(path: Path, content: Mapping[str, Any]) -> str:
    """A checkpoint's name in a report: file, epoch, and that it was chosen on the test set, where it was."""
    file = "/".join(path.parts[-2:]) if path.parent.name.startswith("trial-") else path.name
    name = f"{file}, epoch {content['epoch']}"
    return f"{name}, chosen by rank-1 on trial 0" if path.name == "best.pt" else name


def evaluate(arguments: Sequence[str]) -> int:
    declared = declare(list(PROTOCOLS), list(RECIPES))
    if config.split_arguments(arguments)[0] is None:
        config.read(declared, arguments, description=__doc__)  # prints the help and leaves
    pattern, trial = checkpoint_pattern(config.given(declared, arguments))
    checkpoints = numbered(pattern, trial)
    found: dict[tuple[str, str], list[Metrics]] = defaultdict(list)
    names = []
    for path, number in checkpoints:
        content = published.load(path)
        base = {name: part for name, part in content["config"].items() if name != "engine"}  # this machine's own
        own = [f"--data.trial={number}"] if number else []
        fresh = declare(list(PROTOCOLS), list(RECIPES))
        values = config.read(fresh, [*arguments, *own], description=__doc__, base=base)
        check_trials(values, pattern, [number for _, number in checkpoints], trial)
        tester = Tester(values, make_engine(**values["engine"]))
        protocols = values["eval"]["protocols"].replace("auto", values["eval"]["protocol"]).split(",")
        for protocol in protocols:
            PROTOCOLS[protocol].check(tester.test_set)  # a misfit is said before the work begins
        embeddings = tester.embed(load_model(path, content, values, tester))
        if values["eval"]["export"] != "none":
            target = Path(values["eval"]["export"].replace("{trial}", str(number)))
            save_features(target, embeddings, tester.test_set)
            print(f"written: {target}")
        for protocol in protocols:
            for feature in values["eval"]["features"].split(","):
                found[protocol, feature] += tester.metrics(getattr(embeddings, feature), protocol)
        names.append(describe(path, content))
    tested = names[0] if len(names) == 1 else f"{pattern.name} of {len(names)} trials"
    rows = [tester.row(results, protocol, feature, tested) for (protocol, feature), results in found.items()]
    tested_files = pattern if len(checkpoints) > 1 else checkpoints[0][0]
    write_report(rows, result_folder(tested_files, Path(values["run"]["root"]), ours=bool(content["config"])))
    return 0


def check_trials(values: Values, pattern: Path, numbers: Sequence[int], trial: int) -> None:
    """Raises DataError where a set with trials gets a checkpoint for none of them, or for some only, unasked."""
    known = trials_of(Path(values["data"]["beton_root"]) / values["data"]["set"])
    if known and not values["data"]["trial"]:
        raise DataError(
            f"{pattern}: {values['data']['set']} has {len(known)} trials. Name this checkpoint's (--data.trial=3, make "
            "TRIAL=3), or put {trial} where the names of all of them differ"
        )
    missing = sorted(set(known) - set(numbers)) if not trial and numbers[0] else []
    if missing:
        raise DataError(
            f"{str(pattern).replace('{trial}', str(missing[0]))}: no such checkpoint ({len(missing)} of {len(known)} "
            "trials lack theirs). Train them first, or test one: --data.trial, make TRIAL=..."
        )
    if len(numbers) > 1 and "{trial}" not in values["eval"]["export"] and values["eval"]["export"] != "none":
        raise config.ConfigError(f"eval.export = {values['eval']['export']!r}: ten trials need {{trial}} in the name")


def result_folder(pattern: Path, root: Path, *, ours: bool) -> Path:
    """The run's own folder; for a checkpoint from elsewhere one of its name in `root`."""
    if not ours:
        return root / pattern.stem.replace("{trial}", "all")
    return next(folder for folder in pattern.parents if "{trial}" not in str(folder))


def write_report(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Show the rows, and put them among those of the folder's result.json and result.md."""
    folder.mkdir(parents=True, exist_ok=True)
    title, result = folder.absolute().name, folder / "result.json"
    print(report.screen(rows, title))
    before = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    merged = report.merge(before.get("evaluation", []), rows)
    report.write_json(result, {**before, "evaluation": merged})
    report.write_text(folder / "result.md", report.markdown(merged, title))
    print(f"written: {result}, {result.with_suffix('.md')}")


@contextmanager
def user_errors() -> Iterator[None]:
    """Bad input ends with its message and code 2, a run that cannot go on with code 1; others keep a traceback."""
    try:
        yield
    except (config.ConfigError, DataError, checkpoint.CheckpointError, WeightsError, ProtocolError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"error: {error}. Check the path, its permissions and the space left", file=sys.stderr)
        raise SystemExit(2) from None
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    with user_errors():
        sys.exit(evaluate(sys.argv[1:]))
