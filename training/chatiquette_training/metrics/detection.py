"""Scores of one label's probabilities: how well it is told from the rest, and how good the decisions are.

An ``evaluate`` module: ``evaluate.load`` takes this file's path, so that no hub is needed.
"""

from __future__ import annotations

import datasets
import evaluate
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

_DESCRIPTION = """
Scores the probabilities of one label: the area under the ROC curve (Hanley and McNeil 1982), average precision, and
precision, recall and F1 of the decisions at a threshold.
"""

_INPUTS = """
Args:
    predictions: float, the probability of the label (0 to 1).
    references: int, 1 where the label holds and 0 elsewhere; both must occur.
    threshold: probabilities at or above it are decided as 1 (default 0.5).

Returns:
    auroc, average_precision, f1, precision, recall: float, 0 to 1.

Examples:
    >>> metric = evaluate.load(path)
    >>> metric.compute(predictions=[0.9, 0.2, 0.6], references=[1, 0, 0])["auroc"]
    1.0
"""


class Detection(evaluate.Metric):  # type: ignore[misc]
    """AUROC, average precision, F1, precision and recall of one label."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Hanley, J. A. and McNeil, B. J. (1982). The meaning and use of the area under a ROC curve. Radiology.",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float32"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int], threshold: float = 0.5) -> dict[str, float]:
        decided = [probability >= threshold for probability in predictions]
        return {
            "auroc": float(roc_auc_score(references, predictions)),
            "average_precision": float(average_precision_score(references, predictions)),
            "f1": float(f1_score(references, decided, zero_division=0)),
            "precision": float(precision_score(references, decided, zero_division=0)),
            "recall": float(recall_score(references, decided, zero_division=0)),
        }
