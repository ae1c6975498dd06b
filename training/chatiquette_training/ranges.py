"""Finds the ranges of the int8 graph: what the linear layers read while the model reads messages it was trained on."""

from __future__ import annotations

import numpy as np
import onnxruntime
from datasets import Dataset
from onnx import TensorProto, helper

from .graph import Range, build, linear_inputs
from .model import EtiquetteModel


def input_ranges(model: EtiquetteModel, messages: Dataset) -> dict[str, Range]:
    """Returns the name of each linear layer in the graph of `model` → the extremes of its input, channel by channel.

    Args:
        model: the trained model, in float32.
        messages: what `tokenise` made of them; they are read one by one, so that no padding is among what is seen.
    """
    graph = build(model)
    inputs = linear_inputs(graph)
    watched = sorted(set(inputs.values()))
    graph.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in watched)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    seen: dict[str, Range] = {}
    for message in messages:
        feed = {name: np.array([message[name]], np.int64) for name in ("input_ids", "attention_mask")}
        for name, rows in zip(watched, session.run(watched, feed), strict=True):
            now = Range(rows.min(axis=0), rows.max(axis=0))
            before = seen.get(name, now)
            seen[name] = Range(np.minimum(before.low, now.low), np.maximum(before.high, now.high))
    return {layer: seen[name] for layer, name in inputs.items()}
