"""Configurations for tests."""

from typing import Any

from dns.training import config
from dns.training.options import Config
from tests.conftest import REPOSITORY


def make_config(*arguments: str, recipe: str = "synthetic") -> Config:
    """A recipe with options of the command line over it."""
    return config.read(["--config-file", str(REPOSITORY / "configs" / f"{recipe}.yaml"), *arguments], description="")


def stored_config(content: dict[str, dict[str, Any]]) -> Config:
    """Of a checkpoint or of nonfinite.json."""
    return config.read([], description="", base=content)
