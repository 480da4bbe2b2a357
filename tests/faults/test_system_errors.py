"""Errors of the system's: one line for those that name a path or a full disk, a traceback for those that do not."""

import errno
import os

import pytest

from eval import user_errors
from ffcv_convert import __main__ as converter
from ffcv_convert import synthesis

SPACE = ". Check the path, its permissions and the space left\n"
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


@pytest.mark.parametrize("error", [*CLEAR, *UNCLEAR], ids=repr)
def test_training_and_testing(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit if error in CLEAR else OSError) as caught, user_errors():
        fail_deep_down(error)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
        assert capsys.readouterr().err == f"error: {error}{SPACE}"
    else:
        assert caught.value is error
        assert caught.traceback[-1].name == "fail_deep_down"


@pytest.mark.parametrize("error", [*CLEAR, *UNCLEAR], ids=repr)
def test_the_converter(error: OSError, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "synthesise", lambda *_, **__: fail_deep_down(error))
    assert converter.main(["synthesise"]) == 2
    said = capsys.readouterr().err
    if error in CLEAR:
        assert said == f"error: {error}{SPACE}"
    else:
        assert "in fail_deep_down\n" in said
        assert said.endswith(f"\nerror: {error}\n")
