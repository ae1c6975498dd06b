"""Builds the classifier's ONNX graph, in float32 or int8, of standard operators that runtimes have fast kernels for.

What is done otherwise than a traced export does it, and why, is measured in docs/decisions/0007-graph.md:

- tokens are rows of a matrix, ``[tokens x messages, hidden]``, which keeps onnxruntime from fusing additions and norms into
  an operator that is slow on a CPU; all messages' first tokens come first, then all second ones: so it can fuse the
  transpositions around attention into its products instead of copying;
- query, key and value share one quantised input, and the scale of the scores is folded into the query;
- the last layer computes only what is pooled: the message's own tokens, which come first, not those of the context;
- int8 products are written as a quantised `Gemm` between `DequantizeLinear` nodes, the form that onnxruntime and OpenVINO
  turn into one integer kernel each;
- the ranges of int8 are fixed, so that a message's scores depend on nothing else in its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .model import EtiquetteModel

FloatArray = npt.NDArray[np.float32]

_OPSET = 20  # the first with an exact Gelu
_IR_VERSION = 9  # what runtimes of that opset's time read
_EMBEDDING_BLOCK = 32  # weights that share one scale in the 4-bit embedding, as in the packaged file
_EXACT = 1e-5  # an embedding's weight that is off by less is the same
_OUTLIERS = 8.0  # a channel this many times as wide as the median one spoils the range that all share
_LARGEST_CODE = 127  # of a weight, and of two neighbouring weights of one sign together: see `_steps`
_LARGEST_BIAS = 2.0**30  # well inside of int32, which holds the bias and the sum of products


@dataclass(frozen=True)
class Range:
    """What a linear layer's input took on over the calibration messages; what lies beyond is cut off.

    Attributes:
        low, high: the ends of each channel's range, float32 ``[inputs]``.
    """

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class _Linear:
    """A linear layer: ``x @ weight + bias``, weight ``[inputs, outputs]``."""

    name: str
    weight: FloatArray
    bias: FloatArray


def build(model: EtiquetteModel, ranges: dict[str, Range] | None = None) -> ModelProto:
    """Returns the graph: int64 `input_ids` and `attention_mask` ``[batch, tokens]`` in, float32 `logits` ``[batch, 23]`` out.

    Padding must stand on the right.

    Args:
        model: what is exported, in float32.
        ranges: for an int8 graph, the input range of each linear layer but the last, as `input_ranges` finds them.
    """
    return _Builder(model, ranges).build()


def linear_inputs(graph: ModelProto) -> dict[str, str]:
    """Returns the name of each quantisable linear layer of a float32 graph → the tensor that it reads."""
    return {node.name: node.input[0] for node in graph.graph.node if node.op_type == "Gemm" and node.name != "logits"}


def pack_4bit(weights: FloatArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Rounds rows of weights to 16 levels in blocks of 32, whose value of largest magnitude is kept exactly.

    Args:
        weights: float32 ``[rows, columns]``, columns a multiple of 64.

    Returns:
        uint8 ``[rows, columns / 2]``: the left half of the columns in the low four bits, the right half in the high ones;
        and float16 scales ``[rows, columns / 32]``. A weight is ``(code - 8) * scale``.
    """
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // _EMBEDDING_BLOCK, _EMBEDDING_BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    scales = (largest / -8).astype(np.float16)
    divisor = np.where(scales == 0, 1, scales).astype(np.float32)
    codes = (np.round(blocks / divisor).clip(-8, 7) + 8).astype(np.uint8).reshape(rows, columns)
    left, right = np.split(codes, 2, axis=1)
    return np.asarray(left | right << 4, np.uint8), scales[..., 0]


def unpack_4bit(packed: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16]) -> FloatArray:
    """Returns the weights that `pack_4bit` packed."""
    codes = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)
    return np.asarray((codes - 8) * np.repeat(scales.astype(np.float32), _EMBEDDING_BLOCK, axis=1), np.float32)


