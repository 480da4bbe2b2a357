"""Errors that end a program with a message in the place of a traceback, and how a message is put on a terminal."""

import errno
import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_MESSAGE = 4000  # characters
STOPPED = "stopped; the same command goes on from the last checkpoint, if there is one"


class UserError(Exception):
    """What whoever runs the program can put right. The message names the file, the problem and the next step."""

    exit_code = 2


class DataError(UserError):
    """A data set, or a converted one, that is missing, damaged or does not fit."""


class ConfigError(UserError):
    """A configuration that cannot be used; the message names the key, its place and the nearest valid key."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, written or used."""


class WeightsError(UserError):
    """Initial weights that cannot be had or do not fit."""


class ProtocolError(UserError):
    """A test protocol that does not fit the test set; the message says what the set lacks."""


class ReportError(UserError):
    """A result that cannot be read or written."""


class TrainingError(UserError):
    """Training cannot go on; the message says what was written where."""

    exit_code = 1


# Without a path, but clear: the disk is full, or what reads the output has ended.
CLEAR = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)


def says_enough(error: OSError) -> bool:
    """Whether the message alone tells what to do, as it names a path or says that the disk is full. Any other, such as
    that of a library which does not load, is of no use without its traceback."""
    return error.filename is not None or error.errno in CLEAR


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the system that names no file, as that of a write does not, name this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def as_data_errors() -> Iterator[None]:
    """Turn an error of the system that says enough into a DataError with advice."""
    try:
        yield
    except OSError as error:
        if not says_enough(error):
            raise
        path = error.filename2 or error.filename
        raise DataError(f"{f'{path}: ' if path else ''}{error.strerror or error}. {_advice(error)}") from None


def _advice(error: OSError) -> str:
    advice = {errno.EWOULDBLOCK: "Wait for it to end, then try again", errno.ELOOP: "Remove it"}
    return advice.get(error.errno or 0, "Check the path, its permissions and the space left")


def printable(message: str, *, newlines: bool = True) -> str:
    """`message` without what a terminal would obey: names of files and values of manifests may hold control characters.
    Of what is longer than MAX_MESSAGE both ends stay."""
    half = MAX_MESSAGE // 2
    kept = "\n" if newlines else ""
    shown = "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in message
    )
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:half]} ... {shown[-half:]}"


def complain(error: UserError | OSError) -> None:
    """Print the message to standard error: with advice for an error of the system, with its traceback where the
    message alone says too little."""
    advice = ""
    if isinstance(error, OSError):
        if says_enough(error):
            advice = f". {_advice(error)}"
        else:
            traceback.print_exception(type(error), error, error.__traceback__)
    print(printable(f"error: {error}{advice}"), file=sys.stderr)


@contextmanager
def user_errors(stopped: str = STOPPED) -> Iterator[None]:
    """A program's main block. Errors of users end it with their message and exit code, Ctrl-C with the message
    `stopped` and 130, or with the code that the KeyboardInterrupt carries; other errors keep their traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may be no UTF-8
    try:
        yield
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and not says_enough(error):
            raise
        complain(error)
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    except KeyboardInterrupt as stop:
        print(stopped, file=sys.stderr)
        raise SystemExit(stop.args[0] if stop.args else 130) from None
