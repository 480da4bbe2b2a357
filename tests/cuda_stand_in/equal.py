"""The captured step against the uncaptured one, and against the CPU's engine.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.equal quick|methods|backbones|ablation|whole

Prints one JSON object. On the stand-in both steps run the same kernels, so captured equals uncaptured in every bit, in
any precision. A CPU's engine adds up in another order, so it is compared in float64, where rounding stays small; in
float32 a tiny batch amplifies it tenfold a step, and after six steps nothing could be told from a fault.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

from dns.methods import METHODS
from dns.step import CapturedStep
from tests.cuda_stand_in.small_training import Case, Run, engine, equal_bits, losses_apart, states_apart, train

OVERFLOWING = Case(precision="fp16", first_scale=2.0**40)  # every step is skipped, and halves the scale
BITS = [
    Case(precision=precision, optimiser=optimiser, batches=batches, dropout=0.3 * (batches > 1 or optimiser == "adamw"))
    for precision, optimiser, batches in itertools.product(("fp32", "bf16", "fp16"), ("sgd", "adamw"), (1, 2))
]  # fmt: skip
FP64 = [
    Case(), Case(optimiser="adamw"), Case(dropout=0.3), Case(batches=2), Case(batches=2, dropout=0.3, optimiser="adamw")
]  # fmt: skip
OTHERS = [
    Case(precision=precision, method=method, batches=batches, dropout=0.3 * (batches > 1))
    for method in METHODS if method != "dns" for precision, batches in (("fp32", 1), ("bf16", 2))
]  # fmt: skip
QUICK = {"bits": [Case(precision="fp32"), Case(precision="bf16", batches=2, dropout=0.3)], "fp64": [Case()]}
RESNET50 = [
    Case(precision="fp32", architecture=architecture, steps=CapturedStep.WARM_UP + 2)
    for architecture in ("resnet50", "resnet50_clip")
]
PARTS = (("hss",), ("alignment",), ("distillation",), ("css",), ("hss", "css", "alignment", "distillation"))
ABLATION = [Case(precision="fp32", left_out=parts) for parts in PARTS]  # the rows of configs/ablation.yaml
VIT, VIT_STEPS = "vit_tiny_patch16", CapturedStep.WARM_UP + 2
VITS = [Case(precision=precision, architecture=VIT, steps=VIT_STEPS) for precision in ("bf16", "fp32", "fp16", "fp64")]
BACKBONES = {"bits": VITS[:1], "fp64": VITS[-1:]}
WHOLE = {
    "bits": [*BITS, OVERFLOWING, *RESNET50, *VITS[:-1], *ABLATION, *OTHERS],
    "fp64": [
        *FP64, Case(architecture="resnet50", steps=1), *VITS[-1:], *(Case(method=case.method) for case in OTHERS[::2]),
        *(Case(left_out=parts) for parts in PARTS),
    ],
}  # fmt: skip
METHODS_ALONE = {"bits": OTHERS[1::2], "fp64": [Case(method=case.method) for case in OTHERS[::2]]}


def captured_bits(case: Case) -> bool:
    """Whether the captured step computes what the uncaptured one does."""
    captured, uncaptured = (train(case, engine("cuda", case, graph=graph)) for graph in (True, False))
    return equal_bits(captured, uncaptured)


def apart_from_cpu(case: Case) -> dict[str, float]:
    """Largest differences of the captured step from the CPU's: of losses, and of the state after all steps."""
    found, expected = train(case, engine("cuda", case, graph=True)), train(case, engine("cpu", case))
    return {"losses": max(losses_apart(found, expected)), "state": states_apart(found, expected)}


def scales(run: Run, case: Case) -> bool:
    """Whether fp16's scale went as the CPU's: by which steps overflow."""
    overflowed = case.first_scale is None or run.scales[-1] < case.first_scale
    return overflowed and run.scales == train(case, engine("cpu", case)).scales


def rounded(precision: Any) -> float:
    """How far the first step's losses are from float64's on the CPU."""
    case, exact = Case(precision=precision, steps=1), Case(steps=1)
    return losses_apart(train(case, engine("cuda", case)), train(exact, engine("cpu", exact)))[0]


def main(which: str) -> None:
    cases: dict[str, Sequence[Case]] = {
        "quick": QUICK, "whole": WHOLE, "methods": METHODS_ALONE, "backbones": BACKBONES,
        "ablation": {"bits": ABLATION, "fp64": [Case(left_out=parts) for parts in PARTS]},
    }[which]  # fmt: skip
    found: dict[str, Any] = {
        "captured_bits_equal": {str(case): captured_bits(case) for case in cases["bits"]},
        "equal_fp64": {str(case): apart_from_cpu(case) for case in cases["fp64"]},
    }
    if which == "whole":
        fp16 = [OVERFLOWING, Case(precision="fp16")]
        found["scales_equal"] = {
            str(case): scales(train(case, engine("cuda", case, graph=True)), case) for case in fp16
        }
        found["rounded"] = {precision: rounded(precision) for precision in ("fp32", "bf16", "fp16")}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
