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

_UNREADABLE = re.compile(r"[\ud800-\udfff\x00]")
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
    """Tokenises pairs of message and context, at most `max_length` tokens together.

    The longer of the two is cut first, as the strategy "longest_first" of other tokenisers does. Message and context are
    encoded apart: joined by the tokenizer, the cut-off parts of two long texts would be paired with each other.
    """

    def __init__(self, tokenizer_file: Path, max_length: int, bos: int, eos: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._bos, self._eos = bos, eos
        self._max_length = max_length

    def encode(self, texts: Sequence[str], contexts: Sequence[str | None]) -> list[Encoded]:
        """Encodes each text with its context; a context of None, or one without a token, counts as none."""
        messages = self._ids(texts)
        before = self._ids([context or "" for context in contexts])
        return [self._join(message, context) for message, context in zip(messages, before, strict=True)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        # One by one: `encode_batch` would take every core, and how many to use is the caller's choice.
        return [self._tokenizer.encode(self._clean(text), add_special_tokens=False).ids for text in texts]

    def _clean(self, text: str) -> str:
        """Replaces what is no character, and keeps text such as "</s>" from acting as a control token."""
        text = _UNREADABLE.sub(" ", text)
        normalized = self._tokenizer.normalizer.normalize_str(text)
        return _CONTROL_TOKEN.sub(r"< \1>", normalized) if _CONTROL_TOKEN.search(normalized) else text

    def _join(self, message: list[int], context: list[int]) -> Encoded:
        room = self._max_length - (4 if context else 2)
        kept, kept_context = _share(len(message), len(context), room)
        ids = [self._bos, *message[:kept], self._eos]
        if context:
            ids += [self._eos, *context[:kept_context], self._eos]
        return Encoded(ids, kept < len(message) or kept_context < len(context), not message)


def _share(first: int, second: int, room: int) -> tuple[int, int]:
    """Returns how many tokens of either to keep: the longer one is cut, and both where each exceeds half of the room."""
    half = room // 2
    if first + second <= room:
        return first, second
    if first <= half:
        return first, room - first
    if second <= half:
        return room - second, second
    return (half, room - half) if first <= second else (room - half, half)


def pad(encoded: Sequence[Encoded]) -> tuple[IntArray, IntArray]:
    """Returns token ids and attention mask, int64 ``[messages, longest]``, padded on the right (id 1, mask 0)."""
    longest = max(len(one.ids) for one in encoded)
    ids = np.ones((len(encoded), longest), np.int64)
    mask = np.zeros((len(encoded), longest), np.int64)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = 1
    return ids, mask
