"""The message: one line of the data set."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chatiquette.taxonomy import CUSTOMER_LABELS, LABEL_NAMES, Role

from .faults import nearest

NonEmpty = Annotated[str, Field(min_length=1, pattern=r"\S")]
Language = Literal["en", "ro", "sk", "fi"]


def _sound(labels: list[str]) -> list[str]:
    problems = [f"unknown label {label!r}{nearest(label, LABEL_NAMES)}" for label in labels if label not in LABEL_NAMES]
    for category, count in Counter(label.split(".")[0] for label in labels).items():
        if count > 1:
            problems.append(f"{count} labels in the category {category!r}, at most one verdict is allowed")
    if problems:
        raise ValueError("; ".join(problems))
    return labels


Labels = Annotated[list[str], AfterValidator(_sound)]
"""Label names, at most one verdict a category."""


def check_labels(role: Role, labels: list[str], annotations: list[list[str]]) -> None:
    """Raises ValueError for a customer labelled for what only an agent can show, and for a single annotation."""
    wrong = {label for given in [labels, *annotations] for label in given if label not in CUSTOMER_LABELS}
    if role == "customer" and wrong:
        raise ValueError(f"a customer's message can't be labelled {', '.join(sorted(wrong))}")
    if len(annotations) == 1:
        raise ValueError("annotations: the author's and the second reading, or none at all")


class Message(BaseModel):
    """One labelled chat message.

    Attributes:
        id: unique in the data set.
        domain: line of business.
        scenario: the small situation that it belongs to.
        author: who wrote it.
        pair: shared by two messages that differ in few words, or only in their context, and in exactly one verdict, or None.
        context: the message just before it by the other side, or None.
        labels: what is right.
        annotations: what each reader labelled, its author first; empty where there was no reading but that.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: NonEmpty
    lang: Language
    role: Role
    domain: NonEmpty
    scenario: NonEmpty
    author: NonEmpty
    pair: NonEmpty | None = None
    context: NonEmpty | None
    text: NonEmpty
    labels: Labels
    annotations: list[Labels] = []

    def model_post_init(self, _: object) -> None:
        """Refuses labels that a customer can't show, and a single annotation."""
        check_labels(self.role, self.labels, self.annotations)
