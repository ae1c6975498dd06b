"""The categories of chat etiquette and their labels: read once from ``taxonomy.toml``, used everywhere."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

Verdict = Literal["followed", "violated"]
Role = Literal["agent", "customer"]

LANGUAGES: tuple[str, ...] = ("en", "ro", "sk", "fi")
ROLES: tuple[Role, ...] = ("agent", "customer")
VERDICTS: tuple[Verdict, ...] = ("followed", "violated")


@dataclass(frozen=True)
class Label:
    """One output of the model: a category together with a verdict.

    Attributes:
        name: ``"<category>.<verdict>"``, such as ``"closure.followed"``.
        category: the id of the category.
        verdict: ``"followed"`` or ``"violated"``.
        display: language code → what people read, such as "proper closure".
        advice: language code → one line for the writer of the message.
    """

    name: str
    category: str
    verdict: Verdict
    display: dict[str, str]
    advice: dict[str, str]


@dataclass(frozen=True)
class Category:
    """A rule of etiquette.

    Attributes:
        id: the category's name in labels.
        display: language code → what people read.
        customers: whether a customer's message can show it, too, or an agent's only.
        labels: its one or two labels, ``followed`` before ``violated``.
    """

    id: str
    display: dict[str, str]
    customers: bool
    labels: tuple[Label, ...]


def _category(entry: dict[str, Any]) -> Category:
    labels = tuple(
        Label(f"{entry['id']}.{verdict}", entry["id"], verdict, entry[verdict]["name"], entry[verdict]["advice"])
        for verdict in VERDICTS
        if verdict in entry
    )
    return Category(entry["id"], entry["name"], entry.get("customers", False), labels)


def _read() -> tuple[Category, ...]:
    text = resources.files(__package__).joinpath("taxonomy.toml").read_text(encoding="utf-8")
    return tuple(_category(entry) for entry in tomllib.loads(text)["category"])


CATEGORIES: tuple[Category, ...] = _read()
LABELS: tuple[Label, ...] = tuple(label for category in CATEGORIES for label in category.labels)
LABEL_NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)
CUSTOMER_LABELS: frozenset[str] = frozenset(
    label.name for category in CATEGORIES if category.customers for label in category.labels
)
"""What a customer's message can be labelled."""
