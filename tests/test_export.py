"""The exported bundle: complete, standard, faithful to the trained model, and refused where it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file, save_file
from scipy.special import expit
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from chatiquette import EtiquetteClassifier
from chatiquette.taxonomy import LABEL_NAMES
from chatiquette_training.export import Parity
from chatiquette_training.model import EtiquetteModel

from .conftest import ROOT, chatiquette

PAIRS = [
    ("Done. Bye.", "Thanks, that solved it!"),
    ("Bună ziua!", "Alo?"),
    ("Pozriem sa na to.", "Nejde mi to."),
    ("Kiitos!", "Ok"),
]


def test_the_bundle_is_complete_and_its_sums_hold(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "README.md", "SHA256SUMS", "config.json", "metadata.json", "model.safetensors", "onnx/model.onnx",
        "onnx/model_quantized.onnx", "onnx/model_text.onnx", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle, check=True, capture_output=True)


def test_the_configuration_follows_the_ecosystem(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    assert [config["id2label"][str(i)] for i in range(23)] == list(LABEL_NAMES)
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    plain = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    for message, context in PAIRS:
        assert tokenizer(message, context)["input_ids"] == plain.encode(message, context).ids


def test_the_graphs_take_any_batch_and_say_what_torch_says(bundle: Path) -> None:
    model = EtiquetteModel.from_pretrained(bundle).eval()
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    for pairs in (PAIRS, PAIRS[:1]):
        batch = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**batch).logits.numpy()
        feed = {name: tensor.numpy() for name, tensor in batch.items()}
        full = onnxruntime.InferenceSession(bundle / "onnx" / "model.onnx").run(["logits"], feed)[0]
        assert np.abs(full - expected).max() < 1e-4
        quantized = onnxruntime.InferenceSession(bundle / "onnx" / "model_quantized.onnx").run(["logits"], feed)[0]
        assert np.abs(expit(quantized) - expit(expected)).mean() < 0.02


def test_the_graphs_have_standard_operators_and_int8_products(bundle: Path, tmp_path: Path) -> None:
    for name, kind in (("model.onnx", "FLOAT"), ("model_quantized.onnx", "INT8")):
        graph = onnx.load(bundle / "onnx" / name)
        assert [one.domain for one in graph.opset_import] == [""]
        products = [one for one in graph.graph.initializer if one.name.startswith("layer") and len(one.dims) == 2]
        assert {onnx.TensorProto.DataType.Name(one.data_type) for one in products} == {kind}
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(bundle / "onnx" / "model_quantized.onnx", options)
    made = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert made.count("QGemm") == len(products), "onnxruntime makes one integer kernel of each product"


def test_scores_depend_on_nothing_else_in_the_batch(bundle: Path) -> None:
    classifier = EtiquetteClassifier.load(bundle)
    alone = np.concatenate([classifier.predict_proba(message, context) for message, context in PAIRS])
    crowd = [(message * 9, context) for message, context in PAIRS]
    together = classifier.predict_proba(*map(list, zip(*PAIRS, *crowd, strict=True)))[: len(PAIRS)]
    assert np.abs(alone - together).max() < 1e-4


def test_the_metadata_says_how_the_model_came_about(bundle: Path) -> None:
    metadata = json.loads((bundle / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["config"]["name"] == "smoke"
    assert metadata["parity"]["deviation"] <= 1e-4
    assert set(metadata["parity"]["flips"]) == {"en", "ro", "sk", "fi"}
    assert len(metadata["data"]["sha256"]) == 64
    assert metadata["data"]["messages"] == {"train": 80, "validation": 80, "test": 80}
    card = (bundle / "README.md").read_text(encoding="utf-8")
    for text in (
        "closure.violated",
        metadata["data"]["sha256"],
        "intfloat/multilingual-e5-small",
        "configs/smoke.yaml",
    ):
        assert text in card


def test_slim_leaves_the_float32_files_out(run: Path, tmp_path: Path) -> None:
    result = chatiquette("export", run, tmp_path / "slim", "--slim", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "slim" / "onnx").iterdir()] == ["model_quantized.onnx"]
    assert not (tmp_path / "slim" / "model.safetensors").exists()
    assert EtiquetteClassifier.load(tmp_path / "slim").predict("Hello!").tokens > 2


def test_a_model_that_int8_spoils_is_not_exported(run: Path, tmp_path: Path) -> None:
    """Weights with an extreme outlier in each row leave 8 bits too coarse; the gate must see it."""
    spoiled = shutil.copytree(run, tmp_path / "run")
    weights = load_file(spoiled / "model" / "model.safetensors")
    for name, tensor in weights.items():
        if name.endswith("output.dense.weight"):
            tensor[:, 0] += 40 * tensor.abs().max()
    save_file(weights, spoiled / "model" / "model.safetensors", metadata={"format": "pt"})
    target = tmp_path / "bundle"
    result = chatiquette("export", spoiled, target, cwd=tmp_path)
    assert result.returncode == 1
    assert "not faithful, nothing was written" in result.stderr
    assert not target.exists()


def test_the_limits_of_the_gate() -> None:
    calm = Parity(deviation=1e-5, flips={"en": 0.01}, f1_loss={"en": 0.005}, batch_change=1e-4)
    assert calm.faults() == []
    wild = Parity(deviation=2e-4, flips={"en": 0.011, "fi": 0.0}, f1_loss={"en": 0.0, "fi": 0.006}, batch_change=2e-4)
    assert len(wild.faults()) == 4
    nothing = Parity(
        deviation=float("nan"), flips={"en": float("nan")}, f1_loss={"en": float("nan")}, batch_change=float("nan")
    )
    assert len(nothing.faults()) == 4


def test_only_a_finished_run_is_exported_and_only_a_bundle_replaced(run: Path, tmp_path: Path) -> None:
    unfinished = chatiquette("export", tmp_path, tmp_path / "out", cwd=tmp_path)
    assert "no finished run here" in unfinished.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me", encoding="utf-8")
    result = chatiquette("export", run, tmp_path / "mine", cwd=tmp_path)
    assert "exists and is no bundle" in result.stderr
    assert (tmp_path / "mine" / "notes.txt").read_text(encoding="utf-8") == "keep me"


def test_a_run_is_neither_exported_nor_resumed_with_other_data(run: Path, memorised: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "runs" / "smoke", ignore=shutil.ignore_patterns("checkpoints"))
    environment = json.loads((copy / "environment.json").read_text(encoding="utf-8"))
    (copy / "environment.json").write_text(json.dumps({**environment, "data_sha256": "0" * 64}), encoding="utf-8")
    smoke = ("train", ROOT / "configs" / "smoke.yaml", f"data.path={memorised}", "optimisation.epochs=16", "--resume")
    for arguments in (("export", copy, tmp_path / "bundle"), smoke):
        result = chatiquette(*arguments, cwd=tmp_path)
        assert result.returncode == 1
        assert "the messages have changed since" in result.stderr
