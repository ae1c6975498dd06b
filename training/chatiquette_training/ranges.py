"""Finds the ranges of the int8 graph: what the linear layers read while the model reads messages it was trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime
from datasets import Dataset
from onnx import TensorProto, helper

from .graph import Range, build, linear_inputs
from .model import EtiquetteModel

FloatArray = npt.NDArray[np.float32]

_CUT = 0.0005  # share of tokens that lie beyond a channel's range: finer steps for all others are worth more


def input_ranges(model: EtiquetteModel, messages: Dataset) -> dict[str, Range]:
    """Returns the name of each linear layer in the graph of `model` → the range of its input, channel by channel.

    Args:
        model: the trained model, in float32.
        messages: what `tokenise` made of them; they are read one by one, so that no padding is among what is seen.
    """
    graph = build(model)
    inputs = linear_inputs(graph)
    watched = sorted(set(inputs.values()))
    graph.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in watched)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    kept = 1 + round(_CUT * sum(messages["length"]))
    highest: dict[str, FloatArray] = {}
    lowest: dict[str, FloatArray] = {}
    for message in messages:
        feed = {name: np.array([message[name]], np.int64) for name in ("input_ids", "attention_mask")}
        for name, rows in zip(watched, session.run(watched, feed), strict=True):
            highest[name] = _largest(rows, highest.get(name), kept)
            lowest[name] = _largest(-rows, lowest.get(name), kept)
    return {layer: Range(-lowest[name].min(axis=0), highest[name].min(axis=0)) for layer, name in inputs.items()}


def _largest(rows: FloatArray, before: FloatArray | None, count: int) -> FloatArray:
    """Returns each channel's largest values among `rows` and those from before, at most `count`: ``[values, channels]``."""
    both = rows if before is None else np.concatenate([before, rows])
    return both if len(both) <= count else np.partition(both, -count, axis=0)[-count:]
