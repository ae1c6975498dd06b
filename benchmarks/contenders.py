"""The ways to run the model that benchmarks compare, each on one thread, each end to end from text to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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

from chatiquette import EtiquetteClassifier
from chatiquette.bundle import QUANTIZED_GRAPH, TOKENIZER, Bundle
from chatiquette.encoding import Encoded, Encoder, pad
from chatiquette_training import packaged_weights
from chatiquette_training.backbone import wrap_tokenizer
from chatiquette_training.export import GRAPH
from chatiquette_training.model import EtiquetteModel

Pair = tuple[str, str | None]  # message and context
Run = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], object]

CALL_TOKENS = 512


@dataclass(frozen=True)
class Contender:
    """One way to classify: the function that takes pairs, and the bytes of its weights."""

    name: str
    classify: Callable[[list[Pair]], object]
    size: int


class Batched:
    """What anyone would write around a bare runtime: tokenise, sort by length, at most 512 tokens a call, sigmoid."""

    def __init__(self, bundle: Bundle, run: Run) -> None:
        self._encoder = Encoder(bundle.folder / TOKENIZER, bundle.max_length, bundle.bos, bundle.eos)
        self._run = run

    def __call__(self, pairs: list[Pair]) -> None:
        """Classifies, and forgets what it found."""
        texts, contexts = map(list, zip(*pairs, strict=True))
        for batch in _batches(sorted(self._encoder.encode(texts, contexts), key=lambda one: len(one.ids))):
            1 / (1 + np.exp(-np.asarray(self._run(*pad(batch)))))


def _batches(encoded: list[Encoded]) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    for one in encoded:
        if batch and (len(batch) + 1) * len(one.ids) > CALL_TOKENS:
            yield batch
            batch = []
        batch.append(one)
    yield batch


def ours(name: str, folder: Path) -> Contender:
    """The bundle by way of the API."""
    classifier = EtiquetteClassifier.load(folder)

    def classify(pairs: list[Pair]) -> None:
        classifier.predict([text for text, _ in pairs], [context for _, context in pairs])

    return Contender(name, classify, (folder / QUANTIZED_GRAPH).stat().st_size)


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

    @torch.inference_mode()
    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> object:
        return model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.float().numpy()

    return Contender(name, Batched(Bundle.open(folder), run), _bytes(model))


def piped(name: str, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> Contender:
    """`transformers.pipeline`, one message at a time, its default: batches of unsorted messages are slower."""
    settings = {"function_to_apply": "sigmoid", "top_k": None, "device": "cpu"}
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, **settings)

    def classify(pairs: list[Pair]) -> None:
        pipe([{"text": text, "text_pair": context} if context else {"text": text} for text, context in pairs])

    return Contender(name, classify, _bytes(model))


def piped_bundle(folder: Path) -> Contender:
    model = EtiquetteModel.from_pretrained(folder).eval()
    return piped("transformers.pipeline", model, AutoTokenizer.from_pretrained(folder))


def piped_base() -> Contender:
    """A model of XLM-RoBERTa base's shape with random weights: what multilingual classifiers such as detoxify's are."""
    pieces = packaged_weights.read(packaged_weights.locate()).pieces
    config = XLMRobertaConfig(vocab_size=len(pieces), max_position_embeddings=514, type_vocab_size=1, num_labels=23)
    model = XLMRobertaForSequenceClassification(config).eval()
    return piped("transformers.pipeline, XLM-R base", model, wrap_tokenizer(pieces))


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
    """OpenVINO, quantised by its own tool, nncf, for transformers, with ranges from the messages `seen`."""
    bundle = Bundle.open(folder)
    encoder = Encoder(folder / TOKENIZER, bundle.max_length, bundle.bos, bundle.eos)
    encoded = encoder.encode([text for text, _ in seen], [context for _, context in seen])
    feeds = [dict(zip(("input_ids", "attention_mask"), pad([one]), strict=True)) for one in encoded]
    core = openvino.Core()
    plain = core.read_model(folder / GRAPH)
    quantised = nncf.quantize(plain, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds))
    openvino.save_model(quantised, temporary / "openvino.xml")
    compiled = core.compile_model(quantised, "CPU", {"INFERENCE_NUM_THREADS": 1})
    run = lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})["logits"]  # noqa: E731
    return Contender(name, Batched(bundle, run), (temporary / "openvino.bin").stat().st_size)


def _bytes(model: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())
