"""Defines errors that end a program with a message instead of a traceback, and prints their messages."""

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
    """An error that the user can fix. The message names the file, the problem and the next step."""

    exit_code = 2


class DataError(UserError):
    """A raw or converted data set is missing, damaged or does not fit."""


class IncompleteError(DataError):
    """A data set lacks images that were published or are needed. The message says how to go on with what is there."""

    exit_code = 3


class ConfigError(UserError):
    """The configuration cannot be used. The message names the key, where it was set and the nearest valid key."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, written or used."""


class WeightsError(UserError):
    """Initial weights cannot be obtained or do not fit."""


class ProtocolError(UserError):
    """A test protocol does not fit the test set. The message says what the set lacks."""


class ReportError(UserError):
    """A result cannot be read or written."""


class TrainingError(UserError):
    """Training cannot continue. The message says what was written where."""

    exit_code = 1


# These errors are clear without a path: the disk is full, or the reader of the output has ended.
CLEAR = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)


def says_enough(error: OSError) -> bool:
    """Whether the message is useful without a traceback, because it names a path or says that the disk is full. Other
    messages are not, such as that of a library that does not load."""
    return error.filename is not None or error.errno in CLEAR


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Add `path` to an OSError that names no file, such as that of a failed write."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def as_data_errors() -> Iterator[None]:
    """Turn an OSError that says enough into a DataError with advice."""
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


def after_failed_write(error: OSError) -> str:
    """Return the next step where a file could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space, then run the same command again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "Name a folder that you may write in"
    return "Check the disk, then run the same command again"


def printable(message: str, *, newlines: bool = True) -> str:
    """Return `message` with its control characters escaped, because names of files in archives may hold them. If the
    message is longer than MAX_MESSAGE, cut out its middle."""
    half = MAX_MESSAGE // 2
    kept = "\n" if newlines else ""
    shown = "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in message
    )
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:half]} ... {shown[-half:]}"


def complain(error: UserError | OSError) -> None:
    """Print the message to standard error. An OSError gets advice, or a traceback if its message says too little."""
    advice = ""
    if isinstance(error, OSError):
        if says_enough(error):
            advice = f". {_advice(error)}"
        else:
            traceback.print_exception(type(error), error, error.__traceback__)
    print(printable(f"error: {error}{advice}"), file=sys.stderr)


@contextmanager
def user_errors(stopped: str = STOPPED) -> Iterator[None]:
    """Wrap a program's main block. A UserError ends it with its message and exit code; Ctrl-C ends it with the message
    `stopped` and 130, or the code that the KeyboardInterrupt carries. Other errors keep their traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may not be UTF-8
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
