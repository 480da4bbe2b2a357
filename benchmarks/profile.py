"""Where does a training step spend its time? python -m benchmarks.profile [option of train_ffcv.py ...]

Profiles the trainer's own step, fed by its own loader, after a warm-up. Prints the operations (kernels on CUDA) that
take the most time, the time of each class of operations, and the share of time spent waiting for data. Writes the
trace (for chrome://tracing or Perfetto) and the whole table to build/profile/.
"""

import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import drawn_set, synchronise, waiting_share
from benchmarks.training import Training, assemble, one_batch, options
from ffcv_convert.common.errors import user_errors

FOLDER = Path(__file__).parent.parent / "build" / "profile"
WARM_UP, STEPS = 8, 5
# An operation belongs to the first class that matches its name. Inductor names a kernel after what it fuses.
CLASSES = {
    "optimiser": r"fused_sgd|FusedSgd|multi_tensor|_foreach|fused_adam|Optimizer",
    "batch norm": r"batch_norm|bn_fw|bn_bw|native_batch_norm",
    "convolution": r"conv|cudnn|implicit_gemm|xmma|cutlass.*(fprop|dgrad|wgrad)|sm90_.*(fprop|dgrad|wgrad)|mkldnn",
    "matrix product": r"gemm|cublas|\bmm\b|addmm|bmm|linear",
    "copy": r"memcpy|memset|copy_|clone|contiguous",
    "other, fused by Inductor": r"triton|inductor",
}


def class_of(name: str) -> str:
    return next((kind for kind, pattern in CLASSES.items() if re.search(pattern, name, re.IGNORECASE)), "other")


def measured_share(training: Training, steps: int) -> float:
    """Return the harness.waiting_share of `steps` steps."""
    batch, device = one_batch(training), training.engine.device
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(steps):
        training.step(*batch)
    synchronise(device)
    alone = time.perf_counter() - begin
    begin = time.perf_counter()
    _train(training, steps)
    synchronise(device)
    return waiting_share(alone, time.perf_counter() - begin)


def _train(training: Training, steps: int) -> None:
    """Train `steps` steps on batches from the loader."""
    done = 0
    while done < steps:
        with training.loader.epoch(done) as batches:
            for batch in batches:
                training.step(batch.images, batch.augmentation, batch.person_B)
                done += 1
                if done == steps:
                    return


def main(arguments: Sequence[str]) -> int:
    cuda = torch.cuda.is_available()
    training = assemble(options(drawn_set()[1].parent, arguments))
    device = training.engine.device
    warm_up, steps = (WARM_UP, STEPS) if device.type == "cuda" else (1, 2)
    _train(training, warm_up)
    share = measured_share(training, steps if device.type == "cpu" else 20 * steps)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        _train(training, steps)
        synchronise(device)
    on_device = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    rows = [event for event in profiler.key_averages() if event.device_type == on_device]
    time_of = {
        id(event): event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        for event in rows
    }
    classes: dict[str, float] = defaultdict(float)
    for event in rows:
        classes[class_of(event.key)] += time_of[id(event)] / steps / 1000
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    text = profiler.key_averages().table(sort_by=order, row_limit=-1, max_name_column_width=90)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "operations.txt").write_text(text, encoding="utf-8")
    profiler.export_chrome_trace(str(FOLDER / "trace.json"))
    print("\n".join(text.splitlines()[:30]))
    total = sum(classes.values())
    print("\n| class of operations | ms a step | share |\n| --- | --- | --- |\n"
          + "\n".join(f"| {name} | {spent:.2f} | {spent / total:.0%} |"
                      for name, spent in sorted(classes.items(), key=lambda item: -item[1])))  # fmt: skip
    launched = sum(event.count for event in rows) / steps
    print(
        f"\n{total:.2f} ms and {launched:,.0f} operations a step of {training.loader.batch_size} images on {device}; "
        f"waiting for data: {share:.1%} of the time\nwritten: {FOLDER}/operations.txt, {FOLDER}/trace.json"
    )
    return 0


if __name__ == "__main__":
    with user_errors():
        sys.exit(main(sys.argv[1:]))
