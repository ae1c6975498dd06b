"""From files of messages to tokenised `datasets`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from chatiquette.taxonomy import LABEL_NAMES

from .messages import Message, read
from .validation import files


def load_split(data: Path, split: str, limit: int | None = None) -> list[Message]:
    """Reads one split in all languages, at most `limit` messages of each.

    Raises:
        DataError: with every faulty line.
        FileNotFoundError: a file is missing.
    """
    messages = read(files(data, split))
    seen: Counter[str] = Counter()
    kept = []
    for message in messages:
        seen[message.lang] += 1
        if limit is None or seen[message.lang] <= limit:
            kept.append(message)
    return kept


def targets(messages: list[Message]) -> npt.NDArray[np.float32]:
    """Returns 1 where a message has a label and 0 elsewhere: float32 ``[messages, 23]``."""
    return np.array([[name in message.labels for name in LABEL_NAMES] for message in messages], np.float32)


def tokenise(messages: list[Message], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Returns a data set with the columns `input_ids`, `attention_mask`, `labels` and `length` (tokens)."""
    columns = {
        "text": [message.text for message in messages],
        "context": [message.context for message in messages],
        "labels": list(targets(messages)),
    }

    def encode(row: dict[str, str]) -> dict[str, list[int] | int]:
        encoded = tokenizer(row["text"], row["context"] or None, truncation="longest_first", max_length=max_length)
        return {**encoded, "length": len(encoded["input_ids"])}

    return Dataset.from_dict(columns).map(encode, remove_columns=["text", "context"], desc="tokenising")
