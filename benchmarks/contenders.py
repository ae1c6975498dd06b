"""The ways to run the model that benchmarks compare, each on one thread, each end to end from text to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    pipeline,
)

from chatiquette import EtiquetteClassifier, Prediction
from chatiquette.bundle import QUANTIZED_GRAPH, TOKENIZER, Bundle
from chatiquette.encoding import Encoded, Encoder, pad
from chatiquette.taxonomy import LABEL_NAMES
from chatiquette_training import packaged_weights
from chatiquette_training.backbone import wrap_tokenizer
from chatiquette_training.export import GRAPH
from chatiquette_training.model import EtiquetteModel

Pair = tuple[str, str | None]  # message and context
FloatArray = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], FloatArray]

CALL_TOKENS = 512


@dataclass(frozen=True)
class Contender:
    """One way to classify.

    Attributes:
        classify: takes pairs and gives what `probabilities` reads.
        size: bytes of the weights.
        same_weights: whether its answers can be compared with those of the 12 layers in float32.
    """

    name: str
    classify: Callable[[list[Pair]], Any]
    size: int
    same_weights: bool = True

    def probabilities(self, pairs: list[Pair]) -> FloatArray:
        """Returns ``[pairs, 23]``."""
        rows = self.classify(pairs)
        if isinstance(rows, np.ndarray):
            return rows
        if isinstance(rows[0], Prediction):
            return np.array([list(row.probabilities.values()) for row in rows])
        scores = [{one["label"]: one["score"] for one in row} for row in rows]
        return np.array([[row[label] for label in LABEL_NAMES] for row in scores])


class Batched:
    """What anyone would write around a bare runtime: tokenise, sort by length, at most 512 tokens a call, sigmoid."""

    def __init__(self, bundle: Bundle, run: Run) -> None:
        self._encoder = Encoder(bundle.folder / TOKENIZER, bundle.max_length, bundle.bos, bundle.eos)
        self._run = run

    def __call__(self, pairs: list[Pair]) -> FloatArray:
        """Returns probabilities ``[pairs, 23]``, in order."""
        texts, contexts = map(list, zip(*pairs, strict=True))
        encoded = self._encoder.encode(texts, contexts)
        found = np.zeros((len(pairs), len(LABEL_NAMES)), np.float32)
        for rows in _batches(encoded):
            found[rows] = 1 / (1 + np.exp(-self._run(*pad([encoded[row] for row in rows]))))
        return found


def _batches(encoded: list[Encoded]) -> Iterator[list[int]]:
    batch: list[int] = []
    for row in sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids)):
        if batch and (len(batch) + 1) * len(encoded[row].ids) > CALL_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def ours(name: str, folder: Path, same_weights: bool = True) -> Contender:
    """The bundle by way of the API."""
    classifier = EtiquetteClassifier.load(folder)

    def classify(pairs: list[Pair]) -> list[Prediction]:
        return classifier.predict([text for text, _ in pairs], [context for _, context in pairs])

    return Contender(name, classify, (folder / QUANTIZED_GRAPH).stat().st_size, same_weights)


def bare(name: str, folder: Path, graph: Path) -> Contender:
    """A graph in onnxruntime, without the API."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    run = lambda ids, mask: session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]  # noqa: E731
    return Contender(name, Batched(Bundle.open(folder), run), graph.stat().st_size)


def eager(name: str, folder: Path, dtype: torch.dtype) -> Contender:
    """PyTorch without compilation."""
    model = EtiquetteModel.from_pretrained(folder, dtype=dtype).eval()
    model.classifier.float()  # it reads a mean that is float32

    @torch.inference_mode()
    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> FloatArray:
        logits: FloatArray = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.float().numpy()
        return logits

    return Contender(name, Batched(Bundle.open(folder), run), _bytes(model))


def piped(
    name: str, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, batch: int = 1, same_weights: bool = True
) -> Contender:
    """`transformers.pipeline`, one message at a time (its default), or `batch` of similar length."""
    settings = {"function_to_apply": "sigmoid", "top_k": None, "device": "cpu", "batch_size": batch}
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, **settings)

    def classify(pairs: list[Pair]) -> list[Any]:
        order = sorted(range(len(pairs)), key=lambda i: sum(len(one or "") for one in pairs[i]))
        sorted_pairs = [pairs[i] for i in order]
        found = pipe([{"text": text, "text_pair": context or None} for text, context in sorted_pairs])
        return [found[order.index(i)] for i in range(len(pairs))]

    return Contender(name, classify, _bytes(model), same_weights)


def piped_bundle(name: str, folder: Path, batch: int = 1) -> Contender:
    """The model's own weights in PyTorch, in transformers' pipeline."""
    model = EtiquetteModel.from_pretrained(folder).eval()
    return piped(name, model, AutoTokenizer.from_pretrained(folder), batch)


def piped_base(name: str) -> Contender:
    """A model of XLM-RoBERTa base's shape with random weights: what multilingual classifiers such as detoxify's are."""
    pieces = packaged_weights.read(packaged_weights.locate()).pieces
    labels = dict(enumerate(LABEL_NAMES))
    config = XLMRobertaConfig(vocab_size=len(pieces), max_position_embeddings=514, type_vocab_size=1, id2label=labels)
    model = XLMRobertaForSequenceClassification(config).eval()
    return piped(name, model, wrap_tokenizer(pieces), same_weights=False)


def dynamic_int8(name: str, folder: Path, temporary: Path) -> Contender:
    """The graph that PyTorch exports, its products quantised dynamically: what most do."""
    model = EtiquetteModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.ones(2, 8, dtype=torch.int64)
    exported, quantised = temporary / "exported.onnx", temporary / "dynamic.onnx"
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        _Logits(model),
        (ids, ids),
        exported,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(exported, quantised, per_channel=True, weight_type=QuantType.QInt8)
    return bare(name, folder, quantised)


class _Logits(torch.nn.Module):
    def __init__(self, model: EtiquetteModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids, attention_mask).logits
        return logits


def openvino_int8(name: str, folder: Path, seen: list[Pair], temporary: Path) -> Contender:
    """OpenVINO, quantised by its own tool, nncf, with ranges from the messages `seen`; what isn't int8 in its own choice."""
    bundle = Bundle.open(folder)
    encoder = Encoder(folder / TOKENIZER, bundle.max_length, bundle.bos, bundle.eos)
    encoded = encoder.encode([text for text, _ in seen], [context for _, context in seen])
    feeds = [dict(zip(("input_ids", "attention_mask"), pad([one]), strict=True)) for one in encoded]
    core = openvino.Core()
    plain = core.read_model(folder / GRAPH)
    quantised = nncf.quantize(plain, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds))
    openvino.save_model(quantised, temporary / "openvino.xml", compress_to_fp16=False)
    compiled = core.compile_model(quantised, "CPU", {"INFERENCE_NUM_THREADS": 1})
    run = lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})["logits"]  # noqa: E731
    return Contender(name, Batched(bundle, run), (temporary / "openvino.bin").stat().st_size)


def _bytes(model: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())
