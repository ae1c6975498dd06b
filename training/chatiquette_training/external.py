"""Holds the model against other people's labelled text: any CSV or JSON Lines file, for one of our labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import evaluate
import numpy as np
import numpy.typing as npt
from rich.console import Console

from chatiquette import EtiquetteClassifier
from chatiquette.records import BadLine, Record, read
from chatiquette.taxonomy import LABEL_NAMES

from .evaluation import Score
from .faults import nearest

METRIC = Path(__file__).parent / "metrics" / "detection.py"
SCORES = ("auroc", "average_precision", "f1", "precision", "recall")

_RESAMPLES = 1000
_SEED = 0
_SHOWN = 40  # characters of a value


class ExternalDataError(ValueError):
    """Raised for a file that can't be scored; the message says what to change."""


@dataclass(frozen=True)
class ExternalCheck:
    """Scores of one label on one file.

    Attributes:
        scores: name → score with its 95 % interval.
        positive, negative: how many rows were counted as either.
        skipped: why lines and rows were left out → how many.
    """

    scores: dict[str, Score]
    positive: int
    negative: int
    skipped: Counter[str]


def check(
    classifier: EtiquetteClassifier,
    file: Path,
    label: str,
    column: str,
    positive: Collection[str],
    negative: Collection[str],
) -> ExternalCheck:
    """Scores the probability of `label` against a column of `file`.

    Args:
        classifier: what is held against it.
        file: ``.csv`` or ``.jsonl`` with ``text``, optionally ``context`` and ``role``, and the column.
        label: one of the 23, such as ``politeness.violated``.
        column: where the truth stands.
        positive: its values that mean that the label holds.
        negative: its values that mean that it doesn't; empty takes all others. A row without a value is left out.

    Returns:
        The scores; intervals are the 2.5 and 97.5 percentiles of 1,000 bootstrap resamples of the rows (Efron and
        Tibshirani 1993).

    Raises:
        ExternalDataError: there is no such label, another kind of file, or one of the classes is empty.
        OSError: the file can't be read.
    """
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise ExternalDataError(f"{file}: should be .csv or .jsonl")
    if label not in LABEL_NAMES:
        raise ExternalDataError(f"unknown label {label!r}{nearest(label, LABEL_NAMES)}")
    kept: list[Record] = []
    truth: list[bool] = []
    skipped: Counter[str] = Counter()
    for one in read((str(file),), Console(stderr=True)):
        if isinstance(one, BadLine):
            skipped[str(one)] += 1
        elif (value := one.fields.get(column)) is None or value == "":
            skipped[f"no value in the column {column!r}"] += 1
        elif str(value) in positive or not negative or str(value) in negative:
            kept.append(one)
            truth.append(str(value) in positive)
        else:
            skipped[f"{column} is {str(value)[:_SHOWN]!r}"] += 1
    references = np.array(truth, int)
    if not 0 < references.sum() < len(references):
        which = "positive" if not references.any() else "negative"
        reasons = "".join(f"\n  {count} × {reason}" for reason, count in skipped.most_common(5))
        raise ExternalDataError(
            f"{file}: no row is {which}; give the values of its column {column!r} by --positive and --negative{reasons}"
        )
    found = classifier.predict_proba(
        [one.text for one in kept], [one.context for one in kept], [one.role or "agent" for one in kept]
    )
    scores = _scored(found[:, LABEL_NAMES.index(label)], references)
    return ExternalCheck(scores, int(references.sum()), int((1 - references).sum()), skipped)


def _scored(probabilities: npt.NDArray[np.float32], references: npt.NDArray[np.int64]) -> dict[str, Score]:
    metric = evaluate.load(str(METRIC))
    value = metric.compute(predictions=probabilities, references=references)
    draw = np.random.default_rng(_SEED)
    resampled: list[dict[str, float]] = []
    while len(resampled) < _RESAMPLES:
        rows = draw.integers(len(references), size=len(references))
        if 0 < references[rows].sum() < len(rows):  # both classes are needed
            # The same computation without the metric's files, which a thousand calls would write.
            resampled.append(metric._compute(probabilities[rows].tolist(), references[rows].tolist()))
    return {
        name: Score(value[name], *np.percentile([one[name] for one in resampled], [2.5, 97.5]).tolist())
        for name in SCORES
    }
