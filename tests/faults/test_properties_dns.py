"""Whatever recipes, command lines and checkpoints hold: read right, or refused by the error that names them."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from torch import nn

from dns.engine import make_engine
from dns.model import GROUPS
from dns.optim import learning_rate, make_optimiser, set_learning_rate
from dns.training import checkpoint, config, repeats, selection
from dns.training.checkers import Number
from dns.training.checkpoint import load_to_test
from dns.training.options import Config
from dns.training.run_folder import RunFolder
from dns.training.state import TrainingState
from ffcv_convert.common.errors import CheckpointError, ConfigError, TrainingError
from ffcv_convert.common.world import World
from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally
from tests.faults.strategies import ANY_JSON, mutated, places, with_value
from tests.faults.training_child import same
from tests.support.configs import make_config

pytestmark = pytest.mark.usefixtures("little_memory")

RECIPE = (REPOSITORY / "configs" / "sysu.yaml").read_bytes()
SYSU = make_config(recipe="sysu")
NAMES = [".".join(path) for path in config.declare().entries]
TELLING = some.sampled_from([
    "1", "-1", "0", "1e999", "1e300", "1e30", "nan", "1" + "0" * 23, "1" + "0" * 400, "100000000",
    "2001-99-99", "!!int x", "!!timestamp x", "[]", "on", "~", "cpu",
])  # fmt: skip
SECTIONS = sorted({name.split(".")[0] for name in NAMES})
# What a command line can carry: no NUL, but bytes that are no UTF-8, as surrogates.
WORD = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]) | some.just("\udcff"), max_size=9)


def read(*arguments: str) -> Config:
    return config.read(arguments, description="")


def refusal(work: Callable[[], object]) -> str:
    """Its message, empty where nothing was refused."""
    try:
        work()
    except (
        CheckpointError,
        ConfigError,
        TrainingError,
    ) as error:  # the last: weights that are no numbers are not saved
        return str(error)
    return ""


class Groups(nn.Module):
    """As much of a network as an optimiser is asked for."""

    def __init__(self) -> None:
        super().__init__()
        for name in GROUPS:
            self.add_module(name, nn.Linear(2, 1))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {name: list(getattr(self, name).parameters()) for name in GROUPS}


def use_values(values: Config) -> None:
    """What a training does with a configuration, as far as it costs nothing. Refusals are errors with a message."""
    with torch.random.fork_rng():
        torch.manual_seed(values.run.seed)
    with suppress(ConfigError):  # of a device that is not here
        make_engine(values.engine)
    members = repeats.members(values, [1, 2])
    with suppress(OSError, ConfigError):  # of names that are too long; of TensorBoard where it is not installed
        RunFolder(members[-1], World(torch.device("cpu")))
        repeats.folder(values).exists()
    optim = values.optim
    for fused in (False, True):
        model = Groups()
        optimiser = make_optimiser(
            model,  # type: ignore[arg-type]
            optim,
            values.multiplier,
            fused=fused,
        )
        peaks = {"peak": optim.lr, "epochs": optim.epochs, "peak_epoch": optim.peak_epoch}
        for epoch in {0, min(optim.peak_epoch, optim.epochs) - 1, optim.epochs - 1}:
            set_learning_rate(optimiser, learning_rate(epoch, 1, scheduled=2, **peaks, published=False))
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimiser.step()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the runs of the checkout would be found."""
    monkeypatch.chdir(tmp_path)


