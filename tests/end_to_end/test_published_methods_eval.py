"""eval.py on a checkpoint in each method's published layout: the method's recipe, and the embeddings of its network."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import eval as eval_script
from dns.methods import METHODS
from dns.training.setup import open_checkpoint
from ffcv_convert.common.errors import CheckpointError
from tests.support.refusals import refusal

IDENTITIES = 8
SMALL = "resnet10_half"
# Method -> what eval.py is told beside the set, and the features that its recipe reports.
CASES = {
    "agw": (["--model.method=agw"], ["BN(Z)", "Z"]),
    "caj": (["--model.method=caj"], ["BN(Z)", "Z"]),
    "deen": (["--data.height_px=0", "--data.width_px=0"], ["Z + BN(Z)", "0.1 Z + 0.9 BN(Z)"]),
    "baseline": ([], ["BN(Z)", "Z"]),
}
FLIPS = {"agw": "off", "caj": "normalised", "deen": "published", "baseline": "off"}


def published(method: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under their published names, with some that nothing uses."""
    layout = METHODS[method].published[0]
    back = sorted(((ours, theirs) for theirs, ours in layout.names.items()), key=lambda pair: -len(pair[0]))
    net = {}
    for name, tensor in state.items():
        ours, theirs = next(pair for pair in back if name.startswith(pair[0]))
        net[theirs + name[len(ours) :]] = tensor
    trunk = "base.base." if method == "baseline" else "base_resnet.base."
    return {**net, f"{trunk}conv1.weight": torch.ones(1), f"{trunk}bn1.num_batches_tracked": torch.tensor(3)}


@pytest.mark.parametrize("method", CASES)
def test_a_published_checkpoint_is_tested_by_its_method_s_recipe(
    method: str, converted_layout: Callable[[str], Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    row = METHODS[method]
    model = row.network(IDENTITIES, row.model(method=method, architecture=SMALL), row.loss()).eval()
    net = published(method, model.state_dict())
    path, root = tmp_path / f"llcm_{method}_best.t", converted_layout("llcm").parent
    torch.save({"net": net, "cmc": np.ones(3), "mAP": np.float64(0.5), "mINP": 0.5, "epoch": 7}, path)
    more, features = CASES[method]
    options = [
        "--data.set=llcm", f"--data.beton_root={root}", f"--model.architecture={SMALL}", "--engine.device=cpu",
        "--engine.precision=fp32",
    ]  # fmt: skip
    here = [f"--run.root={tmp_path / 'runs'}", "--eval.protocols=llcm-i2v", "--eval.batch_size=16"]
    export = tmp_path / "features.npz"
    assert eval_script.evaluate([f"--eval.checkpoint={path}", *options, *more, *here, f"--eval.export={export}"]) == 0
    rows = json.loads((tmp_path / "runs" / f"llcm_{method}_best" / "result.json").read_text())["evaluation"]
    assert [(found["feature"], found["flip"]) for found in rows] == [(name, FLIPS[method]) for name in features]
    opened = open_checkpoint(path, *options, *more, "--eval.flip=off")
    if FLIPS[method] == "off":
        with np.load(export) as stored:
            assert np.allclose(stored["embeddings"], opened.embed().bn.numpy(), atol=1e-5)
    [batch] = [opened.evaluator.images.pixels(np.array([0]))]
    image = opened.evaluator.images.normalise(torch.from_numpy(np.stack(batch)))
    visible = bool(opened.evaluator.test_set.modality_N[0] == 0)
    with torch.inference_mode():
        z, bn = model.embed(image, visible=visible)
    embeddings = opened.embed()
    assert torch.allclose(embeddings.bn[0], bn[0], atol=1e-5)
    assert torch.allclose(embeddings.z[0], z[0], atol=1e-5)


def test_of_names_that_two_methods_have_the_method_has_to_be_told(tmp_path: Path) -> None:
    names = json.loads((Path(__file__).parents[1] / "data/methods/agw.json").read_text())["state_dict_shapes"]
    path = tmp_path / "agw.t"
    torch.save({"net": {name: torch.ones(1) for name in names}, "epoch": 1}, path)
    with refusal(CheckpointError, path, "METHOD=agw", "caj"):
        eval_script.evaluate([f"--eval.checkpoint={path}", "--data.set=sysu"])
