"""From text to token ids, for any text that a chat may contain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

IntArray = npt.NDArray[np.int64]

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONTROL_TOKEN = re.compile(r"<(/?s|pad|unk|mask)>")


@dataclass(frozen=True)
class Encoded:
    """A message with its context as the model reads it.

    Attributes:
        ids: token ids, ``<s> message </s></s> context </s>``.
        truncated: whether message or context was cut to fit.
        empty: whether the message itself has no token at all.
    """

    ids: list[int]
    truncated: bool
    empty: bool


class Encoder:
    """Tokenises pairs of message and context; the longer one is cut first where both exceed `max_length` tokens."""

    def __init__(self, tokenizer_file: Path, max_length: int, eos: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, strategy="longest_first")
        self._eos = eos

    def encode(self, texts: Sequence[str], contexts: Sequence[str | None]) -> list[Encoded]:
        """Encodes each text with its context; a context of None or without any text counts as none."""
        pairs = [
            (_clean(text), _clean(context)) if context and not context.isspace() else _clean(text)
            for text, context in zip(texts, contexts, strict=True)
        ]
        return [
            Encoded(encoding.ids, bool(encoding.overflowing), encoding.ids.index(self._eos) == 1)
            for encoding in self._tokenizer.encode_batch(pairs)
        ]


def pad(encoded: Sequence[Encoded]) -> tuple[IntArray, IntArray]:
    """Returns token ids and attention mask, int64 ``[messages, longest]``, padded on the right (id 1, mask 0)."""
    longest = max(len(one.ids) for one in encoded)
    ids = np.ones((len(encoded), longest), np.int64)
    mask = np.zeros((len(encoded), longest), np.int64)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = 1
    return ids, mask


def _clean(text: str) -> str:
    """Makes half characters readable and keeps text such as "</s>" from acting as a control token."""
    return _CONTROL_TOKEN.sub(r"< \1>", _SURROGATE.sub("\ufffd", text))
