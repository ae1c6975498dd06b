"""Renders the model card from the bundle's metadata and its evaluation."""

from __future__ import annotations

from typing import Any

from chatiquette.taxonomy import CATEGORIES, LABELS

from .evaluation import markdown, summary_rows
from .rendering import render
from .robustness import AS_WRITTEN, Robustness


def render_card(metadata: dict[str, Any], robustness: Robustness) -> str:
    """Returns the card as Markdown with the model hub's front matter.

    Args:
        metadata: what the bundle's ``metadata.json`` holds.
        robustness: of the bundle, with its scores on the test split.
    """
    evaluation = robustness.evaluations[AS_WRITTEN]
    scores = [markdown(summary_rows({"int8": evaluation})), markdown(evaluation.label_rows())]
    flips, f1_loss = metadata["parity"]["flips"], metadata["parity"]["f1_loss"]
    parity = [
        ["int8 against float32", *flips],
        ["decisions that change", *(f"{share:.2%}" for share in flips.values())],
        ["macro F1 lost", *(f"{loss:.4f}" for loss in f1_loss.values())],
    ]
    return render(
        "card.md.jinja",
        metadata=metadata,
        scores=scores,
        parity=markdown(parity),
        robustness=markdown(robustness.rows()),
        categories=CATEGORIES,
        labels=LABELS,
    )
