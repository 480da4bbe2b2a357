"""A quarter of a million records listed, checked, written down, read again, planned; and plans that make no sense.

Time and memory are compared between a size and ten times as much: what grows with the square of it would show.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.records import Record, check_records
from pipelines.sampler import Replacement, plan_epoch, scheduled_iterations
from pipelines.subset import TrainIndex
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

LIMIT = 12
ROUNDS = 8  # other processes slow a long run down more than three short ones: the quickest is the program's own

# Prints for each step the seconds and the MB by which the peak of the process's memory grew, after one small round.
STEPS = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from ffcv_convert.datasets import custom
from ffcv_convert.records import check_records, training_labels
from ffcv_convert.beton import Manifest, Modality, read_manifest
from pipelines.subset import TrainIndex
from pipelines.sampler import plan_epoch, scheduled_iterations

def steps(folder, count, say):
    rows = (f"p{n // 20}/{n}.jpg,{n // 20},{n % 6},{('visible', 'infrared')[n % 2]},train\\n" for n in range(count))
    (folder / "records.csv").write_text("path,person,camera,modality,split\\n" + "".join(rows))
    say("")
    records = custom.list_records(folder)
    say("listed")
    check_records(records, folder)
    say("checked")
    labels = training_labels(records)
    rows = [[r.image, r.person, r.camera, int(r.modality), r.split, 0] for r in records]
    manifest = Manifest("custom", "train", 96, 48, "lanczos", "raw", len(labels), True, "", 0, "", "", {}, rows)
    (folder / "train.json").write_text(manifest.to_json())
    say("written down")
    del records, rows, manifest  # read by another program, as a rule
    manifest = read_manifest(folder / "train.beton")
    say("read again")
    person_N = np.array([labels[person] for person in manifest.column("person")])
    index = TrainIndex(np.arange(count), person_N, np.array(manifest.column("modality")))
    iterations = scheduled_iterations(index, 6, 4)
    assert plan_epoch(index, persons=6, pictures=4, iterations=iterations, seed=0, epoch=0).max() < count
    say("planned")

def peak_mb():  # of this process alone: ru_maxrss begins with that of the one that started it
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

steps(Path(sys.argv[1]), 1000, lambda step: None)
said, seconds, imported_mb = {}, time.process_time(), peak_mb()
def say(step):
    global seconds
    said[step] = time.process_time() - seconds
    seconds = time.process_time()
steps(Path(sys.argv[1]), int(sys.argv[2]), say)
del said[""]
print(json.dumps({"seconds": said, "peak_mb": peak_mb() - imported_mb}))
"""


def measured(folder: Path, count: int) -> dict:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", STEPS, str(folder), str(count)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=250)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_time_and_memory_grow_as_the_records_do(tmp_path: Path, times: Callable[[int, int], int]) -> None:
    count = times(5_000, 25_000)
    small = [measured(tmp_path, count) for _ in range(3)]
    before = {step: median(run["seconds"][step] for run in small) for step in small[0]["seconds"]}
    print(json.dumps({"records": count, "seconds": before, "peak_mb": median(run["peak_mb"] for run in small)}))
    for _ in range(ROUNDS):
        large = measured(tmp_path, 10 * count)
        print(json.dumps({"records": 10 * count, **large}))
        if sum(large["seconds"].values()) < LIMIT * sum(before.values()):
            break
    else:
        pytest.fail(f"ten times the records took more than {LIMIT} times as long, {ROUNDS} times")
    assert large["peak_mb"] < LIMIT * median(run["peak_mb"] for run in small)


def index_of(visible: list[int], infrared: list[int]) -> TrainIndex:
    """Identity n with visible[n] and infrared[n] images."""
    identities = np.arange(len(visible))
    person_N = np.concatenate([np.repeat(identities, visible), np.repeat(identities, infrared)])
    modality_N = np.repeat([int(Modality.VISIBLE), int(Modality.INFRARED)], [sum(visible), sum(infrared)])
    return TrainIndex(np.arange(len(person_N)), person_N, modality_N)


@pytest.mark.parametrize("paired", [0, 8])
def test_a_thousand_identities_of_one_modality_are_refused(paired: int) -> None:
    """When they are listed, and again when they are sampled."""
    records = [
        Record(f"{modality.name}/{person}.jpg", person, 0, modality, "train")
        for person in range(paired + 1000)
        for modality in ((Modality.VISIBLE, Modality.INFRARED) if person < paired else (Modality.INFRARED,))
    ]
    with refusal(DataError, "custom", f"identity {paired}", "infrared", 1000):
        check_records(records, Path("custom"))
    index = index_of([1] * paired + [0] * 1000, [1] * (paired + 1000))
    with refusal(DataError, f"label {paired}", 1000):
        plan_epoch(index, persons=2, pictures=2, iterations=1, seed=0, epoch=0)


@pytest.mark.parametrize("replacement", ["always", "needed"])
def test_one_identity_with_twenty_thousand_pictures(replacement: Replacement) -> None:
    """It is in no batch more than once, and its images come from all of its own."""
    index = index_of([20_000] + [3] * 9, [4] * 10)
    iterations = scheduled_iterations(index, 5, 4)
    plan = plan_epoch(index, persons=5, pictures=4, iterations=iterations, seed=0, epoch=0, replacement=replacement)
    assert plan.shape == (iterations, 2 * 5 * 4) == (20_027 // 20, 40)
    persons = index.person_N[plan].reshape(iterations, 2, 5, 4)
    assert (persons == persons[..., :1]).all()
    assert (persons[:, 0] == persons[:, 1]).all()
    assert (np.diff(np.sort(persons[:, 0, :, 0], axis=1), axis=1) > 0).all()
    assert (index.modality_N[plan[:, :20]] == Modality.VISIBLE).all()
    assert (index.modality_N[plan[:, 20:]] == Modality.INFRARED).all()
    drawn = plan[:, :20][persons[:, 0].reshape(iterations, 20) == 0]
    assert len(np.unique(drawn)) > 1500  # of some 2000 draws among 20,000
    assert drawn.max() > 19_000


def test_batches_larger_than_the_set_are_refused_or_drawn_with_replacement() -> None:
    index = index_of([3] * 10, [2] * 10)
    with refusal(DataError, "data.persons", "8 x 4"):
        scheduled_iterations(index, 8, 4)
    with refusal(DataError, "data.persons to 10", "10 identities", 11):
        plan_epoch(index, persons=11, pictures=1, iterations=1, seed=0, epoch=0)
    plan = plan_epoch(index, persons=10, pictures=100, iterations=2, seed=0, epoch=0, replacement="needed")
    persons = index.person_N[plan].reshape(2, 2, 10, 100)
    assert (persons == persons[..., :1]).all()
    assert [len(np.unique(plan[0, :1000])), len(np.unique(plan[0, 1000:]))] == [30, 20]
