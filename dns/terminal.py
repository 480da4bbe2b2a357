"""Text of files on a terminal."""


def printable(text: str) -> str:
    """`text` in one line, without what a terminal would obey: names and values in files may hold control characters.

    ffcv_convert.schema has one of its own, for whole messages: it leaves newlines.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
