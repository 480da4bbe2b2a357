"""Shows how far a conversion, a check or a drawing has come."""

from collections.abc import Iterable

from tqdm import tqdm

from ffcv_convert.common.atomic import stops_held


def progress(images: Iterable | None, title: str, total: int) -> tqdm:
    """Return a bar over `images`, or one to be updated by hand.

    Ctrl-C and SIGTERM wait until it is made, because half a tqdm cannot close itself and prints a traceback.
    """
    with stops_held():
        return tqdm(images, title, total, unit="images", dynamic_ncols=True)
