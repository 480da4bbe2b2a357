"""Makes configurations for tests."""

from typing import Any

from dns.training import config
from dns.training.options import Config
from tests.conftest import REPOSITORY


def make_config(*arguments: str, recipe: str = "synthetic") -> Config:
    """Read the configuration of a recipe, with command-line options over it."""
    return config.read(["--config-file", str(REPOSITORY / "configs" / f"{recipe}.yaml"), *arguments], description="")


def stored_config(content: dict[str, dict[str, Any]]) -> Config:
    """Read the configuration that a checkpoint or nonfinite.json holds."""
    return config.read([], description="", base=content)
