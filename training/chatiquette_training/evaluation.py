"""Scores probabilities against labels: F1 by label and language with bootstrap intervals, as data and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Column, Table

from chatiquette.taxonomy import CATEGORIES, LABEL_NAMES, LANGUAGES

from .calibration import expected_calibration_error
from .dataset import possible, targets
from .messages import Message

FloatArray = npt.NDArray[np.float32]

_RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval, all 0 to 1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Evaluation:
    """Scores on one set of messages.

    Attributes:
        macro_f1: language → mean F1 over the labels that occur.
        label_f1: label → language → F1; a label that neither occurs nor is predicted has none.
        support: label → language → how many messages have the label.
        ece: language → expected calibration error of the decisions that are asked of the message's writer.
        messages: language → how many messages were scored.
    """

    macro_f1: dict[str, Score]
    label_f1: dict[str, dict[str, Score]]
    support: dict[str, dict[str, int]]
    ece: dict[str, float]
    messages: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Returns the evaluation as JSON can hold it; a score becomes ``[value, low, high]``."""
        return {
            "messages": self.messages,
            "macro_f1": {language: _triple(score) for language, score in self.macro_f1.items()},
            "ece": {language: round(value, 4) for language, value in self.ece.items()},
            "label_f1": {
                label: {language: _triple(score) for language, score in scores.items()}
                for label, scores in self.label_f1.items()
            },
            "support": self.support,
        }

    def label_rows(self) -> list[list[str]]:
        """Returns F1 by label and language, headings first."""
        languages = list(self.messages)
        body = [
            [label, *(f"{self.label_f1[label].get(lang, '–')} n={self.support[label][lang]}" for lang in languages)]
            for label in LABEL_NAMES
        ]
        return [["F1 (95 % interval), messages", *languages], *body]

    def category_rows(self) -> list[list[str]]:
        """Returns the mean of F1 over each category's labels, by language, headings first."""
        languages = list(self.messages)
        body = []
        for category in CATEGORIES:
            scored = [self.label_f1[label.name] for label in category.labels]
            found = [[scores[language].value for scores in scored if language in scores] for language in languages]
            body.append([category.id, *(f"{np.mean(values):.3f}" if values else "–" for values in found)])
        return [["mean F1 of the rule's labels", *languages], *body]


def evaluate(messages: list[Message], probabilities: FloatArray) -> Evaluation:
    """Scores probabilities, float32 ``[messages, 23]``, at the threshold of 0.5.

    Intervals are the 2.5 and 97.5 percentiles of 1,000 bootstrap resamples (Efron and Tibshirani 1993) of whole
    scenarios, since the messages of one scenario resemble each other. A label that neither occurs nor is predicted is
    left out of the mean.
    """
    truth, can_be = targets(messages).astype(bool), possible(messages)
    present = [language for language in LANGUAGES if any(message.lang == language for message in messages)]
    macro, ece, counts = {}, {}, {}
    by_label: dict[str, dict[str, Score]] = {label: {} for label in LABEL_NAMES}
    support: dict[str, dict[str, int]] = {label: {} for label in LABEL_NAMES}
    for language in present:
        rows = np.array([i for i, message in enumerate(messages) if message.lang == language])
        scenarios = [messages[i].scenario for i in rows]
        f1, resampled = _bootstrap(truth[rows], probabilities[rows] >= 0.5, scenarios)
        macro[language] = _score(float(np.nanmean(f1)), np.nanmean(resampled, axis=1))
        counted = can_be[rows]
        ece[language] = expected_calibration_error(
            probabilities[rows][counted], truth[rows][counted].astype(np.float32)
        )
        counts[language] = len(rows)
        for i, label in enumerate(LABEL_NAMES):
            if not np.isnan(f1[i]):
                by_label[label][language] = _score(f1[i], resampled[:, i])
            support[label][language] = int(truth[rows, i].sum())
    return Evaluation(macro, by_label, support, ece, counts)


def summary_rows(evaluations: dict[str, Evaluation]) -> list[list[str]]:
    """Returns macro F1 and calibration error by language, two rows for each named evaluation, headings first."""
    languages = list(next(iter(evaluations.values())).messages)
    rows = [["", *languages]]
    for name, evaluation in evaluations.items():
        rows.append([f"{name}: macro F1", *(str(evaluation.macro_f1[language]) for language in languages)])
        rows.append([f"{name}: calibration error", *(f"{evaluation.ece[language]:.3f}" for language in languages)])
    return rows


def table(rows: list[list[str]]) -> Table:
    """Returns rows, headings first, as a table for the screen."""
    made = Table(*(Column(heading, overflow="fold") for heading in rows[0]))
    for row in rows[1:]:
        made.add_row(*row)
    return made


def markdown(rows: list[list[str]]) -> str:
    """Returns rows, headings first, as a Markdown table."""
    heading, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ["---"] * len(heading), *body])


def _bootstrap(
    truth: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_], scenarios: list[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns F1 by label, ``[labels]``, and the same for each resample, ``[resamples, labels]``."""
    names, which = np.unique(scenarios, return_inverse=True)
    counts = np.zeros((3, len(names), truth.shape[1]))
    for kind, hits in enumerate((truth & decided, ~truth & decided, truth & ~decided)):
        np.add.at(counts[kind], which, hits)
    draws = np.random.default_rng(_SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    return _f1(*counts.sum(axis=1)), _f1(*(draws @ counts[kind] for kind in range(3)))


def _f1(
    true_positive: npt.NDArray[np.float64],
    false_positive: npt.NDArray[np.float64],
    false_negative: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    denominator = 2 * true_positive + false_positive + false_negative
    return np.divide(2 * true_positive, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)


def _score(value: float, resampled: npt.NDArray[np.float64]) -> Score:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Score(float(value), float(low), float(high))


def _triple(score: Score) -> list[float]:
    return [round(score.value, 4), round(score.low, 4), round(score.high, 4)]
