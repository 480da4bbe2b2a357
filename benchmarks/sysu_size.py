"""How long do conversion, checking, an epoch's loading and the metrics take at SYSU-MM01's official size?

    python -m benchmarks.sysu_size FOLDER

Draws 45,863 images with the set's own counts into FOLDER (5 GB, takes minutes; kept for the next time), then runs the
program's own commands and functions, each in a separate process. Writes benchmarks/results/sysu-size-*.json.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import write_result

REPOSITORY = Path(__file__).parent.parent

LOADER = """
import json, sys, time
from pathlib import Path
import torch
from dns.training.environment import environment
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.subset import open_subset
from ffcv_convert.common.world import World
from pipelines.streamed import StreamedLoader
begin = time.perf_counter()
subset = open_subset(Path(sys.argv[1]), "train")
options = PlanOptions(persons=6, pictures=4, recipe=RECIPES["sysu"], seed=0, extra_iteration=True)
loader = StreamedLoader(subset, options, world=World(torch.device("cpu")))
ready = time.perf_counter() - begin
seconds = []
for epoch in range(3):
    begin, total = time.perf_counter(), 0
    with loader.epoch(epoch) as batches:
        for batch in batches:
            total += int(batch.images[0, 0, 0, 0]) + int(batch.person_B[0])
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"open_s": ready, "epoch_s": seconds, "iterations": loader.iterations,
                  "images": loader.iterations * loader.batch_size, "identities": loader.identities,
                  "environment": environment(torch.device("cpu"))}))
"""

METRICS = """
import json, sys, time
from pathlib import Path
import torch
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.trial import TestSet
from dns.evaluation.ranking import rank_trials
from pipelines.subset import open_subset
subset = open_subset(Path(sys.argv[1]), "test")
test = TestSet(subset.person_N, subset.camera_N, subset.modality_N, subset.path_N)
embedding = torch.nn.functional.normalize(torch.randn(len(subset.path_N), 2048), dim=1)
seconds = []
for _ in range(5):
    begin = time.perf_counter()
    for name in ("sysu-all", "sysu-indoor"):
        rank_trials(PROTOCOLS[name], test, embedding)
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"seconds": seconds, "samples": len(subset.path_N)}))
"""


def measure(*arguments: str) -> tuple[dict[str, float], str]:
    """Run Python with `arguments`. Returns wall and processor seconds with the peak memory, and what it printed."""
    begin = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"error: {' '.join(arguments[:3])} ended with code {os.waitstatus_to_exitcode(status)}")
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }, output


def table(content: Mapping[str, Any]) -> str:
    """Return the Markdown for docs/results.md."""
    loader, metrics = content["loader"], content["metrics_ten_trials_all_and_indoor"]
    epoch = median(loader["epoch_s"])

    def memory(usage: Mapping[str, float]) -> str:
        return f"{usage['peak_memory_mb']:.0f}"

    rows = [
        ["step", "seconds", "images/s", "peak memory, MB"],
        ["---"] * 4,
        [f"convert {content['converted_images']:,} listed JPEG files to 288 x 144 raw "
         f"({content['disk_bytes'] / 1e9:.1f} GB)", f"{content['convert']['seconds']:.0f}",
         f"{content['convert_images_per_s']:,.0f}", memory(content["convert"])],
        ["`verify`", f"{content['verify']['seconds']:.1f}", "", memory(content["verify"])],
        ["`verify --deep`", f"{content['verify_deep']['seconds']:.0f}",
         f"{content['converted_images'] / content['verify_deep']['seconds']:,.0f}", memory(content["verify_deep"])],
        [f"an epoch of uint8 batches ({loader['iterations']} of 48), median of {len(loader['epoch_s'])}",
         f"{epoch:.2f}", f"{loader['images'] / epoch:,.0f}", memory(loader["process"])],
        ["metrics of the ten trials, all and indoor, from stored embeddings", f"{median(metrics['seconds']):.2f}", "",
         memory(metrics["process"])],
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    data, beton = str(folder / "Dataset"), folder / "Beton"
    roots = ["--data-root", data, "--beton-root", str(beton), "--dataset", "sysu"]
    content: dict[str, Any] = {}
    drawing = ["synthesise", "--layout", "sysu", "--official-size", "--root", f"{data}/SYSU-MM01"]
    content["synthesise"], output = measure("-m", "ffcv_convert", *drawing)
    print(output, end="")
    for split in ("train", "test"):
        (beton / "sysu" / f"{split}.json").unlink(
            missing_ok=True
        )  # convert makes a .beton again if its manifest is missing
    content["convert"], output = measure("-m", "ffcv_convert", "convert", *roots)
    print(output, end="")
    files = list((beton / "sysu").glob("*"))
    content["disk_bytes"] = sum(path.stat().st_size for path in files)
    for name, more in (("verify", []), ("verify_deep", ["--deep"])):
        content[name], output = measure("-m", "ffcv_convert", "verify", *roots, *more)
        print(output, end="")
    for name, script in (("loader", LOADER), ("metrics_ten_trials_all_and_indoor", METRICS)):
        usage, output = measure("-c", script, str(beton / "sysu"))
        content[name] = {**json.loads(output.splitlines()[-1]), "process": usage}
    environment = content["loader"].pop("environment")
    images = sum(len(json.loads(path.read_text())["samples"]) for path in files if path.suffix == ".json")
    content |= {"converted_images": images, "convert_images_per_s": images / content["convert"]["seconds"]}
    content["environment"] = environment
    print(table(content))
    print(f"written: {write_result('sysu-size', content, environment)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
