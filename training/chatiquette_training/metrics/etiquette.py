"""Multi-label scores for chat etiquette: F1 by label, macro and micro, at the decision threshold of 0.5.

An ``evaluate`` module: ``evaluate.load`` takes this file's path, so that no hub is needed.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import f1_score

_DESCRIPTION = """
Scores a multi-label classifier. F1 is van Rijsbergen's (1979) harmonic mean of precision and recall, computed for each
label alone and then averaged without weights (macro), or over all decisions pooled (micro). A label with neither a
positive reference nor a positive prediction counts as 0.
"""

_INPUTS = """
Args:
    predictions: a float list a message, the probability of each label (0 to 1).
    references: an int list a message, 1 where the label holds and 0 elsewhere; the same labels in the same order.
    threshold: probabilities at or above it are decided as 1 (default 0.5).

Returns:
    macro_f1: float, the mean F1 over the labels.
    micro_f1: float, F1 over all decisions pooled.
    f1: list of float, F1 of each label.

Examples:
    >>> metric = evaluate.load(path)
    >>> scores = metric.compute(predictions=[[0.9, 0.2], [0.1, 0.7]], references=[[1, 0], [0, 0]])
    >>> scores["macro_f1"], [float(f) for f in scores["f1"]]
    (0.5, [1.0, 0.0])
"""


class Etiquette(evaluate.Metric):  # type: ignore[misc]
    """Macro and micro F1 of a multi-label classifier."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="van Rijsbergen, C. J. (1979). Information Retrieval. Butterworths.",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Sequence(datasets.Value("int32")),
                }
            ),
        )

    def _compute(
        self, predictions: list[list[float]], references: list[list[int]], threshold: float = 0.5
    ) -> dict[str, Any]:
        decided = np.asarray(predictions) >= threshold
        truth = np.asarray(references).astype(bool)
        return {
            "macro_f1": float(f1_score(truth, decided, average="macro", zero_division=0)),
            "micro_f1": float(f1_score(truth, decided, average="micro", zero_division=0)),
            "f1": [float(f) for f in f1_score(truth, decided, average=None, zero_division=0)],
        }
