"""Renders the model card from the bundle's metadata and its evaluation."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from chatiquette.taxonomy import CATEGORIES, LABELS

from .evaluation import Evaluation


def render_card(metadata: dict[str, Any], evaluation: Evaluation) -> str:
    """Returns the card as Markdown with the model hub's front matter."""
    environment = Environment(
        loader=PackageLoader(__package__), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("card.md.jinja")
    return template.render(metadata=metadata, evaluation=evaluation, categories=CATEGORIES, labels=LABELS)
