"""What numpy, torch and the system raise where the host's memory is full ends with a message; other errors pass."""

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dns.training.stopping import out_of_memory
from ffcv_convert.common.errors import TrainingError
from tests.support.refusals import refusal

ALL = 1 << 58  # bytes: more than any machine has


def no_more() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize("ask", [lambda: np.empty(ALL, np.uint8), lambda: torch.empty(ALL, dtype=torch.uint8), no_more])
def test_a_full_host_is_told_with_what_stands(ask: Callable[[], object]) -> None:
    with refusal(TrainingError, "--eval.batch_size=32", "last.pt stands"), out_of_memory("; last.pt stands"):
        ask()


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.EIO, "broken"), RuntimeError("")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, out_of_memory():
        raise error
    assert caught.value is error
