"""Whether each change to Inductor leaves the numbers alone: the compiled step with each of them switched off in turn.

    python -m tests.cuda_stand_in.inductor_numbers          some 15 minutes

Writes benchmarks/results/inductor-numbers.json. ablation.py says what each change saves. Here one step in fp32 runs by
Triton's interpreter, see compiled_numbers.py.
"""

import sys

import torch

from benchmarks.harness import RESULTS, write_json
from dns.training.environment import environment
from tests.cuda_stand_in.ablation import WITHOUT
from tests.cuda_stand_in.check import child

SHOWN = ("losses", "state", "kernels", "launches", "seconds")


def main() -> int:
    cases = {}
    for name, arguments in WITHOUT.items():
        functions = [argument for argument in arguments if argument.startswith("--without=")]
        if arguments and not functions:  # without combo kernels: the interpreted step never has them
            continue
        found = child("compiled_numbers", "fp32", *functions)
        cases[name] = {key: found[key] for key in SHOWN}
        print(name, cases[name], flush=True)
    host = environment(torch.device("cpu"))
    content = {"cases": cases, "torch": host["torch"], "commit": host["commit"], "host": host["device"]}
    print(f"written: {write_json(RESULTS / 'inductor-numbers.json', content)}")
    return 0 if all(case["losses"] < 3e-6 for case in cases.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
