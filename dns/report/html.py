"""Makes pieces of HTML: text, tables, and images as small JPEGs inside the page.

Every name that comes from a data set, a folder or a checkpoint passes `text`.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ffcv_convert.common.errors import printable

LONG = 24  # characters of a cell that may be broken into lines
HEIGHTS_PX = (128, 104, 84, 64)  # heights of thumbnails, tried in turn until the images fit
QUALITY = 72


def text(value: object) -> str:
    """Return HTML that shows the value as it is: markup, quotes and control characters are escaped."""
    return html.escape(printable(str(value), newlines=False))


def table(header: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str, mixed: bool = False) -> str:
    """Return a table with a caption. Cells are text; numbers stand to the right, unless a `mixed` column holds words as
    well."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(_cell(cell, mixed) for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object, mixed: bool) -> str:
    shown = text(value)
    number = not mixed and len(shown) < LONG and (shown[:1].isdigit() or shown[:2] in ("0.", "-0", "-."))
    css = ' class="number"' if number else ' class="long"' if len(shown) > LONG else ""
    return f"<td{css}>{shown}</td>"


def paragraph(*sentences: str) -> str:
    return f"<p>{text(' '.join(filter(None, sentences)))}</p>"


def image(uri: str, alternative: str) -> str:
    return f'<img src="{uri}" alt="{text(alternative)}">'


def thumbnails(pixels: Mapping[int, np.ndarray], shown: Sequence[int], *, bytes_left: int) -> dict[int, str]:
    """Return row of the test set -> data URI of its image, at the largest height at which all fit into `bytes_left`.
    pixels: uint8 (H, W, 3) by row; shown: the rows in the order of the page, each as often as it stands there. Empty
    where even the smallest images need more bytes than are left."""
    tallest = max((one.shape[0] for one in pixels.values()), default=0)
    for height in HEIGHTS_PX:
        if height > tallest and height != HEIGHTS_PX[-1]:
            continue
        found = {row: data_uri(one, height) for row, one in pixels.items()}
        if sum(len(found[row]) for row in shown) <= bytes_left:
            return found
    return {}


def data_uri(pixels: np.ndarray, height_px: int) -> str:
    """Return a JPEG of this height, or of the image's own if that is less, as an address that holds it."""
    return jpeg_uri(jpeg(pixels, height_px))


def jpeg_uri(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def jpeg(pixels: np.ndarray, height_px: int) -> bytes:
    """Return a JPEG of this height, or of the image's own if that is less. pixels: uint8 (H, W, 3)."""
    picture = Image.fromarray(pixels)
    if picture.height > height_px:
        width_px = max(1, round(picture.width * height_px / picture.height))
        picture = picture.resize((width_px, height_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=QUALITY, optimize=True)
    return file.getvalue()
