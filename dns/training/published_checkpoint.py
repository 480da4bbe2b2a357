"""Finds the method of a published checkpoint by the names of its tensors, and renames them to ours."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dns.methods import METHODS
from dns.published import PublishedNames, fits, rename, unwrapped
from ffcv_convert.common.errors import CheckpointError

State = Mapping[str, Tensor]


def recognised(net: State) -> list[str]:
    """Return the methods whose published checkpoints have these names, and no others: none, one, or several."""
    return [name for name, method in METHODS.items() if any(fits(net, layout) for layout in method.published)]


def is_published(net: State) -> bool:
    """Whether the tensors are named as in a published checkpoint, perhaps a damaged one: its visible stem tells."""
    stems = {theirs for layout in _layouts() for theirs, ours in layout.names.items() if ours == "visible_stem."}
    return any(f".{stem}" in f".{name}" for name in net for stem in stems)


def method_of(net: State, path: Path) -> str:
    """Return the method whose published checkpoint this is; of names that fit none, the one that knows most of them.

    Raises CheckpointError where several methods have the same names.
    """
    found = recognised(net)
    if len(found) > 1:
        raise CheckpointError(
            f"{path}: of {' or '.join(found)}, whose published checkpoints have tensors of the same names. Say which: "
            f"make METHOD={found[0]}, --model.method={found[0]}"
        )
    known = [name for name, method in METHODS.items() if method.published]
    return found[0] if found else min(known, key=lambda name: _unknown(net, _layout_of(net, name)))


def renamed(net: State, path: Path, method: str) -> dict[str, Tensor]:
    """Return the tensors of a method's published checkpoint in our names, without those that nothing uses. Raises
    CheckpointError where they are another method's, or no method's."""
    found = recognised(net)
    if found and method not in found:
        raise CheckpointError(
            f"{path}: a published checkpoint of {' or '.join(found)}, not of {method}. Name its method: make "
            f"METHOD={found[0]}, --model.method={found[0]}"
        )
    if not METHODS[method].published:
        raise CheckpointError(f"{path}: none of {method} is published. Name another checkpoint")
    return rename(net, path, _layout_of(net, method))


def _layouts() -> list[PublishedNames]:
    return [layout for method in METHODS.values() for layout in method.published]


def _layout_of(net: State, method: str) -> PublishedNames:
    """Return the method's layout that knows most of these names."""
    return min(METHODS[method].published, key=lambda layout: (not fits(net, layout), _unknown(net, layout)))


def _unknown(net: State, layout: PublishedNames) -> int:
    """Count the names that a layout does not know, and its own that are missing."""
    prefixes = [layout.prefix(name) for name in unwrapped(net) if not layout.leaves_out(name)]
    return prefixes.count(None) + len(layout.names.keys() - set(prefixes))