class _Builder:
    def __init__(self, model: EtiquetteModel, ranges: dict[str, Range] | None) -> None:
        self._config = model.config
        self._weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        self._ranges = ranges
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._heads = model.config.num_attention_heads
        self._width = model.config.hidden_size // self._heads

    def build(self) -> ModelProto:
        self._op("Transpose", "input_ids", name="ids", perm=[1, 0])
        self._op("Shape", "ids", name="shape")
        hidden = self._embed()
        bias = self._attention_bias()
        kept = self._kept_tokens()
        last = self._config.num_hidden_layers - 1
        for i in range(last):
            hidden = self._layer(i, hidden, bias, kept=None)
        hidden = self._layer(last, hidden, bias, kept)
        self._classify(self._pool(hidden))
        graph = helper.make_graph(
            self._nodes,
            "chatiquette",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", self._config.num_labels])],
            list(self._constants.values()),
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(made)
        return made

    def _embed(self) -> str:
        """Adds the embeddings: rows ``[tokens x batch, hidden]``, the type's added to the positions'."""
        words = self._weights["roberta.embeddings.word_embeddings.weight"]
        looked_up = self._look_up(words) if self._ranges is None else self._look_up_packed(words)
        # The table's first two rows are never used: XLM-R counts positions from 2.
        positions = self._weights["roberta.embeddings.position_embeddings.weight"][2:]
        kind = self._weights["roberta.embeddings.token_type_embeddings.weight"][0]
        length = self._op("Gather", "shape", self._int("zero", [0]), name="length")
        table = self._constant("position_table", (positions + kind)[:, None])
        here = self._op("Slice", table, self._int("zero", [0]), length, name="positions")
        rows = self._rows(self._op("Add", looked_up, here, name="embeddings"), "embedding_rows")
        return self._norm(rows, "embedding_norm", "roberta.embeddings.LayerNorm")

    def _look_up(self, words: FloatArray) -> str:
        return self._op("Gather", self._constant("word_table", words), "ids", name="words")

    def _look_up_packed(self, words: FloatArray) -> str:
        """Looks words up in 4 bits where that gives the table back, as it does the packaged weights', else in 8."""
        if words.shape[1] % (2 * _EMBEDDING_BLOCK) == 0:
            packed, scales = pack_4bit(words)
            if np.abs(unpack_4bit(packed, scales) - words).max() < _EXACT:
                return self._look_up_4bit(packed, scales)
        steps = np.maximum(np.abs(words).max(axis=1, keepdims=True) / 127, 1e-8).astype(np.float32)
        codes = self._constant("word_codes", np.round(words / steps).astype(np.int8))
        found = self._op("Gather", codes, "ids", name="codes")
        scale = self._op("Gather", self._constant("word_scales", steps), "ids", name="scales")
        return self._op("Mul", self._op("Cast", found, name="codes_float", to=TensorProto.FLOAT), scale, name="words")

    def _look_up_4bit(self, packed: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16]) -> str:
        hidden = 2 * packed.shape[1]
        found = self._op("Gather", self._constant("word_codes", packed), "ids", name="packed")
        low = self._op("BitwiseAnd", found, self._constant("low_bits", np.uint8(15)), name="low")
        high = self._op("BitwiseAnd", found, self._constant("high_bits", np.uint8(240)), name="high")
        # Not BitShift, which OpenVINO 2026.4 rounds.
        sixteenth = self._constant("sixteenth", np.float32(1 / 16))
        left = self._op("Cast", low, name="codes_left", to=TensorProto.FLOAT)
        right = self._op(
            "Mul", self._op("Cast", high, name="high_float", to=TensorProto.FLOAT), sixteenth, name="codes_right"
        )
        codes = self._op("Concat", left, right, name="codes", axis=2)
        centred = self._op("Sub", codes, self._constant("eight", np.float32(8)), name="codes_centred")
        blocks = self._shaped(centred, "blocks", "shape", [hidden // _EMBEDDING_BLOCK, _EMBEDDING_BLOCK])
        halves = self._op("Gather", self._constant("word_scales", scales[..., None]), "ids", name="scales_half")
        scale = self._op("Cast", halves, name="scales", to=TensorProto.FLOAT)
        return self._shaped(self._op("Mul", blocks, scale, name="scaled"), "words", "shape", [hidden])

    def _attention_bias(self) -> str:
        """Gives 0 for tokens and a large negative number for padding, ``[batch, 1, 1, tokens]``."""
        mask = self._op("Cast", "attention_mask", name="mask", to=TensorProto.FLOAT)
        missing = self._op("Sub", mask, self._constant("one_float", np.float32(1)), name="padding")
        bias = self._op("Mul", missing, self._constant("far", np.float32(1e9)), name="padding_bias")
        return self._op("Unsqueeze", bias, self._int("heads_and_queries", [1, 2]), name="bias")

    def _kept_tokens(self) -> str:
        """Gives how many first tokens of each message the last layer needs, int64 ``[1]``, and marks the own ones."""
        if self._config.pooling == "first":
            return self._int("one", [1])
        ends = self._op("Equal", "input_ids", self._int("eos", self._config.eos_token_id), name="ends")
        ended = self._op(
            "CumSum",
            self._op("Cast", ends, name="ends_int", to=TensorProto.INT32),
            self._constant("tokens_axis", np.int32(1)),
            name="ended",
        )
        before = self._op("Equal", ended, self._constant("none_yet", np.int32(0)), name="before_end")
        starts = self._op("Equal", "input_ids", self._int("bos", self._config.bos_token_id), name="starts")
        own = self._op("And", before, self._op("Not", starts, name="no_start"), name="own_bool")
        self._op("Cast", own, name="own_all", to=TensorProto.FLOAT)
        before_int = self._op("Cast", before, name="before_end_int", to=TensorProto.INT64)
        counts = self._op("ReduceSum", before_int, self._int("one", [1]), name="before_end_counts", keepdims=0)
        longest = self._op("ReduceMax", counts, name="before_end_longest", keepdims=1)
        # One at least: no token stands before the end where the first one is the end.
        kept = self._op("Max", longest, self._int("one", [1]), name="kept")
        self._op("Slice", "own_all", self._int("zero", [0]), kept, self._int("one", [1]), name="own")
        return kept

    def _layer(self, i: int, hidden: str, bias: str, kept: str | None) -> str:
        """Adds one encoder layer over the rows `hidden`; with `kept` it gives the first tokens of each message alone."""
        prefix, name = f"roberta.encoder.layer.{i}", f"layer{i}"
        query = self._linear_of(f"{prefix}.attention.self.query", f"{name}.query", 1 / np.sqrt(self._width))
        key = self._linear_of(f"{prefix}.attention.self.key", f"{name}.key")
        value = self._linear_of(f"{prefix}.attention.self.value", f"{name}.value")
        if kept is None:
            q, k, v = self._linears([query, key, value], hidden, f"{name}.qkv")
            queries = self._by_head(q, f"{name}.queries", "shape", [1, 2, 0, 3])
        else:
            k, v = self._linears([key, value], hidden, f"{name}.kv")
            every = self._shaped(hidden, f"{name}.all", "shape", [self._config.hidden_size])
            first = self._op("Slice", every, self._int("zero", [0]), kept, name=f"{name}.first")
            whole = self._op("Shape", first, name="kept_whole")
            self._op("Slice", whole, self._int("zero", [0]), self._int("two", [2]), name="kept_shape")
            hidden = self._rows(first, f"{name}.kept")
            queries = self._by_head(self._linear(query, hidden), f"{name}.queries", "kept_shape", [1, 2, 0, 3])
        keys = self._by_head(k, f"{name}.keys", "shape", [1, 2, 3, 0])
        values = self._by_head(v, f"{name}.values", "shape", [1, 2, 0, 3])
        match = self._op("MatMul", queries, keys, name=f"{name}.match")
        scores = self._op("Add", match, bias, name=f"{name}.scores")
        shares = self._op("Softmax", scores, name=f"{name}.shares", axis=-1)
        mixed = self._op("MatMul", shares, values, name=f"{name}.mixed")
        rows = self._rows(self._op("Transpose", mixed, name=f"{name}.by_token", perm=[2, 0, 1, 3]), f"{name}.attended")
        output = self._linear(self._linear_of(f"{prefix}.attention.output.dense", f"{name}.output"), rows)
        hidden = self._norm(
            self._op("Add", output, hidden, name=f"{name}.sum1"),
            f"{name}.norm1",
            f"{prefix}.attention.output.LayerNorm",
        )
        wide = self._linear(self._linear_of(f"{prefix}.intermediate.dense", f"{name}.up"), hidden)
        active = self._op("Gelu", wide, name=f"{name}.gelu")
        narrow = self._linear(self._linear_of(f"{prefix}.output.dense", f"{name}.down"), active)
        return self._norm(
            self._op("Add", narrow, hidden, name=f"{name}.sum2"), f"{name}.norm2", f"{prefix}.output.LayerNorm"
        )

    def _pool(self, hidden: str) -> str:
        """Gives the mean over the message's own tokens, or the first token: ``[batch, hidden]``, normalised."""
        size = self._config.hidden_size
        tokens = self._shaped(hidden, "pooled_tokens", "kept_shape", [size])
        if self._config.pooling != "first":
            count = self._op("ReduceSum", "own", self._int("one", [1]), name="own_count", keepdims=1)
            at_least_one = self._op("Max", count, self._constant("one_float", np.float32(1)), name="own_divisor")
            weights = self._op("Div", "own", at_least_one, name="own_share")
            row = self._op("Unsqueeze", weights, self._int("one", [1]), name="own_row")
            by_message = self._op("Transpose", tokens, name="by_message", perm=[1, 0, 2])
            mean = self._op("MatMul", row, by_message, name="mean")
            pooled = self._op("Squeeze", mean, self._int("one", [1]), name="pooled")
        else:
            pooled = self._op("Squeeze", tokens, self._int("zero", [0]), name="pooled")
        ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
        return self._op(
            "LayerNormalization",
            pooled,
            self._constant("pooled.ones", ones),
            self._constant("pooled.zeros", zeros),
            name="normalised",
            epsilon=1e-5,  # torch's own, which the model's parameter-free norm has
        )

    def _classify(self, pooled: str) -> None:
        weight = self._constant("classifier.weight", self._weights["classifier.weight"].T)
        self._op(
            "Gemm", pooled, weight, self._constant("classifier.bias", self._weights["classifier.bias"]), name="logits"
        )

    def _linear_of(self, module: str, name: str, scale: float = 1.0) -> _Linear:
        weight, bias = (self._weights[f"{module}.{part}"] * np.float32(scale) for part in ("weight", "bias"))
        return _Linear(name, weight.T, bias)

    def _linear(self, layer: _Linear, rows: str) -> str:
        return self._linears([layer], rows, layer.name)[0]

    def _linears(self, layers: list[_Linear], rows: str, name: str) -> list[str]:
        """Adds layers that read the same rows."""
        if self._ranges is not None:
            return self._quantised(layers, rows, name, self._ranges[layers[0].name])
        return [
            self._op(
                "Gemm",
                rows,
                self._constant(f"{layer.name}.weight", layer.weight),
                self._constant(f"{layer.name}.bias", layer.bias),
                name=layer.name,
            )
            for layer in layers
        ]

    def _quantised(self, layers: list[_Linear], rows: str, name: str, seen: Range) -> list[str]:
        """Adds int8 products: one input in 8 bits with a fixed range, weights with one scale for each output."""
        weights, low, high = [layer.weight for layer in layers], seen.low, seen.high
        width = np.maximum(np.maximum(high, -low), 1e-5)
        if width.max() > _OUTLIERS * np.median(width):
            smoothing = _smoothing(width, np.concatenate(weights, axis=1))
            narrower = self._constant(f"{name}.smoothing", 1 / smoothing)
            rows = self._op("Mul", rows, narrower, name=f"{name}.smooth")
            weights = [weight * smoothing[:, None] for weight in weights]
            low, high = low / smoothing, high / smoothing
        bottom, top = min(float(low.min()), 0.0), max(float(high.max()), 0.0)
        step = np.float32(max(top - bottom, 1e-5) / 255)
        zero_point = np.uint8(round(-bottom / float(step)))
        scale, zero = self._constant(f"{name}.scale", step), self._constant(f"{name}.zero", zero_point)
        codes = self._op("QuantizeLinear", rows, scale, zero, name=f"{name}.codes")
        read = self._op("DequantizeLinear", codes, scale, zero, name=f"{name}.input")
        return [self._product(layer, weight, read, step) for layer, weight in zip(layers, weights, strict=True)]

    def _product(self, layer: _Linear, weight: FloatArray, read: str, step: np.float32) -> str:
        """Adds the product of an input, of which a code is worth `step`, with a layer's smoothed weight."""
        name = layer.name
        scales = np.maximum(_steps(weight), np.abs(layer.bias) / (step * _LARGEST_BIAS)).astype(np.float32)
        bias_scales = step * scales
        factors = self._dequantised(f"{name}.weight", np.round(weight / scales).astype(np.int8), scales, axis=1)
        bias = self._dequantised(
            f"{name}.bias", np.round(layer.bias / bias_scales).astype(np.int32), bias_scales, axis=0
        )
        return self._op("Gemm", read, factors, bias, name=name)

    def _dequantised(self, name: str, values: npt.NDArray[Any], scales: FloatArray, axis: int) -> str:
        codes, scale = self._constant(f"{name}.codes", values), self._constant(f"{name}.scales", scales)
        # Zeros are the default, but without them onnxruntime sees no int8 product, and multiplies in float32.
        zeros = self._constant(f"{name}.zeros", np.zeros(scales.shape, values.dtype))
        return self._op("DequantizeLinear", codes, scale, zeros, name=name, axis=axis)

    def _by_head(self, rows: str, name: str, lead: str, perm: list[int]) -> str:
        """Turns rows into a matrix for each message and head; `perm` orders tokens, messages, heads and width."""
        apart = self._shaped(rows, f"{name}.apart", lead, [self._heads, self._width])
        return self._op("Transpose", apart, name=name, perm=perm)

    def _norm(self, rows: str, name: str, module: str) -> str:
        weight, bias = (
            self._constant(f"{name}.{part}", self._weights[f"{module}.{part}"]) for part in ("weight", "bias")
        )
        return self._op("LayerNormalization", rows, weight, bias, name=name, epsilon=self._config.layer_norm_eps)

    def _rows(self, tensor: str, name: str) -> str:
        return self._op("Reshape", tensor, self._int("rows", [-1, self._config.hidden_size]), name=name)

    def _shaped(self, tensor: str, name: str, lead: str, rest: list[int]) -> str:
        """Reshapes to the shape that the tensor `lead` holds, followed by `rest`."""
        tail = self._int("by_" + "_".join(map(str, rest)), rest)
        shape = self._op("Concat", lead, tail, name=f"{name}.shape", axis=0)
        return self._op("Reshape", tensor, shape, name=name)

    def _op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Adds an operator with one output, which has its name."""
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def _constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def _int(self, name: str, value: int | list[int]) -> str:
        return self._constant(name, np.array(value, np.int64))


def _steps(weight: FloatArray) -> FloatArray:
    """Returns each output's size of one step of its weights, float32 ``[outputs]``.

    Processors without VNNI instructions multiply inputs and weights two by two and keep the sum of the two products in 16 bits,
    cut off at its end. Two neighbours of one sign that make at most 128 steps together stay below it: 255 x 128 < 32,768.
    Every kernel gives the same sums then. (127, since rounding can add one.)

    Args:
        weight: ``[inputs, outputs]``, an even number of inputs.
    """
    pairs = weight.reshape(-1, 2, weight.shape[1])
    together = np.maximum(pairs.clip(min=0).sum(axis=1), -pairs.clip(max=0).sum(axis=1))
    return np.asarray(np.maximum(together.max(axis=0) / _LARGEST_CODE, 1e-8), np.float32)


def _smoothing(width: FloatArray, weight: FloatArray) -> FloatArray:
    """Returns by how much to divide each input channel, and multiply its weights, so that no channel stands out.

    SmoothQuant (Xiao et al. 2023) with the strength 0.75: most of a channel's width moves into its weights.
    """
    factors = width**0.75 / np.maximum(np.abs(weight).max(axis=1), 1e-5) ** 0.25
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)
