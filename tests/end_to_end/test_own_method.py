"""A method that the program does not know is trained, goes on, is tested and reported by its row of the table alone."""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import eval as eval_script
import train_ffcv
from dns.losses import WEIGHT, at_least_float32
from dns.methods import METHODS, Method, baseline
from dns.network import NetworkOptions
from dns.option import option
from dns.training import config as reading
from dns.training.config import given_options, read_config
from dns.training.setup import open_checkpoint, open_training
from ffcv_convert.common.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.support.own_method import OWN, OwnLossOptions
from tests.support.refusals import refusal

RECIPE = """
data: {set: synthetic, persons: 3, pictures: 2, workers: 1}
augment: {recipe: caj, pad_px: 4}
model: {method: own, architecture: resnet10_half, pretrained: none}
optim: {lr: 0.02, epochs: 2, schedule: steps, warm_up_epochs: 1, decay_epochs: "1"}
multiplier: {rest: 1.0}
engine: {device: cpu, precision: fp32}
eval: {protocol: llcm-i2v, every: 1, batch_size: 16, flip: normalised}
run: {log_every: 1}
"""


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    METHODS["own"] = OWN
    reading._options.cache_clear()
    yield
    del METHODS["own"]
    reading._options.cache_clear()


@pytest.fixture
def arguments(beton_root: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "own.yaml").write_text(RECIPE)
    return ["-C", str(tmp_path / "own.yaml"), f"--data.beton_root={beton_root}", f"--run.root={tmp_path / 'runs'}"]


def test_it_is_trained_goes_on_and_is_tested(
    arguments: list[str], beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "runs" / "synthetic-own-seed0"
    assert train_ffcv.train([*arguments, "--optim.accumulate=2"]) == 0
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert {"identity", "views", "total"} <= steps[0].keys()
    assert all(line["total"] == pytest.approx(line["identity"] + 0.5 * line["views"], rel=1e-5) for line in steps)
    assert sorted({line["lr"] for line in steps}) == pytest.approx([0.002, 0.02])
    assert json.loads((run / "result.json").read_text())["feature"] == "Z + BN(Z)"
    assert (run / "report.html").exists()
    assert train_ffcv.train([*arguments, "--optim.accumulate=2"]) == 0
    assert "finished before" in capsys.readouterr().out
    more = ["--model.method=own", f"--data.beton_root={beton_root}", f"--run.root={tmp_path / 'runs'}"]
    export = tmp_path / "features.npz"
    assert eval_script.evaluate(["--data.set=synthetic", *more, f"--eval.export={export}"]) == 0
    rows = json.loads((run / "result.json").read_text())["evaluation"]
    assert {row["feature"] for row in rows} == {"Z + BN(Z)", "0.1 Z + 0.9 BN(Z)"}
    with np.load(export) as stored:
        for name in ("embeddings", "before_neck"):
            halves = np.split(stored[name], 2, axis=1)
            assert all(np.allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5) for half in halves)


def test_accumulated_batches_have_the_gradients_of_each(arguments: list[str]) -> None:
    """The first step on two accumulated batches: the mean of the losses of each by itself."""
    training = open_training(read_config([*arguments, "--optim.accumulate=2"], description=""))
    alone = open_training(read_config(arguments, description=""))
    alone.model.load_state_dict(training.model.state_dict())
    with training.loader.epoch(0) as batches:
        batch = next(batches)
        images, parameters, person_B = (t.clone() for t in (batch.images, batch.augmentation, batch.person_B))
    assert (len(images), len(parameters), len(person_B)) == (36, 36, 24), "augmented on the host: three blocks of 12"
    person = person_B.view(2, 2, 6)
    expected = []
    for number in range(2):
        own = images.view(3, 2, 6, *images.shape[1:])[:, number].flatten(0, 1)
        outputs = alone.model.train()(own[:12], own[12:])
        expected.append(alone.model.loss(outputs, person[:, number].flatten())["total"])
    found = training.step(images, parameters, person_B)["total"]
    assert float(found) == pytest.approx(float(torch.stack(expected).mean().detach()), rel=1e-5)


def test_the_method_of_the_page_adds_its_loss() -> None:
    page = (REPOSITORY / "docs" / "extending.md").read_text().partition("## A method of your own")[2]
    code, row = (textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2])
    names: dict[str, Any] = {
        "dataclass": dataclass, "baseline": baseline, "option": option, "WEIGHT": WEIGHT, "nn": torch.nn,
        "functional": torch.nn.functional, "at_least_float32": at_least_float32, "NetworkOptions": NetworkOptions,
        "Weights": Any, "Tensor": torch.Tensor, "Losses": dict, "Method": Method,
    }  # fmt: skip
    exec(code, names)
    method = eval(f"{{{row}}}", {**names, "mine": SimpleNamespace(**names)})["mine"]
    model = method.network(3, method.model(method="mine", architecture="resnet10_half"), method.loss(compact=0.5))
    images, person = torch.randn(6, 3, 64, 32), torch.tensor([0, 1, 2] * 2)
    losses = model.loss(model(images, images), person.repeat(2))
    assert list(losses) == ["identity", "circle", "compact", "total"]
    expected = losses["identity"] + losses["circle"] + 0.5 * losses["compact"]
    assert float(losses["total"].detach()) == pytest.approx(float(expected.detach()))
    assert model.head.weight in set(model.groups()["rest"])


def test_its_options_alone_are_taken_and_help_shows_them(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert read_config([*arguments, "--loss.views=2"], description="").loss == OwnLossOptions(views=2.0)
    with refusal(ConfigError, "loss.circle", "method own", "identity, views"):
        read_config([*arguments, "--loss.circle=1"], description="")
    with refusal(ConfigError, "loss.views", "method dns"):
        read_config(["--data.set=llcm", "--eval.protocol=llcm-i2v", "--loss.views=1"], description="")
    with refusal(ConfigError, "model.method", "'owm'", "mean own"):
        read_config(["--model.method=owm"], description="")
    assert given_options(["--loss.views=1", "--loss.circle=2"]) == {"loss.views": 1.0, "loss.circle": 2.0}
    with pytest.raises(SystemExit):
        read_config(["--model.method=own", "--help"], description="")
    text = capsys.readouterr().out
    assert "--loss.views" in text
    assert "--loss.circle" not in text
    assert "dns" in text


def test_a_checkpoint_is_of_its_method(arguments: list[str], beton_root: Path, tmp_path: Path) -> None:
    assert train_ffcv.train([*arguments, "--optim.epochs=1", "--report.write=false"]) == 0
    last = tmp_path / "runs" / "synthetic-own-seed0" / "last.pt"
    opened = open_checkpoint(last, f"--data.beton_root={beton_root}")
    assert type(opened.model) is OWN.network
    assert opened.embed().compared("sum").shape[1] == 2 * opened.model.width
    with refusal(ConfigError, "model.method", "dns", "own"):
        open_checkpoint(last, f"--data.beton_root={beton_root}", "--model.method=dns")
