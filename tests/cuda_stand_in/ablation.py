"""What each change to Inductor saves: the compiled step with each of them switched off in turn.

python -m tests.cuda_stand_in.ablation          some 15 minutes; writes benchmarks/results/cuda-ablation.json

The changes overlap. Those to ReLU also keep the layout of ResNet-50's backward pass, so the change of layout saves
nothing beside them.

What is left of a step with 48 images: the backward pass keeps 69 outputs of ReLUs (0.83 GB), none of them twice, and
two masks (16 MB) of outputs that are only kept after they are joined. Casting the weights to bf16 reads 0.25 GB and
writes 0.12 GB. An optimiser that writes the bf16 copies itself would save the reading, 1.3 % of the step's traffic. It
needs kernels of its own, so it was not built.
"""

import sys

import torch

from benchmarks.harness import RESULTS, drawn_set, write_json
from dns.training.environment import environment
from tests.cuda_stand_in.check import child

# What a row of the table is called, and what makes the step so: options of the engine, functions of dns/inductor.py.
WITHOUT = {
    "as it is": [],
    "without the mask from the batch norm's input": ["--without=mask_from_batch_norm"],
    "without adding residual gradients once": ["--without=add_gradients_once"],
    "without the layout of the backward pass": ["--without=_keep_layout"],
    "without the gather in max pooling": ["--without=_gather_in_max_pool"],
    "without combo kernels": ["--engine.combo_kernels=false"],
    "without any of these": [
        "--without=_change_relu", "--without=_keep_layout", "--without=_gather_in_max_pool",
        "--engine.combo_kernels=false",
    ],
}  # fmt: skip
SHOWN = (
    "triton_launches", "triton_gb", "mixed_layouts", "channels_first_maps", "float32_gb", "reserved_gb", "roofline_ms",
)  # fmt: skip


def main() -> int:
    beton_root, cases = drawn_set()[1].parent, {}
    for name, arguments in WITHOUT.items():
        found = child("compiled", beton_root, *arguments)
        cases[name] = {key: found[key] for key in SHOWN}
        print(name, cases[name])
    host = environment(torch.device("cpu"))
    content = {"cases": cases, "torch": host["torch"], "commit": host["commit"], "host": host["device"]}
    print(f"written: {write_json(RESULTS / 'cuda-ablation.json', content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
