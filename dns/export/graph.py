"""Makes an ONNX graph of a network's test branch: uint8 images of one modality -> the features that are compared.

Two faults of others are avoided here, and tests hold it. A graph traced with a batch of 1, or through an exporter that
retries with other settings, silently takes that batch alone (pytorch/pytorch 157621): here torch.export is asked for a
dynamic batch by name and raises where a network fixes it. And the exporter's own optimiser counts numbers below 1e-8 as
0, such as GeM's 1e-12, which moves an embedding by up to 1e-4: here only constants are folded.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from dns.evaluation.embedding import Embeddings
from dns.export.description import INPUT, OUTPUTS, missing
from dns.network import Network
from ffcv_convert.common.errors import ConfigError
from pipelines.augment.apply import normalise
from pipelines.augment.normalisation import IMAGENET, Normalisation

OPSET = 18
TRACED = 2  # images in the batch that is traced: 0 and 1 would be taken for constants


class ExportedBranch(nn.Module):
    """uint8 images (B, H, W, 3) of one modality -> what is compared, BN(Z), Z, see Embeddings. feature: one of
    FEATURES; normalisation: that of the images that trained the model."""

    def __init__(self, model: Network, feature: str, normalisation: Normalisation = IMAGENET, *, visible: bool):
        super().__init__()
        self.model, self._feature, self._normalisation, self._visible = model, feature, normalisation, visible

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, bn = self.model.embed(normalise(images, self._normalisation), visible=self._visible)
        embeddings = Embeddings(bn, z)
        return embeddings.compared(self._feature).clone(), bn, z  # a copy: two outputs must not be one and the same


@torch.no_grad()
def to_onnx(branch: ExportedBranch, size_px: tuple[int, int]) -> bytes:
    """Return an ONNX file with its weights inside, of any number of images a batch. branch: on the CPU, float32; it is
    put into evaluation mode; size_px: height and width.

    Raises ConfigError where the exporter is not installed, and where the network takes one size of batch alone.
    """
    try:
        import onnxscript.optimizer
    except ImportError:
        raise ConfigError(missing("onnxscript")) from None
    images = torch.zeros(TRACED, *size_px, 3, dtype=torch.uint8)
    with _quiet():
        try:
            traced = torch.export.export(branch.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except UserError as error:
            raise ConfigError(
                f"{type(branch.model).__name__}.embed fixes the number of images in a batch, as len(images) does: take "
                f"images.shape[0]. torch.export says: {error}"
            ) from None
        program = torch.onnx.export(
            traced, dynamo=True, optimize=False, opset_version=OPSET, input_names=[INPUT], output_names=list(OUTPUTS),
            external_data=False, verbose=False,
        )  # fmt: skip
        assert program is not None
        onnxscript.optimizer.fold_constants(program.model)
        onnxscript.optimizer.remove_unused_nodes(program.model)
        return program.model_proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and deprecation warnings from the screen: errors are raised."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
