"""How long does a fresh process take from importing the pipeline to the first batch, with a warm cache?

Importing torch is not counted, because every program that trains needs it: it comes first and is reported separately.

On an AMD EPYC (November 27, 2026) the 0.67 s were: 0.12 s for importing Numba; 0.11 s for importing FFCV, half of it
for distutils, of which FFCV uses one function; 0.26 s for loading the compiled code, before which Numba registers its
types and imports scipy.linalg; 0.1 s for a garbage collection over the objects that importing torch has made; 0.04 s
for the first batch. With an empty cache of compiled code the first batch takes 13 s there.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import digits, drawn_set, interleaved, summarise

REPOSITORY = Path(__file__).parent.parent
SCRIPT = """
import json, sys, time
begin = time.perf_counter()
import torch
torch_s = time.perf_counter() - begin
begin = time.perf_counter()
from pathlib import Path
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.subset import open_subset
from ffcv_convert.common.world import World
from pipelines.streamed import StreamedLoader
options = PlanOptions(persons=6, pictures=4, recipe=RECIPES["sysu"], seed=0)
loader = StreamedLoader(open_subset(Path(sys.argv[1]), "train"), options, world=World(torch.device("cpu")),
                        augment_on="host")
with loader.epoch(0) as batches:
    next(batches)
    seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "torch_s": torch_s}))
"""


def measure() -> dict[str, Any]:
    """Return seconds. first_s: the time of an earlier process, which fills the cache if it is empty."""
    folder, imports = drawn_set()[1], []

    def start() -> float:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        imports.append(found["torch_s"])
        return found["seconds"]

    first = start()
    figures = summarise(interleaved({"import to first batch": start}))
    warm = figures["import to first batch"]["median"]
    return {"unit": "s", "cases": figures, "warm_s": warm, "first_s": first, "import_torch_s": median(imports)}


def words(content: dict[str, Any]) -> list[str]:
    return [
        f"A fresh process has its first batch {digits(content['warm_s'])} s after it starts to import the pipeline. "
        f"Importing torch takes {digits(content['import_torch_s'])} s more.",
        f"The process before, which compiles whatever the cache lacks, took {digits(content['first_s'])} s.",
    ]
