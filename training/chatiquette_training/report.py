"""Describes a data set: its figures, plots of them, and a page that shows both."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .agreement import Agreement, agreement, third_and_labels
from .conversations import Conversation, Verdicts
from .hard_cases import hard_cases
from .lines import DataError
from .messages import Message
from .perturbations import without_diacritics
from .plots import NAMES, plot_groups, plot_heat_maps, plot_lengths, plot_stacks
from .rendering import render, write_json
from .validation import SPLITS, DataSet, validate

_OPENING = 4  # words
_OPENINGS_SHOWN = 12
_BARE = 100  # characters: so long a text of these languages nearly always has diacritics where they are typed
_FIRST_EMOJI = 0x2600


def write_report(data: Path, target: Path) -> Path:
    """Writes ``index.html``, its plots and ``report.json`` on the data set in the folder `data`; returns the page.

    Raises:
        DataError: the data set has faults.
    """
    found, faults = validate(data)
    if faults:
        raise DataError(faults)
    messages = [message for _, message in found.messages()]
    conversations = [one.record for one in found.conversations]
    figures = _figures(found, messages, conversations)
    agreements = _agreements(found, conversations)
    figures["agreement"] = {
        name: {language: asdict(one) | {"macro_f1": one.macro_f1} for language, one in by_language.items()}
        for name, by_language in agreements.items()
    }

    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "report.json", figures)
    _plot(target, figures, messages, agreements)
    page = render(
        "report.html.jinja",
        figures=figures,
        agreements=agreements,
        names=NAMES,
        languages=LANGUAGES,
        splits=SPLITS,
    )
    (target / "index.html").write_text(page, encoding="utf-8")
    return target / "index.html"


def _figures(found: DataSet, messages: list[Message], conversations: list[Conversation]) -> dict[str, Any]:
    kinds = hard_cases(messages)
    names = ("several labels", "both verdicts", "misleading word", "contrast pair")
    hard: dict[str, list[bool]] = {name: [name in shown for shown in kinds] for name in names}
    hard["any of these"] = [bool(shown) for shown in kinds]
    traits: dict[str, Callable[[Message], bool]] = {
        "with a context": lambda message: message.context is not None,
        "without any label": lambda message: not message.labels,
        "by customers": lambda message: message.role == "customer",
        "casually typed": _is_casual,
    }
    return {
        "messages": {
            split: dict(Counter(one.record.lang for one in located)) for split, located in found.splits.items()
        },
        "labels": {split: _by_label([one.record for one in located]) for split, located in found.splits.items()},
        "authors": len({message.author for message in messages}),
        "scenarios": len({message.scenario for message in messages}),
        "traits": {name: _shares(messages, [holds(message) for message in messages]) for name, holds in traits.items()},
        "hard_cases": {name: _shares(messages, holds) for name, holds in hard.items()},
        "pairs": {
            split: dict(
                Counter(
                    language
                    for language, _ in sorted(
                        {(one.record.lang, one.record.pair) for one in located if one.record.pair}
                    )
                )
            )
            for split, located in found.splits.items()
        },
        "words": {
            language: _percentiles([_words(message) for message in messages if message.lang == language])
            for language in LANGUAGES
        },
        "domains": _domains(messages),
        "openings": _openings(messages),
        "near_copies": _near_copies(found),
        "conversations": {
            language: _conversation_figures([one for one in conversations if one.lang == language])
            for language in LANGUAGES
        },
    }


def _by_label(messages: list[Message]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {label: Counter(dict.fromkeys(LANGUAGES, 0)) for label in LABEL_NAMES}
    for message in messages:
        for label in message.labels:
            counts[label][message.lang] += 1
    return {label: dict(by_language) for label, by_language in counts.items()}


def _shares(messages: list[Message], holds: list[bool]) -> dict[str, float]:
    """Returns the share of each language's messages for which something holds."""
    return {
        language: float(
            np.mean([one for message, one in zip(messages, holds, strict=True) if message.lang == language])
        )
        for language in LANGUAGES
    }


def _is_casual(message: Message) -> bool:
    """Tells whether a message starts in lower case, has an emoji, or lacks the diacritics of its language."""
    text = message.text
    if text[0].islower() or any(ord(character) >= _FIRST_EMOJI for character in text):
        return True
    bare = text == without_diacritics(text)
    return bare and message.lang != "en" and len(text) >= _BARE


