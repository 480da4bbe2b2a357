"""Makes configurations for tests."""

from pathlib import Path
from typing import Any

from dns.training.config import read_config
from dns.training.options import Config
from tests.conftest import REPOSITORY

# Of `small_run` in tests/conftest.py, and of whoever trains as it did.
SMALL_RUN = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=3", "--data.pictures=2",
    "--optim.epochs=1", "--eval.batch_size=16", "--run.log_every=1", "--data.workers=1", "--engine.device=cpu",
    "--engine.precision=fp32", "--run.name=run",
]  # fmt: skip


def small_set(beton_root: Path) -> list[str]:
    """Return how eval.py reads the small set."""
    return [f"--data.beton_root={beton_root}", "--eval.batch_size=16", "--data.workers=1"]


def make_config(*arguments: str, recipe: str = "synthetic") -> Config:
    """Read the configuration of a recipe, with command-line options over it."""
    return read_config(["--config-file", str(REPOSITORY / "configs" / f"{recipe}.yaml"), *arguments], description="")


def stored_config(content: dict[str, dict[str, Any]]) -> Config:
    """Read the configuration that a checkpoint or nonfinite.json holds."""
    return read_config([], description="", base=content)
