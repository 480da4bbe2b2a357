"""A training with lazy streams, which must have the bits of one whose work is done at once; and what only it shows.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.races BETON_ROOT WORK_FOLDER SOURCE eager|lazy [FAULT]

Prints one JSON object: the logged losses, and digests of every checkpoint's weights; or the error that ended it.
SOURCE: resident or stream; FAULT: a key of race_faults.FAULTS, something that is then not waited for. order.py says
what lazy means.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from dns.training import checkpoint
from tests.cuda_stand_in import order, whole
from tests.cuda_stand_in.race_faults import FAULTS

LOG = "--run.log_every=4"  # every logged step waits for the device: at each step there would be nothing to be late


def digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def digests(written: list[str]) -> Callable[..., None]:
    """checkpoint.save, which also notes what it is given when it writes it."""
    save = checkpoint.save

    def noting(path: Path, content: dict[str, Any]) -> None:
        written.append(digest(content["model"]))
        save(path, content)

    return noting


def main(beton_root: str, folder: str, source: str, how: str, fault: str = "") -> None:
    if how == "lazy":
        order.make_lazy()
    written: list[str] = []
    fault_in = patch.object(*FAULTS[fault]) if fault else nullcontext()
    try:
        with fault_in, patch.object(checkpoint, "save", digests(written)):
            found = whole.trained(Path(beton_root), Path(folder), "run", f"--data.source={source}", LOG)
        print(
            json.dumps(
                {"losses": found.losses, "rank1": found.rank1, "last": digest(found.tensors), "written": written}
            )
        )
    except Exception as error:  # numbers that are wrong may end it
        if not fault:
            raise
        print(json.dumps({"error": repr(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
