"""Makes the int8 graph: 8-bit matrix products whose scales are a row's own, and the embedding in 4 bits.

Both the weights and the activations are quantised in blocks within a row, so a message's scores hardly depend on which
others are in its batch. The embedding's 4 bits cost nothing where the packaged backbone was trained with frozen embeddings:
those weights are stored in 4 bits already. What else was tried: docs/decisions/0003-int8.md.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

FloatArray = npt.NDArray[np.float32]

_PRODUCT_BLOCK = 128  # weights that share one scale in the matrix products
_EMBEDDING_BLOCK = 32  # and in the embedding, as in the packaged file
_INT8_ARITHMETIC = 4  # onnxruntime's accuracy level that also quantises activations


def quantize(source: Path, target: Path) -> None:
    """Writes the int8 form of the float32 graph `source` to `target`.

    Matrix products with a constant weight are quantised; those inside attention have none and stay in float32.
    """
    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)  # it reports every node otherwise
    quantizer = MatMulNBitsQuantizer(
        onnx.load(source),
        bits=8,
        block_size=_PRODUCT_BLOCK,
        is_symmetric=True,
        accuracy_level=_INT8_ARITHMETIC,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    model = quantizer.model.model
    _quantize_embedding(model)
    onnx.save(model, target)


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
        block_size=_EMBEDDING_BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    cast = helper.make_node("Cast", [f"{output}_half"], [output], name="embedding_cast", to=TensorProto.FLOAT)
    graph.node.insert(index, look_up)
    graph.node.insert(index + 1, cast)


def pack_4bit(weights: FloatArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Rounds rows of weights to 16 levels in blocks of 32, whose value of largest magnitude is kept exactly.

    Args:
        weights: float32 ``[rows, columns]``, columns a multiple of 32.

    Returns:
        uint8 ``[rows, columns / 2]``, two weights a byte, the first in the low half; and float16 scales
        ``[rows, columns / 32]``. A weight is ``(code - 8) * scale``.
    """
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // _EMBEDDING_BLOCK, _EMBEDDING_BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    scales = (largest / -8).astype(np.float16)
    divisor = np.where(scales == 0, 1, scales).astype(np.float32)
    codes = (np.round(blocks / divisor).clip(-8, 7) + 8).astype(np.uint8).reshape(rows, columns)
    return np.asarray(codes[:, 0::2] | codes[:, 1::2] << 4, np.uint8), scales[..., 0]
