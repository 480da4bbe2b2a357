"""Test a checkpoint: checkpoint -> embeddings -> protocols -> report.

    python eval.py --eval.checkpoint=runs/llcm-seed0/best.pt
    make eval DATASET=llcm
    make eval DATASET=sysu CHECKPOINT=sysu_p6_n4_lr_0.2_seed_0_best.pth PROTOCOL=sysu-all,sysu-indoor

The data set and the network are the checkpoint's own; every option of train_ffcv.py can still be given. A checkpoint
of the published code brings no configuration: name its recipe with --config-file. {trial} in a checkpoint's name
stands for the number of each of RegDB's ten trials. The rows go to the screen, and into result.json and result.md.
"""

import io
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
from dns.evaluation.extract import FEATURES, Embeddings, Flip, embed_images, save_features
from dns.evaluation.metrics import Metrics
from dns.evaluation.protocols import PROTOCOLS, ProtocolError, TestSet, run_protocol
from dns.model import DNS
from dns.options import declare
from dns.run import TrainingError
from dns.step import Engine, make_engine
from dns.tested import check_trials, checkpoint_pattern, chosen, describe, numbered, result_folder, settings
from ffcv_convert.schema import STYLES, DataError, Modality, printable
from ffcv_convert.schema.errors import says_enough
from pipelines.augment import RECIPES, normalise
from pipelines.index import open_part, trials_of
from pipelines.loaders import TestLoader
from pipelines.resident import ResidentTestLoader, is_resident

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
        engine.check_width(self.manifest.width_px)
        self._row_of = np.full(len(self.part.converted), -1)
        self._row_of[self.part.sample_N] = np.arange(len(self.part.sample_N))
        draws = {name: self._row_of[rows] for name, rows in self.manifest.trials.items() if name.startswith("official")}
        part = self.part
        self.test_set = TestSet(part.person_N, part.camera_N, part.modality_N, part.path_N, draws)
        how: Any = {"batch_size": options["batch_size"], "device": engine.device, "workers": data["workers"]}
        self._loader = (
            ResidentTestLoader(part, **how)
            if is_resident(data["source"], part, engine.device)
            else TestLoader(part.converted, **how)
        )

    def check_size(self, size_px: Sequence[int], trained: str) -> None:
        """Raises DataError unless `trained` (a name) has pictures of the test set's height and width."""
        if list(size_px) != [self.manifest.height_px, self.manifest.width_px]:
            raise DataError(
                f"{self.part.converted.path}: {self.manifest.height_px} x {self.manifest.width_px} px images, but "
                f"{trained} has {size_px[0]} x {size_px[1]}. Convert the set again: make convert-datasets "
                f"ARGS='--height-px {size_px[0]} --width-px {size_px[1]}'"
            )

    def digests(self) -> dict[str, str]:
        """By name, what may not change while a run tests on it: pictures, and which of them."""
        return {"test set": self.part.digest(), "test set's file": self.manifest.sha256}

    def check_training(self, content: Mapping[str, Any], path: Path) -> None:
        """Raises CheckpointError where a checkpoint was trained on other pictures of this set than are now for
        training: it may know those to test on. Notes another number of identities. The training part need not be
        here."""
        try:
            part = open_part(self.folder, "train", trial=self.data["trial"], styles=self.data["styles"])
        except DataError:
            return
        ours = content["config"].get("data", {}).get("set") == self.data["set"]
        if ours and content["lists"].get("training set", part.digest()) != part.digest():
            raise checkpoint.CheckpointError(
                f"{path}: was trained on other pictures than {part.converted.path} has for training now, and may know "
                "those that it would be tested on. Convert the set again from the lists that it was trained with"
            )
        trained, known = checkpoint.identities_of(content["model"], path), len(np.unique(part.person_N))
        if known != trained:
            print(f"note: {path} was trained on {trained} identities, {self.data['set']} trains on {known}: "
                  "is it another set's?", file=sys.stderr)  # fmt: skip

    def embed(self, model: DNS, rows: np.ndarray | None = None, flip: Flip | None = None) -> Embeddings:
        """Every test image once, or those of `rows` alone (the result's other rows are NaN), on the engine's device.
        flip: eval.flip unless another is given. Leaves the model in evaluation mode."""
        model.eval()
        test, loader = self.test_set, self._loader
        rows = np.arange(len(test.person_N)) if rows is None else rows
        row_of = torch.from_numpy(self._row_of).to(self.engine.device)
        shape = (len(test.person_N), model.width)
        embeddings = Embeddings(*(torch.full(shape, torch.nan, device=self.engine.device) for _ in Embeddings._fields))
        for modality in np.unique(test.modality_N[rows]):
            with loader.samples(self.part.sample_N[rows[test.modality_N[rows] == modality]]) as batches:
                embed_images(
                    model,
                    ((batch.images, row_of[batch.index_B[: batch.count]]) for batch in batches),
                    normalise,
                    embeddings,
                    visible=bool(modality == Modality.VISIBLE),
                    flip=flip or self.options["flip"],
                    engine=self.engine,
                )
        return embeddings

    def choosing_rank1(self, model: DNS, protocol: str) -> float:
        """The number by which the published code chooses an epoch: Rank-1 of BN(Z) on trial 0, without flip.

        Embeds the queries and that trial's gallery alone: 4,104 of SYSU-MM01's 10,578 images."""
        embeddings = self.embed(model, PROTOCOLS[protocol].rows(self.test_set, [0]), flip="off")
        return self.metrics(embeddings.bn, protocol, [0])[0].cmc[0]

    def metrics(
        self, embedding_ND: Tensor, protocol: str, trials: Sequence[int] | None = None, *, re_ranking: bool = False
    ) -> list[Metrics]:
        return run_protocol(PROTOCOLS[protocol], self.test_set, embedding_ND, trials, re_ranking=re_ranking)

    def row(
        self, results: Sequence[Metrics], protocol: str, feature: str, tested: str, *, re_ranking: bool = False
    ) -> Mapping[str, Any]:
        """A report's row, see report.make_row."""
        trained, tested_on = self.data["styles"], self.options["styles"]
        styles = f", styles {trained} tested on {tested_on}" if trained + tested_on != 2 * STYLES else ""
        return report.make_row(
            protocol,
            results,
            dataset=self.manifest.dataset + styles,
            feature=FEATURES[feature],
            flip=self.options["flip"],
            re_ranking="k-reciprocal" if re_ranking else "off",
            precision=self.engine.precision,
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
    tester.check_training(content, path)
    model = build_model(values, checkpoint.identities_of(content["model"], path))
    checkpoint.load_model(model, content["model"], path)
    return tester.engine.place(model)


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
        fresh = declare(list(PROTOCOLS), list(RECIPES))
        values = settings(fresh, arguments, content, number, __doc__)
        known = trials_of(Path(values["data"]["beton_root"]) / values["data"]["set"])
        check_trials(values, pattern, [number for _, number in checkpoints], trial, known)
        folder = result_folder(
            pattern if len(checkpoints) > 1 else path, Path(values["run"]["root"]), ours=bool(content["config"])
        )
        report.read_json(folder / "result.json")  # what cannot be added to is said before the work begins
        tester = Tester(values, make_engine(**values["engine"]))
        named = values["eval"]["protocols"].split(",")
        protocols = list(dict.fromkeys(values["eval"]["protocol"] if name == "auto" else name for name in named))
        for protocol in protocols:
            PROTOCOLS[protocol].check(tester.test_set)  # a misfit is said before the work begins
        embeddings = tester.embed(load_model(path, content, values, tester))
        if not all(torch.isfinite(embedding).all() for embedding in embeddings):
            raise checkpoint.CheckpointError(
                f"{path}: gives embeddings that are not finite. Name an earlier checkpoint"
            )
        if values["eval"]["export"] != "none":
            target = Path(values["eval"]["export"].replace("{trial}", str(number)))
            save_features(target, embeddings, tester.test_set)
            print(f"written: {target}")
        for protocol in protocols:
            for feature in values["eval"]["features"].split(","):
                embedding = getattr(embeddings, feature)
                found[protocol, feature] += tester.metrics(embedding, protocol, re_ranking=values["eval"]["re_ranking"])
        names.append(describe(path, content, values["data"]["set"]))
    tested = names[0] if len(names) == 1 else f"{pattern.name} of {len(names)} runs{chosen(pattern)}"
    rows = [
        tester.row(results, protocol, feature, tested, re_ranking=values["eval"]["re_ranking"])
        for (protocol, feature), results in found.items()
    ]
    report.add_rows(rows, folder)
    return 0


@contextmanager
def user_errors() -> Iterator[None]:
    """Bad input ends with its message and code 2, a run that cannot go on with code 1; others keep a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may be no UTF-8
    try:
        yield
    except (
        config.ConfigError,
        DataError,
        checkpoint.CheckpointError,
        WeightsError,
        ProtocolError,
        report.ReportError,
        OSError,
        TrainingError,
    ) as error:
        if isinstance(error, OSError) and not says_enough(error):
            raise
        next_step = ". Check the path, its permissions and the space left" if isinstance(error, OSError) else ""
        print(printable(f"error: {error}{next_step}"), file=sys.stderr)
        raise SystemExit(1 if isinstance(error, TrainingError) else 2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint, if there is one", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    with user_errors():
        sys.exit(evaluate(sys.argv[1:]))
