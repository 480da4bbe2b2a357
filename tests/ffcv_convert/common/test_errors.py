"""Messages as they are printed on a terminal."""

from ffcv_convert.common.errors import printable


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    hostile = "a\x1b]0;owned\x07b\r\x00\x9b31m\u202e\udce9 caf\u00e9\nnext line"
    escaped = "a\\x1b]0;owned\\x07b\\r\\x00\\x9b31m\\u202e\\udce9 caf\u00e9\nnext line"
    assert printable(hostile) == escaped
    assert printable(hostile, newlines=False) == escaped.replace("\n", "\\n")
    assert printable("x" * 4000) == "x" * 4000
    long = printable("error: " + "\x1b" * 10**6 + ". Remove it")
    assert len(long) < 4100
    assert long.startswith("error: \\x1b")
    assert long.endswith("x1b. Remove it")
