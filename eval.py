"""Test a checkpoint: checkpoint -> embeddings -> protocols -> report.

    python eval.py --eval.checkpoint=runs/llcm-seed0/best.pt
    make eval DATASET=llcm

The data set and the network are the checkpoint's own; every option of train_ffcv.py can still be given. The rows go to
the screen, and into result.json and result.md of the folder that holds the checkpoint.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns import checkpoint, config
from dns.backbone import WeightsError
from dns.evaluation import report
from dns.evaluation.extract import embed_images
from dns.evaluation.protocols import PROTOCOLS, TRIALS, TestSet, run_protocol
from dns.model import DNS
from dns.options import Config, declare
from dns.run import TrainingError
from dns.step import Engine, make_engine
from ffcv_convert.schema import DataError, Modality, open_beton
from pipelines.augment import RECIPES, normalise
from pipelines.loaders import TestLoader

Values = Mapping[str, Mapping[str, Any]]


class Tester:
    """The test part of a data set, embedded by a model and ranked under named protocols."""

    def __init__(self, values: Values, engine: Engine):
        options, data = values["eval"], values["data"]
        self.converted = open_beton(Path(data["beton_root"]) / data["set"] / "test.beton")
        column = self.converted.structure.column
        paths = self.converted.manifest.column("path")
        self.test_set = TestSet(column("person"), column("camera"), column("modality"), paths)
        self.flip, self.engine = options["flip"], engine
        self._loader = TestLoader(
            self.converted, batch_size=options["batch_size"], device=engine.device, workers=data["workers"]
        )

    def check_size(self, size_px: Sequence[int], trained: str) -> None:
        """Raises DataError unless `trained` (a name) has pictures of the test set's height and width."""
        manifest = self.converted.manifest
        if list(size_px) != [manifest.height_px, manifest.width_px]:
            raise DataError(
                f"{self.converted.path}: {manifest.height_px} x {manifest.width_px} px images, but {trained} has "
                f"{size_px[0]} x {size_px[1]}. Convert the set again with --height-px and --width-px"
            )

    def embed(self, model: DNS) -> Tensor:
        """Every test image once: float32 (N, D) on the engine's device. Leaves the model in evaluation mode."""
        model.eval()
        embedding_ND = torch.empty(len(self.converted), model.width, device=self.engine.device)
        for modality in np.unique(self.test_set.modality_N):
            with self._loader.samples(np.flatnonzero(self.test_set.modality_N == modality)) as batches:
                embed_images(
                    model,
                    ((batch.images_BHWC, batch.index_B[: batch.count]) for batch in batches),
                    normalise,
                    embedding_ND,
                    visible=bool(modality == Modality.VISIBLE),
                    flip=self.flip,
                    engine=self.engine,
                )
        return embedding_ND

    def rows(
        self, model: DNS, protocols: Sequence[str], checkpoint_name: str, trials: Sequence[int] = range(TRIALS)
    ) -> list[Mapping[str, Any]]:
        """One row a protocol, see report.make_row."""
        embedding_ND = self.embed(model)
        return [
            report.make_row(
                name,
                run_protocol(PROTOCOLS[name], self.test_set, embedding_ND, trials),
                dataset=self.converted.manifest.dataset,
                feature="BN(Z)",
                flip=self.flip,
                checkpoint=checkpoint_name,
            )
            for name in protocols
        ]


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
    tester.check_size(content["size_px"], str(path))
    identities = content["model"]["classifier.weight"].shape[0]
    model = build_model(values, identities)
    checkpoint.load_model(model, content["model"], path)
    return tester.engine.place(model)


def describe(path: Path, content: Mapping[str, Any]) -> str:
    """A checkpoint's name in a report: file, epoch, and that it was chosen on the test set, where it was."""
    name = f"{path.name}, epoch {content['epoch']}"
    return f"{name}, chosen by rank-1 on trial 0" if path.name == "best.pt" else name


def find_checkpoint(options: Config, arguments: Sequence[str]) -> Path:
    """--eval.checkpoint, or best.pt of the run folder that --run.name (or --data.set and --run.seed) means."""
    files, flags = config.split_arguments(arguments)
    given: dict[str, Any] = {}
    for file in files or []:
        given |= {key: found.value for key, found in config.read_yaml(options, Path(file)).items()}
    given |= flags
    if given.get("eval.checkpoint", "auto") != "auto":
        return Path(given["eval.checkpoint"])
    name = given.get("run.name", "auto")
    if name == "auto":
        name = f"{given.get('data.set', 'synthetic')}-seed{given.get('run.seed', 0)}"
    return Path(given.get("run.root", "runs")) / name / "best.pt"


def evaluate(arguments: Sequence[str]) -> int:
    options = declare(list(PROTOCOLS), list(RECIPES))
    asks_help = config.split_arguments(arguments)[0] is None
    path = Path() if asks_help else find_checkpoint(options, arguments)
    content = {} if asks_help else checkpoint.load(path)
    base = {name: section for name, section in content.get("config", {}).items() if name != "engine"}  # this machine's
    values = config.read(options, arguments, description=__doc__, base=base)
    engine = make_engine(**values["engine"])
    tester = Tester(values, engine)
    model = load_model(path, content, values, tester)
    rows = tester.rows(model, values["eval"]["protocols"].split(","), describe(path, content))
    title = path.absolute().parent.name
    print(report.screen(rows, title))
    result = path.parent / "result.json"
    before = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    rows = report.merge(before.get("evaluation", []), rows)
    report.write_json(result, {**before, "evaluation": rows})
    report.write_text(path.parent / "result.md", report.markdown(rows, title))
    print(f"written: {result}, {result.with_suffix('.md')}")
    return 0


@contextmanager
def user_errors() -> Iterator[None]:
    """Bad input ends with its message and code 2, a run that cannot go on with code 1; others keep a traceback."""
    try:
        yield
    except (config.ConfigError, DataError, checkpoint.CheckpointError, WeightsError) as error:
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
