"""The error that bad input raises, and how its message is put on a terminal."""

MAX_MESSAGE = 4000  # characters


class DataError(Exception):
    """Bad input data; the message names the file, the problem and the next step."""


def printable(message: str) -> str:
    """`message` without what a terminal would obey: names of files and values of manifests may hold control characters.
    Newlines stay; of what is longer than MAX_MESSAGE both ends do."""
    half = MAX_MESSAGE // 2
    shown = "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in message
    )
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:half]} ... {shown[-half:]}"
