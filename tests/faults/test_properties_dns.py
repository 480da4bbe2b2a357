"""Whatever a checkpoint holds is read right, or refused by an error that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from dns.network import Network
from dns.training import checkpoint, selection
from dns.training.checkpoint import load_to_test
from dns.training.options import Config
from dns.training.state import TrainingState
from ffcv_convert.common.errors import CheckpointError, ConfigError, TrainingError
from ffcv_convert.common.world import World
from tests.faults.conftest import Tally
from tests.faults.strategies import ANY_JSON, mutated, places, with_value
from tests.faults.training_child import same
from tests.support.configs import make_config

pytestmark = pytest.mark.usefixtures("little_memory")

SYSU = make_config(recipe="sysu")


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


class Small(nn.Module):
    """As much of a network as a checkpoint is asked for."""

    switches, training_only = Network.switches, Network.training_only
    without_unbuilt, switch_of = Network.without_unbuilt, Network.switch_of

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
    selection.config_for_checkpoint([], content, 0, "")


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
