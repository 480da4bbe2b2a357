"""Faults of the captured step, each of which the comparison with the CPU's step must show.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.planted

Prints one JSON object: for each fault, the first step at which a loss is wrong (0: the first, 4: the one that
captures). `no fault` and `gradients dropped outside the graph` are right, and must not be called wrong.
"""

import json

from tests.cuda_stand_in.small_training import Case, engine, losses_apart, train
from tests.cuda_stand_in.step_faults import FAULTS, RIGHT, Fault

WRONG = 1e-8  # float64 without a fault stays below 1e-11, a fault changes losses by 1e-4 and more


def first_wrong(apart: list[float]) -> int | None:
    """The first step whose losses are wrong; a NaN is wrong."""
    return next((number for number, one in enumerate(apart) if not one < WRONG), None)


def main() -> None:
    expected = {batches: train(case, engine("cpu", case)) for batches in (1, 2) for case in [Case(batches=batches)]}

    def seen(fault: Fault | None, batches: int) -> int | None:
        case = Case(batches=batches)
        return first_wrong(losses_apart(train(case, engine("cuda", case, graph=True), fault), expected[batches]))

    found = {name: seen(fault, batches) for name, (fault, batches, _) in FAULTS.items()}
    right = {name: seen(fault, 1) for name, fault in RIGHT.items()}
    print(json.dumps({"faults": found, "right": right}))


if __name__ == "__main__":
    main()
