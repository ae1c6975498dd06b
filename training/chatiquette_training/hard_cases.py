"""Tells which messages are hard for a reader who looks at words only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from chatiquette.taxonomy import LANGUAGES

from .dataset import targets
from .messages import Message

SEVERAL = 3
_OCCURRENCES = 10
_TELLING = 2 / 3


def hard_cases(messages: Sequence[Message]) -> list[frozenset[str]]:
    """Returns for each message the ways in which it is hard; an empty set for a plain one.

    - ``several labels``: three or more;
    - ``both verdicts``: one rule is followed while another is violated;
    - ``contrast pair``: another message differs in a few words and one verdict;
    - ``misleading word``: it has a word that mostly goes with a label in this language (in two thirds of the ten or more
      messages that have the word), but not that label.
    """
    misleading = _with_misleading_word(messages)
    kinds = []
    for message, misled in zip(messages, misleading, strict=True):
        verdicts = {label.split(".")[1] for label in message.labels}
        shown = {
            "several labels": len(message.labels) >= SEVERAL,
            "both verdicts": len(verdicts) == 2,
            "contrast pair": message.pair is not None,
            "misleading word": misled,
        }
        kinds.append(frozenset(kind for kind, holds in shown.items() if holds))
    return kinds


def _with_misleading_word(messages: Sequence[Message]) -> list[bool]:
    misled = np.zeros(len(messages), bool)
    for language in LANGUAGES:
        rows = np.array([i for i, message in enumerate(messages) if message.lang == language], int)
        spoken = [messages[i] for i in rows]
        if not spoken:
            continue
        vectorizer = CountVectorizer(binary=True, token_pattern=r"(?u)\w+", dtype=np.float64)
        words = vectorizer.fit_transform(message.text for message in spoken)
        words = words[:, words.sum(axis=0).A1 >= _OCCURRENCES]
        labelled = targets(spoken)
        telling = np.asarray((words.T @ labelled) / words.sum(axis=0).A1[:, None]) >= _TELLING  # [words, labels]
        misled[rows] = ((words @ telling > 0) & (labelled == 0)).any(axis=1)
    return misled.tolist()
