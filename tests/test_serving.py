"""The recipes of docs/serving, copied from its pages and run on 200 messages: every runtime gives chatiquette's answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from pyarrow.parquet import read_table

from chatiquette import EtiquetteClassifier
from chatiquette.taxonomy import LABEL_NAMES

from .conftest import DATA, LANGUAGES, ROOT, SHIPPED

Message = tuple[str, str | None]
Probabilities = npt.NDArray[np.float32]

LONG: list[Message] = [
    ("word " * 300, "context " * 300),
    ("word " * 300, "short"),
    ("short", "context " * 300),
    ("Hi", ""),
]
NODE_MODULES = ROOT / "tests" / "conformance" / "node_modules"
conformance = pytest.mark.conformance


def recipe(page: str, language: str, number: int = 0) -> str:
    """Returns one block of code from a page of docs/serving."""
    text = (ROOT / "docs" / "serving" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[number]


@pytest.fixture(scope="session")
def messages() -> list[Message]:
    found = []
    for language in LANGUAGES:
        lines = (DATA / "messages" / "test" / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()[:50]
        found += [json.loads(line) for line in lines]
    odd = [("Wait.\n\nI  am   reading", "WHERE\tis it"), ("Súhlasím ½ № ﬁ", None), ("Kiitos! 🙂🙂", "?!")]
    return [(one["text"], one["context"]) for one in found] + odd


def answers(code: str, bundle: Path, messages: list[Message], folder: Path) -> Probabilities:
    """Runs a recipe as its page says and returns the probabilities that it writes."""
    node = "node:fs" in code or "node:path" in code
    folder.mkdir(exist_ok=True)
    script = folder / ("score.mjs" if node else "score.py")
    script.write_text(code, encoding="utf-8")
    if node:
        (folder / "node_modules").symlink_to(NODE_MODULES)
    result = subprocess.run(
        ["node" if node else sys.executable, script, bundle],
        input="".join(json.dumps({"text": text, "context": context}) + "\n" for text, context in messages),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert result.returncode == 0, result.stderr
    scores = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert list(scores[0]) == list(LABEL_NAMES)
    return np.array([list(one.values()) for one in scores], np.float32)


def of_chatiquette(bundle: Path, messages: list[Message]) -> Probabilities:
    texts, contexts = map(list, zip(*messages, strict=True))
    return EtiquetteClassifier.load(bundle).predict_proba(texts, contexts)


def uncut(bundle: Path, messages: list[Message]) -> list[Message]:
    """Returns the messages that the model reads whole; transformers.js cuts others in its own way, as its pages say."""
    predictions = EtiquetteClassifier.load(bundle).predict(*map(list, zip(*messages, strict=True)))
    return [message for message, one in zip(messages, predictions, strict=True) if not one.truncated]


@pytest.mark.parametrize(
    ("page", "language", "number"),
    [
        ("python.md", "python", 0),
        pytest.param("node.md", "js", 0, marks=conformance),
        pytest.param("node.md", "js", 1, marks=conformance),
        pytest.param("ray.md", "python", 0, marks=conformance),
    ],
)
def test_a_recipe_gives_the_same_answers(
    page: str, language: str, number: int, messages: list[Message], tmp_path: Path
) -> None:
    asked = uncut(SHIPPED, messages + LONG) if language == "js" else messages + LONG
    expected = of_chatiquette(SHIPPED, asked)
    found = answers(recipe(page, language, number), SHIPPED, asked, tmp_path)
    assert np.abs(found - expected).max() < 0.01
    assert ((found >= 0.5) == (expected >= 0.5)).all()


def test_the_graph_that_takes_text_gives_the_same_answers(
    bundle: Path, messages: list[Message], tmp_path: Path
) -> None:
    expected = of_chatiquette(bundle, messages + LONG)
    found = answers(recipe("text.md", "python"), bundle, messages + LONG, tmp_path)
    assert np.abs(found - expected).max() < 0.01
    assert ((found >= 0.5) == (expected >= 0.5)).all()


OTHER_KERNELS = [("openvino.md", "python"), pytest.param("web.md", "js", marks=conformance)]


@pytest.mark.parametrize(("page", "language"), OTHER_KERNELS)
def test_other_kernels_give_the_same_answers_in_float32(
    page: str, language: str, bundle: Path, messages: list[Message], tmp_path: Path
) -> None:
    ours, theirs = (
        recipe(*one).replace("model_quantized", "model") for one in (("python.md", "python"), (page, language))
    )
    asked = uncut(bundle, messages)
    expected, found = (
        answers(one, bundle, asked, tmp_path / name) for one, name in ((ours, "ours"), (theirs, "theirs"))
    )
    assert np.abs(found - expected).max() < 0.01
    assert ((found >= 0.5) == (expected >= 0.5)).all()


@pytest.mark.parametrize(("page", "language"), OTHER_KERNELS)
def test_other_kernels_give_nearly_the_same_answers_in_int8(
    page: str, language: str, messages: list[Message], tmp_path: Path
) -> None:
    """Their float32 parts round otherwise, which now and then moves an int8 code, and all that follows from it."""
    expected = of_chatiquette(SHIPPED, messages)
    found = answers(recipe(page, language), SHIPPED, messages, tmp_path)
    assert np.abs(found - expected).mean() < 0.005
    assert ((found >= 0.5) != (expected >= 0.5)).mean() < 0.005


@conformance
def test_ray_data_scores_a_file(messages: list[Message], tmp_path: Path) -> None:
    source = tmp_path / "messages.jsonl"
    lines = (json.dumps({"text": text, "context": context}) + "\n" for text, context in messages)
    source.write_text("".join(lines), encoding="utf-8")
    script = tmp_path / "bulk.py"
    script.write_text(recipe("ray.md", "python", 1), encoding="utf-8")
    subprocess.run([sys.executable, script, SHIPPED, source, tmp_path / "out"], check=True, capture_output=True)
    rows = [row for path in (tmp_path / "out").glob("*.parquet") for row in read_table(path).to_pylist()]
    scored = {(row["text"], row["context"]): [row[label] for label in LABEL_NAMES] for row in rows}
    found = np.array([scored[message] for message in messages])
    assert np.abs(found - of_chatiquette(SHIPPED, messages)).max() < 0.01


def test_the_triton_configuration_fits_the_graph(bundle: Path) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config = text_format.Parse(recipe("triton.md", "protobuf"), model_config_pb2.ModelConfig())
    session = onnxruntime.InferenceSession(bundle / "onnx" / "model_quantized.onnx")
    types = {"TYPE_INT64": "tensor(int64)", "TYPE_FP32": "tensor(float)"}
    for described, tensors in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        told = {one.name: (types[model_config_pb2.DataType.Name(one.data_type)], list(one.dims)) for one in described}
        # The first dimension is Triton's own: max_batch_size says that there is one.
        real = {
            tensor.name: (tensor.type, [-1 if isinstance(size, str) else size for size in tensor.shape[1:]])
            for tensor in tensors
        }
        assert told == real
