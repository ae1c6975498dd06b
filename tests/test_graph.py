"""The graph builder: what it builds says what PyTorch says, for any tokens, and its int8 form fits every processor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from datasets import Dataset
from onnx import ModelProto, numpy_helper
from transformers import XLMRobertaConfig, XLMRobertaModel

from chatiquette_training.graph import build
from chatiquette_training.model import EtiquetteModel
from chatiquette_training.ranges import input_ranges

S, PAD, END = 0, 1, 2
ODD = {
    "a pair": [S, 5, 6, 7, END, END, 8, 9, END],
    "a second start": [S, 5, S, 6, 7, END, END, 8, END],
    "an empty message": [S, END, END, 8, 9, END],
    "one token": [S, 5, END],
    "the end first": [END, 5, 6],
    "a long context": [S, 5, END, END, *range(6, 26), END],
}


def random_model(pooling: str = "mean", hidden: int = 64) -> EtiquetteModel:
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=50,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=60,
        type_vocab_size=1,
        attn_implementation="eager",
    )
    model = EtiquetteModel.from_backbone(XLMRobertaModel(config, add_pooling_layer=False), pooling)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def feed(rows: list[list[int]]) -> dict[str, npt.NDArray[np.int64]]:
    longest = max(map(len, rows))
    ids = [row + [PAD] * (longest - len(row)) for row in rows]
    return {
        "input_ids": np.array(ids),
        "attention_mask": np.array([[int(i < len(r)) for i in range(longest)] for r in rows]),
    }


def logits(graph: ModelProto, rows: list[list[int]]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return np.asarray(session.run(["logits"], feed(rows))[0])


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("rows", [[row] for row in ODD.values()] + [list(ODD.values())], ids=[*ODD, "all together"])
def test_float32_says_what_torch_says(pooling: str, rows: list[list[int]]) -> None:
    model = random_model(pooling)
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(tensor) for name, tensor in feed(rows).items()}).logits.numpy()
    found = logits(build(model), rows)
    assert np.abs(expected).max() > 0.1
    assert np.abs(found - expected).max() < 1e-4


def quantised(model: EtiquetteModel) -> ModelProto:
    rows = [row for row in ODD.values() if row[0] == S]
    seen = Dataset.from_list([{"input_ids": row, "attention_mask": [1] * len(row), "length": len(row)} for row in rows])
    return build(model, input_ranges(model, seen))


@pytest.mark.parametrize("hidden", [64, 40], ids=["blocks fit", "blocks don't fit"])
def test_int8_is_close_and_depends_on_nothing_else_in_the_batch(hidden: int) -> None:
    model = random_model(hidden=hidden)
    rows = list(ODD.values())
    graph = quantised(model)
    alone = np.concatenate([logits(graph, [row]) for row in rows])
    assert np.abs(alone - logits(build(model), rows)).max() < 0.3
    assert np.abs(alone - logits(graph, rows)).max() < 1e-4


def test_int8_sums_fit_where_a_processor_keeps_pairs_in_16_bits() -> None:
    """Without VNNI, x86 adds two products of an input (0 to 255) and a weight in 16 bits, which must not overflow."""
    codes = [
        numpy_helper.to_array(one).astype(int)
        for one in quantised(random_model()).graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and one.name.endswith(".weight.codes")
    ]
    assert len(codes) == 2 * 6
    for weight in codes:
        pairs = weight.reshape(-1, 2, weight.shape[1])
        assert 255 * pairs.clip(min=0).sum(axis=1).max() < 2**15
        assert 255 * pairs.clip(max=0).sum(axis=1).min() >= -(2**15)
        assert abs(weight).max() > 60, "the 8 bits are used"


def test_a_layer_that_says_nothing_but_its_bias_keeps_it() -> None:
    model = random_model()
    torch.nn.init.zeros_(model.roberta.encoder.layer[0].intermediate.dense.weight)
    rows = [ODD["a pair"]]
    assert np.abs(logits(quantised(model), rows) - logits(build(model), rows)).max() < 0.3
