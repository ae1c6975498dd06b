"""How far two annotators agree, by label and language."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score, f1_score

from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .messages import Message


@dataclass(frozen=True)
class Agreement:
    """Agreement between two readings of one language's messages.

    Attributes:
        kappa: label → Cohen's (1960) kappa; none for a label that neither reading uses.
        f1: label → F1 of the second reading against the first; likewise.
        messages: how many messages were read twice.
    """

    kappa: dict[str, float]
    f1: dict[str, float]
    messages: int

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over the labels."""
        return float(np.mean(list(self.f1.values())))

    @property
    def lowest(self) -> str:
        """The label on which the readings agree least."""
        return min(self.kappa, key=self.kappa.__getitem__)


def agreement(messages: Iterable[Message]) -> dict[str, Agreement]:
    """Compares the two annotations of the messages that have them, by language."""
    readings: dict[str, list[list[list[str]]]] = {language: [] for language in LANGUAGES}
    for message in messages:
        if message.annotations:
            readings[message.lang].append(message.annotations)
    return {language: _compare(read) for language, read in readings.items() if read}


def agreement_rows(agreements: dict[str, Agreement]) -> list[list[str]]:
    """Returns kappa and F1 by label and language, headings first."""
    rows = [["kappa, F1", *agreements]]
    for label in LABEL_NAMES:
        cells = (
            f"{one.kappa[label]:.2f}, {one.f1[label]:.2f}" if label in one.kappa else "–" for one in agreements.values()
        )
        rows.append([label, *cells])
    rows.append(["macro F1", *(f"{one.macro_f1:.3f}" for one in agreements.values())])
    rows.append(["messages", *(f"{one.messages:,}" for one in agreements.values())])
    return rows


def _compare(readings: list[list[list[str]]]) -> Agreement:
    first, second = (
        np.array([[label in reading[which] for label in LABEL_NAMES] for reading in readings]) for which in (0, 1)
    )
    used = {label: i for i, label in enumerate(LABEL_NAMES) if first[:, i].any() or second[:, i].any()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a label that only one of them uses
        return Agreement(
            {label: float(cohen_kappa_score(first[:, i], second[:, i])) for label, i in used.items()},
            {label: float(f1_score(first[:, i], second[:, i])) for label, i in used.items()},
            len(readings),
        )