def _words(message: Message) -> int:
    return len(message.text.split())


def _percentiles(counts: list[int]) -> dict[str, float]:
    return {str(share): float(np.percentile(counts, share)) for share in (0, 5, 50, 95, 100)}


def _domains(messages: list[Message]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for message in messages:
        counts[message.domain][message.lang] += 1
    return {domain: dict(by_language) for domain, by_language in sorted(counts.items())}


def _openings(messages: list[Message]) -> list[dict[str, Any]]:
    """Returns the commonest first words of messages."""
    openings = (re.findall(r"\w+", message.text.casefold())[:_OPENING] for message in messages)
    counts = Counter(" ".join(words) for words in openings if len(words) == _OPENING)
    return [
        {"opening": opening, "messages": count, "share": count / len(messages)}
        for opening, count in counts.most_common(_OPENINGS_SHOWN)
    ]


def _near_copies(found: DataSet) -> dict[str, Any]:
    """Counts the messages that nearly repeat an earlier one, leaving the two members of a contrast pair aside."""
    within: dict[str, set[str]] = {split: set() for split in SPLITS}
    across = set()
    for (other_split, other), (split, one) in found.copies:
        if split != other_split:
            across.add(one.record.id)
        elif split in within and (one.record.pair is None or one.record.pair != other.record.pair):
            within[split].add(one.record.id)
    return {
        "across splits": len(across),
        "within": {split: len(repeats) for split, repeats in within.items()},
        "share within": sum(map(len, within.values())) / len(found.messages()),
    }


def _conversation_figures(conversations: Sequence[Conversation]) -> dict[str, Any]:
    turns = [turn for conversation in conversations for turn in conversation.turns]
    return {
        "conversations": len(conversations),
        "turns": len(turns),
        "agents": len(
            {
                (conversation.id, turn.agent)
                for conversation in conversations
                for turn in conversation.turns
                if turn.agent
            }
        ),
        "verdicts": {
            verdict: sum(getattr(conversation.verdicts, verdict) for conversation in conversations)
            for verdict in Verdicts.model_fields
        },
        "read again": sum(len(conversation.annotations) >= 2 for conversation in conversations),
        "verdicts disputed": {
            verdict: sum(
                len({getattr(one, verdict) for one in conversation.annotations}) == 2 for conversation in conversations
            )
            for verdict in Verdicts.model_fields
        },
    }


def _agreements(found: DataSet, conversations: list[Conversation]) -> dict[str, dict[str, Agreement]]:
    """Compares the readings of each split, of all messages, and of the conversations' turns."""
    parts = {split: [one.record for one in located] for split, located in found.splits.items()}
    parts["all messages"] = [message for _, message in found.messages()]
    parts["conversations"] = [message for conversation in conversations for message in conversation.messages()]
    compared = {f"{name}: author and second reading": agreement(messages) for name, messages in parts.items()}
    compared["conversations: labels and third reading"] = agreement(parts["conversations"], third_and_labels)
    return {name: by_language for name, by_language in compared.items() if by_language}


def _plot(
    target: Path, figures: dict[str, Any], messages: list[Message], agreements: dict[str, dict[str, Agreement]]
) -> None:
    plot_heat_maps(target / "labels.png", figures["labels"], "{:.0f}")
    plot_lengths(
        target / "lengths.png",
        {language: [_words(message) for message in messages if message.lang == language] for language in LANGUAGES},
    )
    plot_stacks(target / "domains.png", figures["domains"], "messages")
    shares = figures["hard_cases"] | figures["traits"]
    percent = {name: {language: 100 * share for language, share in row.items()} for name, row in shares.items()}
    plot_groups(target / "shares.png", percent, "% of messages")
    kappas = {
        name.replace(": ", "\n"): {
            label: {language: one.kappa[label] for language, one in by_language.items() if label in one.kappa}
            for label in LABEL_NAMES
        }
        for name, by_language in agreements.items()
        if not name.startswith(SPLITS)
    }
    if kappas:
        plot_heat_maps(target / "agreement.png", kappas, "{:.2f}", low=0.5, high=1)
