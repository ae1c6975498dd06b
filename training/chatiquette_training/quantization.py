"""Makes the int8 graph: 8-bit matrix products with fixed activation scales, and the embedding in 4 bits.

Fixed ("static") scales make a message's scores independent of whatever else is in its batch. The embedding's 4 bits cost
nothing where the packaged backbone was trained with frozen embeddings, since those weights are stored in 4 bits already.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

FloatArray = npt.NDArray[np.float32]
Feed = dict[str, npt.NDArray[np.int64]]

_BLOCK = 32  # embedding weights that share one scale, as in the packaged file


def quantize(source: Path, target: Path, feeds: list[Feed]) -> None:
    """Writes the int8 form of the float32 graph `source` to `target`.

    Args:
        source: the exported graph.
        target: where the quantised graph goes.
        feeds: model inputs on which the activations' ranges are measured, one message each so that padding has no part.
    """
    with tempfile.TemporaryDirectory() as folder:
        static = Path(folder) / "static.onnx"
        quantize_static(
            source,
            static,
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=_weight_products(onnx.load(source)),
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"], "QuantizeBias": False},
        )
        model = onnx.load(static)
    _quantize_embedding(model)
    onnx.save(model, target)


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """Returns the next model input, or None at the end."""
        return next(self._feeds, None)


def _weight_products(model: ModelProto) -> list[str]:
    """Names the matrix products with a constant weight; those inside attention have none and stay in float32."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _quantize_embedding(model: ModelProto) -> None:
    """Replaces the word embedding's look-up by one over 4-bit weights in blocks that share a float16 scale."""
    graph = model.graph
    embedding = max(graph.initializer, key=lambda initializer: int(np.prod(initializer.dims)))
    index, node = next(
        (i, n) for i, n in enumerate(graph.node) if n.op_type == "Gather" and n.input[0] == embedding.name
    )
    packed, scales = pack_4bit(numpy_helper.to_array(embedding))
    name, output = embedding.name, node.output[0]
    graph.initializer.remove(embedding)
    graph.initializer.append(numpy_helper.from_array(packed, f"{name}_4bit"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
    graph.node.remove(node)
    look_up = helper.make_node(
        "GatherBlockQuantized",
        [f"{name}_4bit", node.input[1], f"{name}_scales"],
        [f"{output}_half"],
        name="embedding",
        domain="com.microsoft",
        bits=4,
        block_size=_BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    cast = helper.make_node("Cast", [f"{output}_half"], [output], name="embedding_cast", to=TensorProto.FLOAT)
    graph.node.insert(index, look_up)
    graph.node.insert(index + 1, cast)
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def pack_4bit(weights: FloatArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Rounds rows of weights to 16 levels in blocks of 32, whose value of largest magnitude is kept exactly.

    Args:
        weights: float32 ``[rows, columns]``, columns a multiple of 32.

    Returns:
        uint8 ``[rows, columns / 2]``, two weights a byte, the first in the low half; and float16 scales
        ``[rows, columns / 32]``. A weight is ``(code - 8) * scale``.
    """
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // _BLOCK, _BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    scales = (largest / -8).astype(np.float16)
    divisor = np.where(scales == 0, 1, scales).astype(np.float32)
    codes = (np.round(blocks / divisor).clip(-8, 7) + 8).astype(np.uint8).reshape(rows, columns)
    return np.asarray(codes[:, 0::2] | codes[:, 1::2] << 4, np.uint8), scales[..., 0]
