"""Compares an exported network with PyTorch: output by output, then in the protocols of the test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch

from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import compare
from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.trial import TestSet
from dns.export.description import OUTPUTS, file_of
from dns.export.graph import ExportedBranch
from dns.export.runtime import ExportedNetwork, import_openvino, open_session, run
from dns.training.setup import Opened
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError

BATCHES = (1, 3, 48)
OUTPUT_LIMIT = 1e-4  # between outputs, in float32
POINTS_LIMIT = 0.05  # of Rank-1 and mAP in per cent, in float32
NEAR = 2e-4  # images whose similarities to a query differ by less may change places


@dataclass(frozen=True)
class Limits:
    """What an export may differ by; None: by anything, where the numbers are coarser by intention. output, near: see
    above; points: of Rank-1 and mAP in either direction; max_loss: of Rank-1 downwards."""

    output: float | None = OUTPUT_LIMIT
    near: float | None = NEAR
    points: float | None = POINTS_LIMIT
    max_loss: float | None = None

    @classmethod
    def of(cls, precision: str, max_loss: float) -> "Limits":
        return cls() if precision == "float32" else cls(None, None, None, max_loss)


class Swaps(NamedTuple):
    """How two rankings of the same galleries differ. places: gallery images at another place, of all queries and
    trials; of: how many there are; farthest: the largest difference of similarity between two images that changed
    places."""

    places: int
    of: int
    farthest: float


def of_outputs(
    folder: Path, branches: Mapping[Modality, ExportedBranch], images: Mapping[Modality, np.ndarray], limits: Limits
) -> dict[str, float]:
    """Return the largest difference of any output by batch, over the modalities.

    branches: what was exported; images: at least as many as the largest batch, uint8 (N, H, W, 3). Raises
    CheckpointError beyond the limit.
    """
    found = dict.fromkeys(map(str, BATCHES), 0.0)
    for modality, pixels_NHWC in images.items():
        session = open_session(folder / file_of(modality), torch.get_num_threads())
        for batch in BATCHES:
            with torch.inference_mode():
                wanted = branches[modality](torch.from_numpy(pixels_NHWC[:batch]))
            given = run(session, pixels_NHWC[:batch], *OUTPUTS)
            if not all(np.isfinite(one).all() for one in given):
                raise CheckpointError(
                    f"{file_of(modality)}: gives numbers that are not finite. Nothing was written: take another "
                    "--precision, or an earlier checkpoint"
                )
            worst = max(float(np.abs(one - two.numpy()).max()) for one, two in zip(given, wanted, strict=True))
            if limits.output is not None and not worst <= limits.output:
                raise CheckpointError(
                    f"{file_of(modality)}: with a batch of {batch}, onnxruntime and PyTorch differ by {worst:.1e}, and "
                    f"{limits.output:g} is allowed. Nothing was written: please report it with the versions"
                )
            found[str(batch)] = max(found[str(batch)], worst)
    return found


def of_protocols(opened: Opened, exported: ExportedNetwork, limits: Limits) -> list[dict[str, Any]]:
    """Test the set through PyTorch and through the export: a row a protocol. Raises CheckpointError beyond the limits.

    opened: the checkpoint with its test set, float32 on the CPU.
    """
    feature = opened.config.method.feature
    before = opened.embed().compared(feature)
    evaluator = opened.evaluator
    own = evaluator.prepare, evaluator.precision
    evaluator.take_exported(exported.precision)
    try:
        embeddings = evaluator.embed(exported, opened.rows())
    finally:
        evaluator.prepare, evaluator.precision = own
    if not torch.isfinite(embeddings.both.compared(feature)).all():
        raise CheckpointError(
            "the export gives embeddings of test images that are not finite. Nothing was written: take another "
            "--precision, or an earlier checkpoint"
        )
    after = embeddings.compared(feature)
    return [_of_protocol(opened, protocol, before, after, limits) for protocol in opened.protocols]


def _of_protocol(
    opened: Opened, protocol: str, before: EmbeddedRows, after: EmbeddedRows, limits: Limits
) -> dict[str, Any]:
    row: dict[str, Any] = {"protocol": protocol, "flip": opened.evaluator.flip}
    for name, embedding_ND in (("torch", before), ("export", after)):
        trials = [ranking.metrics for ranking in opened.evaluator.rankings(embedding_ND, protocol)]
        row[name] = {
            "rank1": 100 * mean(trial.cmc[0] for trial in trials), "mAP": 100 * mean(trial.mAP for trial in trials)
        }  # fmt: skip
    found = swaps(protocol, opened.evaluator.test_set, before, after)
    row |= {"places": found.places, "of": found.of, "farthest": found.farthest}
    _check(row, limits)
    return row


def swaps(protocol: str, test: TestSet, before_ND: EmbeddedRows, after_ND: EmbeddedRows) -> Swaps:
    """Count what changed places in the galleries of all trials, and how far apart such images were before."""
    places = of = 0
    farthest = 0.0
    for trial in PROTOCOLS[protocol].trials(test):
        first, second = (compare(trial, test, rows).distance_QG for rows in (before_ND, after_ND))
        order = first.argsort(dim=1, stable=True)
        again = second.argsort(dim=1, stable=True)
        places += int((order != again).sum())
        of += order.numel()
        # In the second order, each image should be at least as far as every image before it: by how much is it nearer?
        walked = first.gather(1, again)
        farthest = max(farthest, float((walked.cummax(dim=1).values - walked).max()))
    return Swaps(places, of, farthest)


def _check(row: Mapping[str, Any], limits: Limits) -> None:
    torch_row, export_row = row["torch"], row["export"]
    off = max(abs(torch_row[name] - export_row[name]) for name in torch_row)
    told = ", ".join(f"{name} {torch_row[name]:.2f} became {export_row[name]:.2f}" for name in torch_row)
    if limits.points is not None and not off <= limits.points:
        raise CheckpointError(
            f"{row['protocol']}: {told}, and {limits.points:g} points are allowed. Nothing was written: please "
            "report it with the versions"
        )
    if limits.near is not None and not row["farthest"] <= limits.near:
        raise CheckpointError(
            f"{row['protocol']}: images changed places whose similarities differ by {row['farthest']:.1e}, and "
            f"{limits.near:g} is allowed. Nothing was written: please report it with the versions"
        )
    lost = torch_row["rank1"] - export_row["rank1"]
    if limits.max_loss is not None and not lost <= limits.max_loss:
        raise CheckpointError(
            f"{row['protocol']}: {told}: {lost:.2f} points of Rank-1 are lost, and --max-loss={limits.max_loss:g} "
            "allows no more. Nothing was written: allow more, or take another --precision"
        )


def openvino_differences(
    folder: Path, images: Mapping[Modality, np.ndarray], limits: Limits
) -> dict[str, float] | None:
    """Return the largest difference between OpenVINO and onnxruntime by OpenVINO's precision hint, over the modalities,
    with a batch of the largest size; None where OpenVINO is not installed. Raises CheckpointError where it cannot run a
    file, or where the hint f32 goes beyond the limit."""
    try:
        openvino = import_openvino()
    except ImportError:
        return None
    core, found = openvino.Core(), {}
    for hint in ("f32", "bf16"):
        worst = 0.0
        for modality, pixels_NHWC in images.items():
            path, batch = folder / file_of(modality), pixels_NHWC[: max(BATCHES)]
            try:
                given = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": hint})(batch)
            except RuntimeError as error:
                raise CheckpointError(f"{path.name}: OpenVINO cannot run it ({error}). Nothing was written") from None
            wanted = run(open_session(path, torch.get_num_threads()), batch, *OUTPUTS)
            worst = max(
                worst, *(float(np.abs(given[name] - one).max()) for name, one in zip(OUTPUTS, wanted, strict=True))
            )
            if hint == "f32" and limits.output is not None and not worst <= limits.output:
                raise CheckpointError(
                    f"{path.name}: OpenVINO and onnxruntime differ by {worst:.1e}, and {limits.output:g} is allowed. "
                    "Nothing was written: please report it with the versions"
                )
        found[hint] = worst
    return found


def random_images(size_px: Sequence[int], modalities: Sequence[Modality]) -> dict[Modality, np.ndarray]:
    """Draw images to compare with, where no test set is at hand: uint8 (48, H, W, 3), the same every time."""
    generator = np.random.default_rng(0)
    return {
        modality: generator.integers(0, 256, (max(BATCHES), *size_px, 3), dtype=np.uint8) for modality in modalities
    }
