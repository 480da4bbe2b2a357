"""How tests look at an error: its class, the file or option that it names, and the data that the user needs beside it.

Which words stand around them is the business of tests/test_messages.py alone, so that a better sentence breaks one row.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refusal(error: type[BaseException], names: object, *holds: object) -> Iterator[pytest.ExceptionInfo]:
    """Passes if the block raises `error` itself, not a class below it, and its message tells all the rest.

    names: the path or the option that the error is about. holds: numbers and names that the user needs to find the
    cause; where one class has several messages for one file, the word that tells this one from the others.
    """
    with pytest.raises(error) as caught:
        yield caught
    assert caught.type is error
    assert_tells(str(caught.value), names, *holds)


def assert_tells(message: str, *parts: object) -> None:
    """Each part stands in the message as a whole: not 1 in 12, in 1,000 or in -1, nor all.beton in all.beton.partial.
    What was found is cut out, so that a number is not found in a path that stands before it in `parts`."""
    left = message
    for part in map(str, parts):
        before = r"(?<![\w.\-])(?<!\d,)" if part[0].isdigit() else r"(?<![\w.])"
        left, found = re.subn(rf"{before}{re.escape(part)}(?![\w/]|[.\-]\w|,\d)", " ", left)
        assert found, f"{part!r} is not in the message: {message}"
