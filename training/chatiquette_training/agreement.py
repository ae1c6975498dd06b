"""How far two annotators agree, by label and language."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score, f1_score

from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .messages import Message


@dataclass(frozen=True)
class Agreement:
    """Agreement between two readings of one language's messages.

    Attributes:
        kappa: label → Cohen's (1960) kappa; none for a label that both readings give to all messages, or to none.
        f1: label → F1 of the second reading against the first; likewise.
        messages: how many messages were read twice.
    """

    kappa: dict[str, float]
    f1: dict[str, float]
    messages: int

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over the labels."""
        return float(np.mean(list(self.f1.values()))) if self.f1 else float("nan")

    @property
    def lowest(self) -> str | None:
        """The label on which the readings agree least."""
        return min(self.kappa, key=self.kappa.__getitem__, default=None)


def first_two(message: Message) -> list[list[str]] | None:
    """Returns the author's reading and the second one, if there is one."""
    return message.annotations[:2] if len(message.annotations) >= 2 else None


def third_and_labels(message: Message) -> list[list[str]] | None:
    """Returns the final labels and the third reading, which had no part in them, if there is one."""
    return [message.labels, message.annotations[2]] if len(message.annotations) >= 3 else None


def agreement(
    messages: Iterable[Message], readings: Callable[[Message], list[list[str]] | None] = first_two
) -> dict[str, Agreement]:
    """Compares two readings of the messages that have them, by language."""
    by_language: dict[str, list[list[list[str]]]] = {language: [] for language in LANGUAGES}
    for message in messages:
        if (compared := readings(message)) is not None:
            by_language[message.lang].append(compared)
    return {language: _compare(read) for language, read in by_language.items() if read}


def agreement_rows(heading: str, agreements: dict[str, Agreement]) -> list[list[str]]:
    """Returns kappa and F1 by label and language under a heading."""
    rows = [[heading, *agreements]]
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
    # Kappa says nothing of a label on which both are constant.
    varied = {label: i for i, label in enumerate(LABEL_NAMES) if len({*first[:, i], *second[:, i]}) == 2}
    return Agreement(
        {label: float(cohen_kappa_score(first[:, i], second[:, i])) for label, i in varied.items()},
        {label: float(f1_score(first[:, i], second[:, i], zero_division=0.0)) for label, i in varied.items()},
        len(readings),
    )
