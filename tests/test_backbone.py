"""The pretrained backbone: the trimmed tokenizer segments as the full one, and the vectors still know languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from chatiquette_training import packaged_weights
from chatiquette_training.backbone import load_backbone
from chatiquette_training.dataset import load_split
from chatiquette_training.graph import pack_4bit, unpack_4bit
from chatiquette_training.packaged_weights import PackagedWeights
from chatiquette_training.vocabulary import build_tokenizer

from .conftest import DATA, ROOT, SHIPPED, chatiquette

TRANSLATED = [
    ["Where is my parcel?", "Unde este coletul meu?", "Kde je môj balík?", "Missä pakettini on?"],
    ["Thanks, that solved it.", "Mulțumesc, s-a rezolvat.", "Ďakujem, vyriešilo sa to.", "Kiitos, se auttoi."],
    [
        "I was charged twice.",
        "Mi-ați luat banii de două ori.",
        "Účtovali ste mi to dvakrát.",
        "Minua laskutettiin kahdesti.",
    ],
]


@pytest.fixture(scope="module")
def weights() -> PackagedWeights:
    return packaged_weights.read(packaged_weights.locate())


@pytest.fixture(scope="module")
def full_tokenizer(weights: PackagedWeights) -> Tokenizer:
    return build_tokenizer(weights.pieces)


def test_held_out_text_is_segmented_as_by_the_full_vocabulary(full_tokenizer: Tokenizer) -> None:
    trimmed = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    messages = load_split(DATA, "test")
    texts = [text for message in messages for text in (message.text, message.context) if text]
    pairs = zip(full_tokenizer.encode_batch(texts), trimmed.encode_batch(texts), strict=True)
    differing = [text for text, (full, small) in zip(texts, pairs, strict=True) if full.tokens != small.tokens]
    assert len(texts) > 4000
    # A few rare words and names need pieces that trimming dropped: docs/decisions/0004-vocabulary.md.
    assert len(differing) <= 0.005 * len(texts), differing


def test_normalisation_is_the_packaged_one(weights: PackagedWeights, full_tokenizer: Tokenizer) -> None:
    differing = [
        code_point
        for code_point, replacement in weights.normalizer.items()
        if full_tokenizer.normalizer.normalize_str(f"a{chr(code_point)}b") != f"a{''.join(map(chr, replacement))}b"
    ]
    # The two deprecated tone marks compose with the letter before, which a rule for a lone code point can't express.
    assert differing == [0x340, 0x341]


def test_the_converted_model_matches_translations() -> None:
    model, tokenizer = load_backbone("packaged", ["a text"])
    sentences = [sentence for group in TRANSLATED for sentence in group]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()
    group = np.repeat(np.arange(3), 4)
    similarity = vectors @ vectors.T - 2 * np.eye(12)
    assert (group[similarity.argmax(axis=1)] == group).all()


def test_four_bits_lose_nothing_of_the_packaged_embedding(weights: PackagedWeights) -> None:
    rows = weights.tensors["emb.word"][1000:3000]
    restored = unpack_4bit(*pack_4bit(rows))
    assert np.abs(restored - rows).max() < 1e-6


def test_an_unreachable_hub_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="hf download nobody/nothing --local-dir"):
        load_backbone("nobody/nothing")


def test_a_local_folder_is_a_base_model(run: Path) -> None:
    model, tokenizer = load_backbone(str(run / "model"))
    assert model.config.num_hidden_layers == 12
    assert len(tokenizer) == model.config.vocab_size


def test_the_command_line_explains_an_unreachable_hub(tmp_path: Path, memorised: Path) -> None:
    result = chatiquette("train", ROOT / "configs" / "xlm-roberta-base.yaml", f"data.path={memorised}", cwd=tmp_path)
    assert result.returncode == 1
    assert "set base_model to its path; or set base_model=packaged" in result.stderr
