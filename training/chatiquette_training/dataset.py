"""From files of messages to tokenised `datasets`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from chatiquette.taxonomy import CUSTOMER_LABELS, LABEL_NAMES, LANGUAGES

from .config import DataConfig
from .conversations import Conversation
from .lines import parse, read
from .messages import Message
from .perturbations import type_in_a_hurry
from .validation import files

NOT_COUNTED = -100.0
"""Stands for the truth of a decision that doesn't count, as everywhere in torch and transformers."""


def load_train(config: DataConfig) -> list[Message]:
    """Reads what a run trains on: at most `limit` messages of each of its languages, and of those a random share.

    Raises:
        DataError: with every faulty line.
        FileNotFoundError: a file is missing.
    """
    draw = np.random.default_rng(0)  # always the same, so that a larger share holds every smaller one
    messages = load_split(Path(config.path), "train", config.limit)
    kept = []
    for language in LANGUAGES:
        spoken = [message for message in messages if message.lang == language]
        order = draw.permutation(len(spoken))
        if language in config.train_languages:
            kept += [spoken[i] for i in sorted(order[: max(1, round(config.train_share * len(spoken)))])]
    return kept


def load_split(data: Path, split: str, limit: int | None = None) -> list[Message]:
    """Reads one split in all languages, at most `limit` messages of each.

    Raises:
        DataError: with every faulty line.
        FileNotFoundError: a file is missing.
    """
    messages = read(files(data, split), Message)
    return [one for lang in LANGUAGES for one in [m for m in messages if m.lang == lang][:limit]]


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


def possible(messages: list[Message]) -> npt.NDArray[np.bool_]:
    """Tells which labels each message can show, ``[messages, 23]``: a customer's few, an agent's all."""
    customers_can = np.array([label in CUSTOMER_LABELS for label in LABEL_NAMES])
    agents = np.array([message.role == "agent" for message in messages], bool)
    return np.asarray(agents[:, None] | customers_can)


class TrainSet(torch.utils.data.Dataset[dict[str, Any]]):
    """Train messages, tokenised anew each time, so that each epoch may show them otherwise: see `DataConfig`.

    Args:
        labels: float32 ``[messages, 23]``, 0 to 1.
    """

    def __init__(
        self,
        messages: list[Message],
        labels: npt.NDArray[np.float32],
        tokenizer: PreTrainedTokenizerBase,
        config: DataConfig,
    ) -> None:
        self._messages, self._labels, self._tokenizer, self._config = messages, labels, tokenizer, config

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, row: int) -> dict[str, Any]:
        message = self._messages[row]
        # From torch's generator, whose state a checkpoint keeps: a resumed run sees what an undisturbed one does.
        draw = random.Random(int(torch.randint(2**31, ())))
        text, context = message.text, message.context if self._config.context else None
        if draw.random() < self._config.context_dropout:
            context = None
        # A message that is faulted for its typing must keep it.
        if "language.violated" not in message.labels and draw.random() < self._config.augmentation:
            text = type_in_a_hurry(text, draw)
            context = context and type_in_a_hurry(context, draw)
        return {**_encode(self._tokenizer, text, context, self._config.max_length), "labels": self._labels[row]}


def tokenise(messages: list[Message], tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> Dataset:
    """Returns a data set with the columns `input_ids`, `attention_mask`, `labels` and `length` (tokens).

    Labels are 1 where they hold, 0 where they don't, and -100, which losses and scores leave out, where they can't.
    """
    columns = {
        "text": [message.text for message in messages],
        "context": [message.context if config.context else None for message in messages],
        "labels": list(np.where(possible(messages), targets(messages), np.float32(NOT_COUNTED))),
    }

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        encoded = _encode(tokenizer, row["text"], row["context"], config.max_length)
        return {**encoded, "length": len(encoded["input_ids"])}

    return Dataset.from_dict(columns).map(encode, remove_columns=["text", "context"], desc="tokenising")


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, context: str | None, max_length: int) -> dict[str, Any]:
    return dict(tokenizer(text, context or None, truncation="longest_first", max_length=max_length))