def check_recipe(path: Path) -> None:
    """A recipe that is accepted holds finite numbers, can be used, and is the same when it was written and read."""
    if said := refusal(lambda: read("--config-file", str(path))):
        assert str(path) in said or "is missing" in said
        return
    values = read("--config-file", str(path))
    numbers = [value for part in values.stored().values() for value in part.values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    use_values(values)
    path.write_text(config.to_yaml(values, "again"))
    assert read("--config-file", str(path)) == values


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        (tmp_path / "recipe.yaml").write_bytes(content)
        return tmp_path / "recipe.yaml"

    return write


def test_any_bytes_of_a_recipe_are_read_or_refused(
    recipe: Callable[[bytes], Path], examples: settings, tally: Tally
) -> None:
    @examples
    @given(some.binary(max_size=99) | mutated(RECIPE))
    def check(content: bytes) -> None:
        tally.did("hostile_inputs")
        check_recipe(recipe(content))

    check()


def test_any_value_of_an_option_is_read_or_refused(
    recipe: Callable[[bytes], Path], examples: settings, tally: Tally
) -> None:
    good = yaml.safe_load(RECIPE)

    @examples
    @given(some.sampled_from([*places(good), *(tuple(name.split(".")) for name in NAMES)]), ANY_JSON | TELLING)
    def check(place: tuple, value: object) -> None:
        tally.did("hostile_inputs")
        if len(place) == 2:
            good.setdefault(place[0], {})
        text = yaml.safe_dump(with_value(good, place, "HERE"))
        as_it_stands = isinstance(value, str) and value.isprintable()
        check_recipe(recipe(text.replace("HERE", value if as_it_stands else yaml.safe_dump(value)).encode()))

    check()


def test_any_command_line_is_read_or_refused(examples: settings, tally: Tally) -> None:
    key = some.sampled_from(NAMES) | WORD
    option = some.builds("--{}={}".format, key, WORD | TELLING) | some.builds("--{}".format, key) | WORD
    good = ["--config-file", str(REPOSITORY / "configs" / "sysu.yaml")]

    @examples
    @given(some.lists(option | some.sampled_from(["-C", *good]), max_size=4))
    def check(words: list[str]) -> None:
        tally.did("hostile_inputs")
        if not refusal(lambda: config.split_arguments(words)):
            assume(config.split_arguments(words)[0] is not None)  # help was asked for
        if not refusal(lambda: read(*good, *words)):
            values = read(*good, *words)
            assert {f"{section}.{key}" for section, part in values.stored().items() for key in part} == set(NAMES)
            use_values(values)

    check()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_ends_of_every_range_can_be_used(tally: Tally, optimiser: str, end: str) -> None:
    numbers = [
        f"--{'.'.join(path)}={getattr(param.checker, end)}"
        for path, param in config.declare().entries.items()
        if isinstance(param.checker, Number)
    ]
    tally.did("hostile_inputs", len(numbers))
    recipe = str(REPOSITORY / "configs" / "sysu.yaml")
    use_values(read("--config-file", recipe, *numbers, f"--optim.name={optimiser}"))


class Small(nn.Module):
    """As much of a network as a checkpoint is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.neck, self.classifier = nn.BatchNorm1d(4), nn.Linear(4, 3, bias=False)


def make_state(recipe: Config = SYSU) -> TrainingState:
    torch.manual_seed(1)
    model = Small()
    groups = [{"params": [*model.neck.parameters()], "multiplier": 1.0}, {"params": [*model.classifier.parameters()]}]
    optimiser = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    model.classifier(model.neck(torch.randn(5, 4))).sum().backward()
    optimiser.step()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return TrainingState(
        World(torch.device("cpu")),
        model,  # type: ignore[arg-type]
        optimiser,
        scaler,
        recipe,
        (32, 16),
        "aa",
    )


def use(path: Path) -> None:
    """What training and testing do with a checkpoint. Raises CheckpointError or ConfigError."""
    state = make_state()
    with torch.random.fork_rng():
        state.restore(path, checkpoint.load(path))
    model, optimiser = state.model, state.optimiser
    model.classifier(model.neck(torch.randn(5, 4))).sum().backward()
    optimiser.step()
    state.save(path)
    state.writer.wait()
    content = load_to_test(path)
    checkpoint.identities_of(content["model"], path)
    selection.settings([], content, 0, "")


def same_as(good: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError; what is read and differs fails the test."""
    assert same(checkpoint.load(path), good), "it differs, and is not refused"
    use(path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("stored") / "last.pt"
    state = make_state()
    state.save(path)
    state.writer.wait()
    use(path)
    return path.read_bytes()


@pytest.fixture
def path(stored: bytes, tmp_path: Path) -> Path:
    """A good checkpoint, to be overwritten."""
    (tmp_path / "last.pt").write_bytes(stored)
    return tmp_path / "last.pt"


def test_any_bytes_of_a_checkpoint_are_read_or_refused(
    stored: bytes, path: Path, examples: settings, tally: Tally
) -> None:
    good = checkpoint.load(path)

    @examples
    @given(some.binary(max_size=99) | mutated(stored))
    def check(content: bytes) -> None:
        tally.did("hostile_inputs")
        path.write_bytes(content)
        said = refusal(lambda: same_as(good, path))
        assert not said or path.name in said

    check()


TWICE: list[Any] = []
for _ in range(60):
    TWICE = [TWICE, TWICE]  # a few bytes of a file: to go through it, or to show it, would never end
ODD = some.sampled_from([
    TWICE,
    torch.tensor(float("nan")), torch.zeros(0), torch.zeros(1).expand(10**9), torch.zeros(3, 4, dtype=torch.int8),
    torch.zeros(2, 2).to_sparse(), torch.zeros(4, dtype=torch.complex64), torch.zeros(3, 5),
])  # fmt: skip


def test_any_value_in_a_checkpoint_is_used_or_refused(path: Path, examples: settings, tally: Tally) -> None:
    good = checkpoint.load(path)

    @examples
    @given(some.sampled_from([place for place in places(good) if place != ()]), ANY_JSON | ODD)
    def check(place: tuple, value: object) -> None:
        tally.did("hostile_inputs")
        torch.save(with_value(good, place, value), path)
        refusal(lambda: use(path))

    check()
