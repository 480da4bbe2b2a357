"""Errors of the system's: one line for those that name a path or a full disk, a traceback for those that do not."""

import errno
import os
from collections.abc import Callable

import pytest

from ffcv_convert import __main__ as converter
from ffcv_convert import synthetic
from ffcv_convert.common.errors import user_errors

Program = Callable[[OSError], None]

CLEAR = [
    *(OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "Beton/synthetic"),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs"),
]
UNCLEAR = [
    OSError("libturbojpeg.so: cannot open shared object file"),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)),
    OSError(errno.EIO, os.strerror(errno.EIO)),
    ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
]


def fail_deep_down(error: OSError) -> None:
    raise error


def train_or_test(error: OSError) -> None:
    with user_errors():
        fail_deep_down(error)


def convert(error: OSError) -> None:
    converter.main(["synthesise"])


@pytest.mark.parametrize("program", [train_or_test, convert])
@pytest.mark.parametrize("error", [*CLEAR, *UNCLEAR], ids=repr)
def test_every_program(
    error: OSError,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    program: Program,
) -> None:
    monkeypatch.setattr(synthetic, "synthesise", lambda *_, **__: fail_deep_down(error))
    with pytest.raises(SystemExit if error in CLEAR else OSError) as caught:
        program(error)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {error}. "), "and what to do about it"
    else:
        assert caught.value is error
        assert caught.traceback[-1].name == "fail_deep_down"
