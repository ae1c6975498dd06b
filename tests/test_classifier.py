"""The inference API, on the model that is installed with the package."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from chatiquette import BundleError, EtiquetteClassifier, Message
from chatiquette.bundle import sha256
from chatiquette.encoding import Encoder

from .conftest import SHIPPED, chatiquette

TEXTS = [
    "Done. Bye.",
    "Bună ziua, cu ce vă pot ajuta?",
    "Dobrý deň, už sa na to pozerám, dajte mi prosím dve minúty.",
    "Kiitos yhteydenotostasi ja oikein mukavaa viikonloppua! Voinko auttaa vielä jossain?",
    "The parcel weighs 2 kg.",
]


def test_a_string_gives_a_prediction_and_a_list_gives_a_list(classifier: EtiquetteClassifier) -> None:
    one = classifier.predict(TEXTS[0], context="Thanks, that solved it!")
    assert one.verdicts["closure"] == "violated"
    assert "closure.violated" in one.labels
    assert tuple(one.probabilities) == classifier.labels
    assert 0 < one.tokens < 30
    assert not one.truncated
    many = classifier.predict(TEXTS)
    assert [prediction.tokens for prediction in many] == [classifier.predict(text).tokens for text in TEXTS]
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 23)


def test_a_batch_changes_neither_order_nor_decisions(classifier: EtiquetteClassifier) -> None:
    together = classifier.predict_proba(TEXTS)
    assert together.dtype == np.float32
    assert together.shape == (5, 23)
    alone = np.concatenate([classifier.predict_proba(text) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert ((together >= 0.5) == (alone >= 0.5)).all()
    np.testing.assert_allclose(together[::-1], classifier.predict_proba(TEXTS[::-1]), atol=1e-4)


def test_labels_are_the_probabilities_of_at_least_one_half(classifier: EtiquetteClassifier) -> None:
    for prediction in classifier.predict(TEXTS):
        assert prediction.labels == tuple(name for name, p in prediction.probabilities.items() if p >= 0.5)
        assert prediction.verdicts.keys() == {label.split(".")[0] for label in prediction.labels}


def test_context_is_one_for_all_or_one_each(classifier: EtiquetteClassifier) -> None:
    context = "It has been a week and nobody has called me back!"
    shared = classifier.predict_proba(TEXTS, context=context)
    np.testing.assert_allclose(shared, classifier.predict_proba(TEXTS, context=[context] * 5), atol=1e-6)
    mixed = classifier.predict_proba(TEXTS, context=[None, context, None, None, None])
    np.testing.assert_allclose(mixed[1], shared[1], atol=1e-4)
    np.testing.assert_allclose(mixed[0], classifier.predict_proba(TEXTS[0])[0], atol=1e-4)
    assert np.abs(shared - classifier.predict_proba(TEXTS)).max() > 0.1
    with pytest.raises(ValueError, match="2 contexts for 5 texts"):
        classifier.predict(TEXTS, context=["a", None])


def test_a_customer_is_judged_by_three_rules_alone(classifier: EtiquetteClassifier) -> None:
    agent, customer = classifier.predict_proba([TEXTS[1], TEXTS[1]], role=["agent", "customer"])
    asked = np.array([label.split(".")[0] in {"politeness", "language", "focus"} for label in classifier.labels])
    np.testing.assert_allclose(customer[asked], agent[asked], atol=1e-4)
    assert customer[~asked].max() == 0
    assert agent[~asked].max() > 0.5
    assert not {"greeting", "resolution"} & classifier.predict(TEXTS[1], role="customer").verdicts.keys()
    with pytest.raises(ValueError, match="1 roles for 2 texts"):
        classifier.predict(TEXTS[:2], role=["agent"])
    with pytest.raises(ValueError, match="role 0: should be 'agent' or 'customer', got 'bot'"):
        classifier.predict(TEXTS[0], role="bot")  # type: ignore[call-overload]


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b", "\x00\x01"])
def test_a_message_without_text_shows_nothing(classifier: EtiquetteClassifier, text: str) -> None:
    prediction = classifier.predict(text, context="Hello?")
    assert prediction.labels == ()
    assert max(prediction.probabilities.values()) == 0


@pytest.mark.parametrize(
    "text",
    [
        "\ud83d half a character",
        "a\x00b\x07c",
        "</s>",
        "<s></s> <mask>",
        "ありがとうございます",
        "🙏🏽👨‍👩‍👧",
        "a" * 5000,
        "\u0301" * 50,
        "-",
    ],
)
def test_any_text_has_a_result(classifier: EtiquetteClassifier, text: str) -> None:
    for probabilities in (classifier.predict_proba(text), classifier.predict_proba("Hello", context=text)):
        assert np.isfinite(probabilities).all()
        assert probabilities.max() > 0


def test_control_tokens_in_text_are_text(classifier: EtiquetteClassifier) -> None:
    for token in ("</s>", "＜/s＞", "<\x01/s>"):
        hidden = classifier.predict(f"{token} You are an idiot, stop bothering me.")
        assert hidden.verdicts.get("politeness") == "violated"


def test_two_long_texts_are_cut_as_other_tokenisers_cut_them(classifier: EtiquetteClassifier) -> None:
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    tokenizer.enable_truncation(32, strategy="longest_first")
    encoder = Encoder(SHIPPED / "tokenizer.json", 32, bos=0, eos=2)
    for first, second in ((3, 5), (3, 60), (60, 3), (60, 40), (40, 60), (15, 15), (13, 16), (16, 13), (60, 0)):
        text, context = "yes " * first, "no " * second
        expected = tokenizer.encode(text, context) if second else tokenizer.encode(text)
        (encoded,) = encoder.encode([text], [context])
        assert encoded.ids == expected.ids
        assert encoded.truncated == bool(expected.overflowing)


def test_a_megabyte_of_text_is_cut_and_said_so(classifier: EtiquetteClassifier) -> None:
    words, letters = "Please wait a moment. " * 50_000, "x" * 1_000_000
    for text, context in ((words, "Hello?"), (letters, words), ("Hello?", letters)):
        prediction = classifier.predict(text, context=context)
        assert prediction.truncated
        assert prediction.tokens == classifier.bundle.max_length


def test_what_is_no_text_is_refused(classifier: EtiquetteClassifier) -> None:
    with pytest.raises(TypeError, match="text 1: should be a string, got NoneType"):
        classifier.predict(["fine", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="context 0: should be a string or None, got int"):
        classifier.predict(["fine"], context=[3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="texts: should be a string or a list of strings, got NoneType"):
        classifier.predict(None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="context: should be a string, None or a list of them, got int"):
        classifier.predict("fine", context=3)  # type: ignore[call-overload]


def test_knobs_change_speed_and_length_only() -> None:
    small = EtiquetteClassifier.load(threads=2, max_length=16)
    assert small.predict("word " * 100).tokens == 16
    for knobs in ({"threads": 0}, {"max_length": 4}, {"max_length": 257}):
        with pytest.raises(ValueError, match="should be"):
            EtiquetteClassifier.load(**knobs)  # type: ignore[arg-type]


def test_a_stream_is_read_as_it_is_needed_and_keeps_its_order(classifier: EtiquetteClassifier) -> None:
    texts = [f"{'Please wait. ' * (i % 7)}Ticket {i}." for i in range(2500)]
    read = 0

    def messages() -> Iterator[Message]:
        nonlocal read
        for text in texts:
            read += 1
            yield Message(text, role="customer" if read % 2 else "agent")

    predictions = classifier.stream(messages())
    first = next(predictions)
    assert 0 < read < 1500, "the stream is not read to its end first"
    found = [first, *predictions]
    assert [one.tokens for one in found] == [one.tokens for one in classifier.predict(texts)]
    assert "resolution.followed" not in {label for one in found[::2] for label in one.labels}


def test_processes_share_a_stream_and_keep_its_order(classifier: EtiquetteClassifier) -> None:
    messages = [Message("Wait. " * (i % 5 + 1), context=f"Order {i}?") for i in range(3000)]
    one, two = (list(classifier.stream(messages, processes=processes)) for processes in (1, 2))
    assert [prediction.tokens for prediction in two] == [prediction.tokens for prediction in one]
    difference = [
        abs(a.probabilities[label] - b.probabilities[label])
        for a, b in zip(one, two, strict=True)
        for label in classifier.labels
    ]
    assert max(difference) == 0
    with pytest.raises(ValueError, match="processes should be at least 1"):
        classifier.stream(messages, processes=0)


def test_a_fault_in_a_stream_says_which_message_has_it(classifier: EtiquetteClassifier) -> None:
    good = [Message("Wait.")] * 1100
    for fault, said in (
        ("Wait.", "message 1100: should be a Message, got str"),
        (Message(None), "message 1100: text should be a string, got NoneType"),  # type: ignore[arg-type]
        (Message("Wait.", 7), "message 1100: context should be a string or None, got int"),  # type: ignore[arg-type]
        (Message("Wait.", role="bot"), "message 1100: role should be 'agent' or 'customer', got 'bot'"),  # type: ignore[arg-type]
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            list(classifier.stream([*good, fault]))  # type: ignore[list-item]


def test_a_stream_that_is_left_stops_its_processes(classifier: EtiquetteClassifier) -> None:
    predictions = classifier.stream(itertools.repeat(Message("Wait.")), processes=2)
    next(predictions)
    assert multiprocessing.active_children()
    predictions.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["onnx/model_quantized.onnx", "tokenizer.json", "config.json", "metadata.json"])
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(SHIPPED, tmp_path / "bundle")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}.*differs from its checksum"):
        EtiquetteClassifier.load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.*missing"):
        EtiquetteClassifier.load(copy)


def test_verify_tells_a_sound_bundle_from_a_changed_one(tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED, tmp_path / "bundle")
    assert chatiquette("verify", copy, cwd=tmp_path).returncode == 0
    (copy / "extra.bin").write_bytes(b"?")
    unlisted = chatiquette("verify", copy, cwd=tmp_path)
    assert unlisted.returncode == 1
    assert "extra.bin: not listed in SHA256SUMS" in unlisted.stderr
    (copy / "extra.bin").unlink()
    (copy / "README.md").unlink()
    assert "README.md: the file is missing" in chatiquette("verify", copy, cwd=tmp_path).stderr


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED, tmp_path / "bundle")
    metadata = json.loads((copy / "metadata.json").read_text(encoding="utf-8"))
    (copy / "metadata.json").write_text(json.dumps({**metadata, "schema_version": 99}), encoding="utf-8")
    sums = (
        (copy / "SHA256SUMS")
        .read_text(encoding="utf-8")
        .replace(sha256(SHIPPED / "metadata.json"), sha256(copy / "metadata.json"))
    )
    (copy / "SHA256SUMS").write_text(sums, encoding="utf-8")
    with pytest.raises(BundleError, match="pip install --upgrade chatiquette"):
        EtiquetteClassifier.load(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        EtiquetteClassifier.load(tmp_path)


def test_import_and_prediction_load_no_training_package() -> None:
    code = (
        "import sys; from chatiquette import EtiquetteClassifier; EtiquetteClassifier.load().predict('Hello!');"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pydantic', 'chatiquette_training') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_shipped_model_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 40_000_000
