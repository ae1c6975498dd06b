"""Writes an evaluation to a folder: figures, tables, plots, the worst errors, and a page that shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chatiquette.taxonomy import CATEGORIES, LABEL_NAMES

from .dataset import possible, targets
from .evaluation import Evaluation, markdown, summary_rows
from .messages import Message
from .plots import NAMES, plot_heat_maps, plot_precision_recall, plot_reliability
from .rendering import render, write_json

FloatArray = npt.NDArray[np.float32]

_WORST = 200
_WORST_SHOWN = 40
_NOT_SHOWN = "not shown"


def write_evaluation(
    target: Path,
    evaluations: dict[str, Evaluation],
    messages: list[Message],
    probabilities: FloatArray,
    before: FloatArray,
) -> Path:
    """Writes ``index.html``, ``results.md``, ``metrics.json``, ``errors.jsonl`` and plots to `target`; returns the page.

    Args:
        target: the folder.
        evaluations: name → scores; the first is the model's, others stand beside it.
        messages: what was scored. Their texts go into the page and ``errors.jsonl``.
        probabilities: the model's, float32 ``[messages, 23]``.
        before: the same before calibration.
    """
    model = next(iter(evaluations.values()))
    truth, counted = targets(messages), possible(messages)
    confusion = confusions(messages, probabilities)
    errors = worst_errors(messages, probabilities)
    rows = {language: np.array([message.lang == language for message in messages]) for language in model.messages}

    target.mkdir(parents=True, exist_ok=True)
    tables = [summary_rows(evaluations), model.category_rows(), model.label_rows(), confusion]
    content = {name: evaluation.as_dict() for name, evaluation in evaluations.items()}
    write_json(target / "metrics.json", content)
    (target / "results.md").write_text("\n\n".join(map(markdown, tables)) + "\n", encoding="utf-8")
    lines = [json.dumps(error, ensure_ascii=False) + "\n" for error in errors]
    (target / "errors.jsonl").write_text("".join(lines), encoding="utf-8")

    scores = {label: {lang: score.value for lang, score in model.label_f1[label].items()} for label in LABEL_NAMES}
    plot_heat_maps(target / "f1.png", {"F1": scores}, "{:.2f}", low=0.5, high=1)
    plot_precision_recall(
        target / "precision_recall.png",
        LABEL_NAMES,
        {language: truth[here] for language, here in rows.items()},
        {language: probabilities[here] for language, here in rows.items()},
    )
    plot_reliability(
        target / "reliability.png",
        {
            title: {
                language: (found[here][counted[here]], truth[here][counted[here]]) for language, here in rows.items()
            }
            for title, found in (("before calibration", before), ("after calibration", probabilities))
        },
    )
    page = target / "index.html"
    page.write_text(
        render(
            "evaluation.html.jinja",
            tables=dict(zip(("Summary", "By rule", "By label", "Confusion between verdicts"), tables, strict=True)),
            errors=errors[:_WORST_SHOWN],
            names=NAMES,
            count=len(messages),
        ),
        encoding="utf-8",
    )
    return page


def confusions(messages: list[Message], probabilities: FloatArray) -> list[list[str]]:
    """Returns how often each verdict of a category was taken for another, headings first.

    Where the model finds both verdicts of a category, ``violated`` stands, as for users.
    """
    kinds = ("followed", "violated")
    mistakes = [(given, found) for given in (*kinds, _NOT_SHOWN) for found in (*kinds, _NOT_SHOWN) if given != found]
    table = [["given → found", "right", *(f"{given} → {found}" for given, found in mistakes)]]
    decided = [_verdicts(LABEL_NAMES[i] for i in np.flatnonzero(row >= 0.5)) for row in probabilities]
    given = [_verdicts(message.labels) for message in messages]
    for category in CATEGORIES:
        counts = Counter(
            (one.get(category.id, _NOT_SHOWN), other.get(category.id, _NOT_SHOWN))
            for message, one, other in zip(messages, given, decided, strict=True)
            if message.role == "agent" or category.customers
        )
        right = sum(count for (one, other), count in counts.items() if one == other)
        table.append([category.id, f"{right:,}", *(str(counts[mistake]) for mistake in mistakes)])
    return table


def worst_errors(messages: list[Message], probabilities: FloatArray) -> list[dict[str, Any]]:
    """Returns the wrong decisions of which the model was surest, the surest first."""
    truth = targets(messages) > 0
    wrong = (probabilities >= 0.5) != truth
    places = np.argwhere(wrong)
    surest = places[np.argsort(-np.abs(probabilities - 0.5)[wrong], kind="stable")][:_WORST]
    return [
        {
            "id": messages[i].id,
            "lang": messages[i].lang,
            "label": LABEL_NAMES[k],
            "given": bool(truth[i, k]),
            "probability": round(float(probabilities[i, k]), 4),
            "context": messages[i].context,
            "text": messages[i].text,
        }
        for i, k in surest.tolist()
    ]


def _verdicts(labels: Iterable[str]) -> dict[str, str]:
    return dict(sorted(label.split(".") for label in labels))
