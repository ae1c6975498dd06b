"""Renders the model card from the bundle's metadata and its evaluation."""

from __future__ import annotations

from typing import Any

from chatiquette.taxonomy import CATEGORIES, LABELS

from .evaluation import Evaluation, markdown, summary_rows
from .rendering import render


def render_card(metadata: dict[str, Any], evaluation: Evaluation) -> str:
    """Returns the card as Markdown with the model hub's front matter."""
    scores = [markdown(summary_rows({"int8": evaluation})), markdown(evaluation.label_rows())]
    flips, f1_loss = metadata["parity"]["flips"], metadata["parity"]["f1_loss"]
    parity = [
        ["int8 against float32", *flips],
        ["decisions that change", *(f"{share:.2%}" for share in flips.values())],
        ["macro F1 lost", *(f"{loss:.4f}" for loss in f1_loss.values())],
    ]
    return render(
        "card.md.jinja", metadata=metadata, scores=scores, parity=markdown(parity), categories=CATEGORIES, labels=LABELS
    )
