"""From files of messages to tokenised `datasets`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .conversations import Conversation
from .lines import parse, read
from .messages import Message
from .validation import files


def load_split(data: Path, split: str, limit: int | None = None, share: float = 1.0) -> list[Message]:
    """Reads one split in all languages, at most `limit` messages of each and of those a random `share`.

    Raises:
        DataError: with every faulty line.
        FileNotFoundError: a file is missing.
    """
    messages = read(files(data, split), Message)
    draw = np.random.default_rng(0)  # always the same, so that a larger share holds every smaller one
    kept = []
    for language in LANGUAGES:
        spoken = [message for message in messages if message.lang == language][:limit]
        order = draw.permutation(len(spoken))
        kept += [spoken[i] for i in sorted(order[: max(1, round(share * len(spoken)))])]
    return kept


def load_folder(folder: Path) -> list[Message]:
    """Reads every JSON Lines file in a folder, of messages or of conversations, in the order of their names.

    Raises:
        DataError: with every fault in every file.
        FileNotFoundError: the folder has no such file.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no .jsonl files here")
    conversations, _ = parse(paths[0], Conversation)
    if conversations:
        return [message for conversation in read(paths, Conversation) for message in conversation.messages()]
    return read(paths, Message)


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
