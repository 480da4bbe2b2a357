"""What hypothesis draws from, and what it changes, shared by the tests of properties."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as some

ANY_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def mutated(seed: bytes) -> some.SearchStrategy[bytes]:
    """`seed` with a few places overwritten, cut out or filled in, by bytes that mean something to some reader."""
    telling = some.sampled_from([b"\0", b"\n", b"\r", b",", b'"', b"\xff", b"-1", b"9" * 30, b"NaN", b"[" * 99, b"../"])
    change = some.tuples(some.integers(0, len(seed)), some.integers(0, 9), telling | some.binary(max_size=4))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for start, length, new in changes:
            data = data[:start] + new + data[start + length :]
        return data

    return some.lists(change, max_size=4).map(apply)


def places(value: object) -> Iterator[tuple[object, ...]]:
    """The keys that lead to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield ()
    for key, part in inner:
        yield from ((key, *rest) for rest in places(part))


def with_value(content: Any, place: tuple, value: Any) -> Any:
    """A copy of `content` that has `value` at this place."""
    if not place:
        return value
    changed = inner = deepcopy(content)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed
