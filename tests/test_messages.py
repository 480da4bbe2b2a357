"""The messages that users meet most, word for word: each names the file or option, the problem and the next step.

No other test repeats these sentences: the rest ask for an error's class, what it names and its numbers, see
support/refusals.py. So a better sentence changes one row here.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.results import read_json
from dns.training import checkpoint
from dns.training.config import read_config
from dns.training.network import load_initial_weights
from dns.training.run_folder import RunFolder
from dns.training.selection import check_same_size
from dns.training.stopping import out_of_memory
from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.beton.manifest import read_manifest
from ffcv_convert.common.atomic import replacing
from ffcv_convert.common.errors import DataError, IncompleteError, UserError, as_data_errors
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS, custom
from ffcv_convert.datasets.files import read_identities, read_labelled_paths
from ffcv_convert.images import ImageFormat, load_image
from ffcv_convert.records import Record, check_records
from pipelines.sampler import plan_epoch
from pipelines.subset import TrainIndex
from tests.faults.failing_images import draw_custom_set
from tests.support.configs import make_config
from tests.support.made_sets import make_set
from tests.support.refusals import refusal

# What happened, the error's class, its message; {root} is the folder with the row's files.
SHEET = """
no raw set -> DataError
{root}/SYSU-MM01: no such folder. To get sysu: sign the agreement in its official repository (wuancong/SYSU-MM01 on
GitHub) and unpack the archive

no list -> DataError
{root}/test_id.txt: no such file. Restore it, or replace it

a line without a label -> DataError
{root}/list.txt line 2: 'b.jpg' is not a path and a number. Correct the list

a path that leads out -> DataError
{root}: list.txt line 1 names '../a.jpg', which is not inside this folder. Correct the list

a wrong cell -> DataError
{root}/records.csv line 2: modality is 'thermal', but must be visible, infrared, sketch. Correct the line

an identity in one modality -> DataError
{root}: training identity 2 has only infrared images. Each needs both modalities: complete the set, or remove the
identity from the list

an incomplete set -> IncompleteError
{root}/custom: incomplete: test has no infrared or sketch image. What was found is converted to {root}/Beton/custom.
Complete the set

no image -> DataError
{root}/a.jpg: listed, but not found. Restore it, or replace it

an image that is text -> DataError
{root}/a.jpg: cannot be decoded (not a JPEG, PNG, BMP, WEBP, TIFF, PPM). Restore it, or convert it to 8-bit PNG

two conversions at once -> DataError
{root}/a.beton.partial: another process is writing it. Wait for it to end, then try again

no conversion -> DataError
{root}/train.beton: no such .beton. Make it with: make convert-datasets

a .beton cut short -> DataError
{root}/train.beton: cut short (9 bytes). Convert the data set again: make convert-datasets

no manifest -> DataError
{root}/train.json: the manifest of train.beton is missing. Convert the data set again: make convert-datasets

test images of another size -> DataError
{root}/llcm/test.beton: 64 x 32 px images, but the training set has 96 x 48. Convert the set again: make data
DATASET=llcm ARGS='--height-px 96 --width-px 48'

fewer identities than a batch -> DataError
the set has 2 identities, a batch needs 3. Lower data.persons to 2

no infrared image to test on -> ProtocolError
sysu-all: the test set holds no infrared image. Choose another protocol

a mistyped option -> ConfigError
the command line: unknown option optm.lr. Did you mean optim.lr?

a wrong value -> ConfigError
{root}/mine.yaml: optim.epochs = 3.7 is not an integer from 1 to 100000

a missing value -> ConfigError
data.set is missing (data set, as named by python -m ffcv_convert). Name a recipe: --config-file configs/llcm.yaml

a mistyped recipe -> ConfigError
{root}/lcm.yaml: no such configuration. Did you mean {root}/llcm.yaml?

two trainings in a folder -> ConfigError
{root}/run: another training is running in this folder. Wait for it to end, or choose another --run.name

a run with another option -> ConfigError
{root}/run: holds a run with optim.lr = 0.2, not 0.5. Go on with it (--optim.lr=0.2), choose another --run.name, or
rename the old run: --run.resume=never, make RESUME=never

a loss that is not finite -> TrainingError
{root}/run: the loss is not finite at step 3 ({{'total': 'nan'}}). Its batch is in {root}/run/nonfinite.json;
{root}/run/last.pt stands. Start again with a lower --optim.lr and --run.resume=never

a full device -> TrainingError
the device's memory is full (CUDA out of memory). Lower it: --data.source=stream keeps the images on the host,
--eval.batch_size=32 tests fewer at once, fewer --data.persons change the recipe

a full host -> TrainingError
the memory that this process may use is full (DefaultCPUAllocator: can't allocate memory: you tried to allocate 9
bytes). Lower it: --eval.re_ranking=false, --eval.batch_size=32 tests fewer at once, --data.workers=1 decodes fewer,
fewer --data.persons change the recipe

a damaged result -> ReportError
{root}/result.json: not a readable result (it holds no JSON object). Restore it, or move it away

no checkpoint -> CheckpointError
{root}/last.pt: no such checkpoint. Train first (make train DATASET=...), or name one that exists

an empty checkpoint -> CheckpointError
{root}/last.pt: not a readable checkpoint (EOFError): cut short, damaged, or another kind of file. Get the file again
from where it was made

a checkpoint with code -> CheckpointError
{root}/last.pt: holds code or objects (posix.getcwd), not numbers alone; none of it was run. Get the file again from
where it was made, or, if you trust it, save its tensors alone with torch.load(..., weights_only=False)

no weights -> WeightsError
{root}/resnet50.pth: no such file. --model.pretrained is none, imagenet, clip or a path
"""


def put(path: Path, content: object) -> Path:
    if isinstance(content, (str, bytes)):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    else:
        torch.save(content, path)
    return path


def read_list(root: Path, text: str) -> None:
    read_labelled_paths(root, put(root / "list.txt", text))


def without_infrared_test_images(root: Path) -> None:
    for image in draw_custom_set(root / "custom", identities=2).glob("test/infrared/*/*"):
        image.unlink()
    convert(DATASETS["custom"], root, root / "Beton", SIZE, workers=1, allow_incomplete=False, say=lambda _: None)


def write_twice(root: Path) -> None:
    with as_data_errors(), replacing(root / "a.beton"), replacing(root / "a.beton"):
        pass


def plan_too_many_identities() -> None:
    index = TrainIndex(np.arange(4), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    plan_epoch(index, persons=3, pictures=1, iterations=1, seed=0, epoch=0)


def read_options(*arguments: object) -> None:
    read_config(["--data.set=llcm", "--eval.protocol=llcm-i2v", *map(str, arguments)], description="")


def run_in(root: Path, *options: str) -> RunFolder:
    return RunFolder(make_config(f"--run.root={root}", "--run.name=run", *options), World(torch.device("cpu")))


def train_twice(root: Path) -> None:
    with run_in(root).training(), run_in(root).training():
        pass


def go_on_at_another_rate(root: Path) -> None:
    run = run_in(root, "--optim.lr=0.2")
    run.path.mkdir()
    content = {key: {} for key in ("model", "optimiser", "scaler", "ranks", "results", "lists")}
    content |= {"epoch": 0, "iteration": 1, "size_px": [96, 48], "data_sha256": "", "config": run.config.stored()}
    checkpoint.save(run.last, content)
    run_in(root, "--optim.lr=0.5")


def meet_a_loss_without_a_number(root: Path) -> None:
    run = run_in(root)
    run.path.mkdir()
    raise run.nonfinite(3, {"total": float("nan")})


def fill_the_device() -> None:
    with out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


def fill_the_host() -> None:
    with out_of_memory():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


class Evil:
    def __reduce__(self) -> tuple:
        return os.getcwd, ()


SIZE = ImageFormat(32, 16)
LONELY = Record("a.jpg", 2, 0, Modality.INFRARED, "train")
ROW = "path,person,modality,split\na.jpg,1,thermal,train\n"
PROVOKE: dict[str, Callable[[Path], object]] = {
    "no raw set": lambda root: convert(DATASETS["sysu"], root, root, SIZE, workers=1),
    "no list": lambda root: read_identities(root / "test_id.txt"),
    "a line without a label": lambda root: read_list(root, "a.jpg 1\nb.jpg\n"),
    "a path that leads out": lambda root: read_list(root, "../a.jpg 1\n"),
    "a wrong cell": lambda root: custom.list_records(put(root / "records.csv", ROW).parent),
    "an identity in one modality": lambda root: check_records([LONELY], root),
    "an incomplete set": without_infrared_test_images,
    "no image": lambda root: load_image(root / "a.jpg", SIZE),
    "an image that is text": lambda root: load_image(put(root / "a.jpg", "<html>404</html>"), SIZE),
    "two conversions at once": write_twice,
    "no conversion": lambda root: open_beton(root / "train.beton"),
    "a .beton cut short": lambda root: open_beton(put(root / "train.beton", bytes(9))),
    "no manifest": lambda root: read_manifest(root / "train.beton"),
    "test images of another size": lambda root: check_same_size(
        "the training set", (96, 48), root / "llcm" / "test.beton", (64, 32)
    ),
    "fewer identities than a batch": lambda _: plan_too_many_identities(),
    "no infrared image to test on": lambda _: PROTOCOLS["sysu-all"].check(make_set([(1, 1, 0, "a.jpg")])),
    "a mistyped option": lambda _: read_options("--optm.lr=1"),
    "a wrong value": lambda root: read_options("-C", put(root / "mine.yaml", "optim: {epochs: 3.7}")),
    "a missing value": lambda _: read_config([], description=""),
    "a mistyped recipe": lambda root: read_options("-C", put(root / "llcm.yaml", "").with_name("lcm.yaml")),
    "two trainings in a folder": train_twice,
    "a run with another option": go_on_at_another_rate,
    "a loss that is not finite": meet_a_loss_without_a_number,
    "a full device": lambda _: fill_the_device(),
    "a full host": lambda _: fill_the_host(),
    "a damaged result": lambda root: read_json(put(root / "result.json", "[1]")),
    "no checkpoint": lambda root: checkpoint.load(root / "last.pt"),
    "an empty checkpoint": lambda root: checkpoint.load(put(root / "last.pt", "")),
    "a checkpoint with code": lambda root: checkpoint.load(put(root / "last.pt", {"net": Evil()})),
    "no weights": lambda root: load_initial_weights("resnet50", str(root / "resnet50.pth")),
}


@pytest.mark.parametrize("row", SHEET.strip().split("\n\n"), ids=lambda row: row.partition(" -> ")[0])
def test_message(tmp_path: Path, row: str) -> None:
    head, *lines = row.splitlines()
    name, error = head.split(" -> ")
    with pytest.raises(UserError) as caught:
        PROVOKE[name](tmp_path)
    assert caught.typename == error
    assert str(caught.value) == " ".join(lines).format(root=tmp_path)


@pytest.mark.parametrize("wrong", ["/a/all.beton", "/a/all.beton.partial", 1, "data.person", "twelve"])
def test_what_a_message_does_not_tell_is_missed(wrong: object) -> None:
    """That 12 holds a 1, and /b/a/all.beton.partial an all.beton, does not count."""
    told = "/b/a/all.beton.partial", 12, "data.persons"
    message = "/b/a/all.beton.partial: 12 identities. Lower data.persons"
    with refusal(DataError, *told):
        raise DataError(message)
    with pytest.raises(AssertionError), refusal(DataError, wrong, *told):
        raise DataError(message)
    with pytest.raises(AssertionError), refusal(DataError, *told):
        raise IncompleteError(message)
