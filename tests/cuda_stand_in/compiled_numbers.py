"""The compiled step's numbers: Inductor's kernels of augmentation, network and losses, forward and backward.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.compiled_numbers fp32|bf16 [--without=NAME --combo --graph]

Prints one JSON object. without: a function of dns/inductor.py that then changes nothing; combo: as on a card,
independent kernels become one; graph: also captured. The optimiser stays torch's. One step in fp32 is compared with the
CPU's engine in fp32, one in bf16 with float64: Inductor keeps float32 inside a kernel.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dns import inductor
from dns.engine import Engine
from dns.step import CapturedStep
from tests.cuda_stand_in import interpreted
from tests.cuda_stand_in.small_training import Case, engine, equal_bits, losses_apart, states_apart, train


def examine(precision: Any, more: Sequence[str]) -> dict[str, Any]:
    for word in more:
        if word.startswith("--without="):
            name = word.partition("=")[2]
            assert callable(getattr(inductor, name)), f"--without={name}: dns/inductor.py has no such function"
            setattr(inductor, name, lambda *_: None)
    interpreted.install()
    begin = time.monotonic()
    case = Case(precision=precision, steps=1)
    compiled = engine("cuda", case, compile=True, combo_kernels="--combo" in more)
    found = train(case, compiled)
    took_s = time.monotonic() - begin
    exact = Case(precision="fp32" if precision == "fp32" else "fp64", steps=1)
    expected = train(exact, engine("cpu", exact))
    slowest = interpreted.seconds.most_common(1)[0]
    result = {
        "losses": losses_apart(found, expected)[0],
        "state": states_apart(found, expected),
        "kernels": len(interpreted.launches),
        "launches": interpreted.launches.total(),
        "seconds": round(took_s, 1),
        "interpreted_s": round(interpreted.seconds.total(), 1),
        "slowest": [slowest[0], round(slowest[1], 1)],
    }
    return result | ({"captured_bits_equal": captured_bits(precision, compiled)} if "--graph" in more else {})


def captured_bits(precision: Any, compiled: Engine) -> bool:
    """Whether the compiled step computes the same when it is captured, as it is on a card."""
    case = Case(precision=precision, steps=CapturedStep.WARM_UP + 2)
    return equal_bits(*(train(case, replace(compiled, graph=graph)) for graph in (True, False)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:  # another torch's kernels must not be found
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        print(json.dumps(examine(sys.argv[1], sys.argv[2:])))
