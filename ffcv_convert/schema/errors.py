"""The error that bad input raises, which of the system's are like it, and how a message is put on a terminal."""

import errno

MAX_MESSAGE = 4000  # characters


class DataError(Exception):
    """Bad input data; the message names the file, the problem and the next step."""


# Without a path, but clear: the disk is full, or what reads the output has ended.
CLEAR = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)


def says_enough(error: OSError) -> bool:
    """Whether the message alone tells what to do, as it names a path or says that the disk is full. Any other, such as
    that of a library which does not load, is of no use without its traceback."""
    return error.filename is not None or error.errno in CLEAR


def printable(message: str) -> str:
    """`message` without what a terminal would obey: names of files and values of manifests may hold control characters.
    Newlines stay; of what is longer than MAX_MESSAGE both ends do."""
    half = MAX_MESSAGE // 2
    shown = "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in message
    )
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:half]} ... {shown[-half:]}"
