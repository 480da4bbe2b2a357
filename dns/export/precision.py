"""Makes coarser numbers of an exported network: float16 weights, or 8-bit convolutions.

float16: everything between the images and the last map. GeM's cubes would overflow and its 1e-12 vanish, so pooling,
neck and normalisation stay float32. A CPU computes them in float32 all the same: the file is half as large, no faster.
int8: the convolutions, by onnxruntime's static quantisation (QDQ, a scale for each channel of the weights), whose
ranges come from training images. A processor without VNNI adds two products of 8 bits into 16, which overflow: there
the weights take 7 bits.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dns.export.description import INPUT, missing
from ffcv_convert.common.errors import ConfigError

IN_FLOAT32 = ["Pow", "ReduceMean", "ReduceMax", "ReduceL2", "Div", "Clip", "Expand", "Cast", "Softmax"]
CALIBRATED = 256  # training images of each modality
BATCH = 16


def to_float16(network: bytes) -> bytes:
    """Return the network with float16 weights; its outputs stay float32."""
    try:
        import onnx
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise ConfigError(missing(error.name or "onnx")) from None
    model = onnx.load_from_string(network)
    model = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32],
        node_block_list=_from_pooling(model.graph),
    )  # fmt: skip
    _join(model.graph, onnx.TensorProto)
    del model.graph.value_info[:]  # says float16 of what stayed float32
    OnnxModel(model).topological_sort(is_deterministic=True)  # the converter puts its casts at the end
    return model.SerializeToString()


def _from_pooling(graph: Any) -> list[str]:
    """Return the names of the nodes from the pooling to the outputs, and of the constants that they alone read. GeM
    begins with its cubes, the mean of signed maps is the mean that keeps no dimension."""
    cubed = any(node.op_type == "Pow" for node in graph.node)
    after: list[str] = []
    reached: set[str] = set()
    read_before: set[str] = set()
    for node in graph.node:
        if (node.op_type == "Pow" if cubed else _drops_dimensions(node)) or reached.intersection(node.input):
            after.append(node.name)
            reached.update(node.output)
        else:
            read_before.update(node.input)
    constants = [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in read_before]
    return [*after, *(node.name for node in constants)]


def _drops_dimensions(node: Any) -> bool:
    return node.op_type == "ReduceMean" and any(one.name == "keepdims" and one.i == 0 for one in node.attribute)


def _join(graph: Any, kinds: Any) -> None:
    """Let a node that stays float32 take the result of another one as it is. The converter casts both ways between the
    two, so that GeM's cubes would be rounded to float16 all the same."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    kind = {name: next(one.i for one in node.attribute if one.name == "to") for name, node in casts.items()}
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if before is not None and (kind[before.output[0]], kind[name]) == (kinds.FLOAT16, kinds.FLOAT):
            node.input[0] = before.input[0]
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for name in casts.keys() - read:
        graph.node.remove(casts[name])


def to_int8(network: bytes, images_NHWC: np.ndarray) -> bytes:
    """Return the network with 8-bit convolutions. images_NHWC: training images of its modality, uint8."""
    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ConfigError(missing(error.name or "onnxruntime")) from None
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("whole", "prepared", "quantised"))
        whole.write_bytes(network)
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(quantised), _Reader(images_NHWC), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            reduce_range=weight_bits() == 7,
        )  # fmt: skip
        return quantised.read_bytes()


def weight_bits() -> int:
    """Return the bits of a weight that this processor can multiply without overflow: 8 with VNNI, else 7."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return 8 if {"avx512_vnni", "avx_vnni"} & set(flags) else 7


class _Reader:
    """Hands images to the calibration, a batch at a time."""

    def __init__(self, images_NHWC: np.ndarray):
        starts = range(0, len(images_NHWC), BATCH)
        self._batches: Iterator[dict[str, Any]] = ({INPUT: images_NHWC[start : start + BATCH]} for start in starts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)
