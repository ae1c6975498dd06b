"""Tells whether a model keeps its verdicts where it should, and changes them where it should."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from chatiquette.taxonomy import LABEL_NAMES

from .behaviour import INVARIANT, BehaviouralTest, behaviour_files
from .dataset import load_split
from .evaluation import Evaluation, evaluate
from .lines import read
from .messages import Message
from .perturbations import toggle_end, type_badly, without_diacritics
from .scoring import probabilities

AS_WRITTEN = "as written"
_SEED = 0

Rates = dict[str, dict[str, float]]
"""Name of a test → language → mean result, 0 to 1."""


def _hurried(text: str, draw: random.Random) -> str:
    return type_badly(without_diacritics(text).lower(), draw)


PERTURBATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "without diacritics": lambda text, _: without_diacritics(text),
    "lower case": lambda text, _: text.lower(),
    "typos": type_badly,
    "final punctuation": lambda text, _: toggle_end(text),
    "without diacritics, lower case, typos": _hurried,
}


@dataclass(frozen=True)
class Robustness:
    """What a model does to messages that were changed.

    Attributes:
        written: the probabilities of the test split as it stands, float32 ``[messages, 23]``.
        evaluations: "as written" or a perturbation → scores on the test split.
        unchanged: perturbation → language → share of the messages that keep all their labels.
        decisions: perturbation or kind of behavioural test → language → share of the 23 decisions on each message that are kept.
        invariance: kind of behavioural test → language → share of the other messages of a group with the first one's labels.
        not_faulted: kind of behavioural test → language → share of the messages without the labels that none may get.
        direction: language → share of the contrast pairs in which each differing label is likelier where it belongs.
        cases: what was counted: kind of test → language → how many.
    """

    written: npt.NDArray[np.float32]
    evaluations: dict[str, Evaluation]
    unchanged: Rates
    decisions: Rates
    invariance: Rates
    not_faulted: Rates
    direction: dict[str, float]
    cases: dict[str, dict[str, int]]

    def rows(self) -> list[list[str]]:
        """Returns a table of all, headings first."""
        languages = list(self.evaluations[AS_WRITTEN].messages)
        written = self.evaluations[AS_WRITTEN].macro_f1
        table = [["", *languages], ["macro F1 as written", *(f"{written[one].value:.3f}" for one in languages)]]
        for name in PERTURBATIONS:
            lost = [written[one].value - self.evaluations[name].macro_f1[one].value for one in languages]
            table.append([f"macro F1 lost: {name}", *(f"{value:.3f}" for value in lost)])
        shares = {
            **{f"all labels kept: {name}": rate for name, rate in self.unchanged.items()},
            **{f"decisions kept: {name}": self.decisions[name] for name in self.unchanged},
            **{f"same labels, other {name}": rate for name, rate in self.invariance.items()},
            **{f"same decisions, other {name}": self.decisions[name] for name in self.invariance},
            **{f"not faulted: {name}": rate for name, rate in self.not_faulted.items()},
            "contrast pairs told apart": self.direction,
        }
        return table + [
            [name, *(f"{rate[one]:.1%}" if one in rate else "–" for one in languages)]
            for name, rate in shares.items()
            if rate
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as JSON can hold it."""
        return {
            "macro_f1": {name: one.as_dict()["macro_f1"] for name, one in self.evaluations.items()},
            "unchanged": self.unchanged,
            "decisions": self.decisions,
            "invariance": self.invariance,
            "not_faulted": self.not_faulted,
            "direction": self.direction,
            "cases": self.cases,
        }


def robustness(model: Path, data: Path) -> Robustness:
    """Runs `model`, a run or a bundle, on changed messages of the test split and on the behavioural tests.

    A message that is faulted for its language keeps its typing: changing that would change what is right. A data set
    without behavioural tests or contrast pairs has none of their figures.

    Args:
        model: what is tested.
        data: the data set's folder, with ``messages/test`` and ``behaviour``.

    Raises:
        DataError: the data has faults.
        FileNotFoundError: `model` is neither run nor bundle.
    """
    test = load_split(data, "test")
    written = probabilities(model, test)
    evaluations = {AS_WRITTEN: evaluate(test, written)}
    unchanged: Rates = {}
    decisions: Rates = {}
    typed = [i for i, message in enumerate(test) if "language.violated" not in message.labels]
    for name, change in tqdm(PERTURBATIONS.items(), desc="changing the test split"):
        draw = random.Random(_SEED)
        changed = list(test)
        for i in typed:
            changed[i] = test[i].model_copy(update={"text": change(test[i].text, draw)})
        found = probabilities(model, changed)
        evaluations[name] = evaluate(test, found)
        same = (found >= 0.5) == (written >= 0.5)
        unchanged[name] = _rates((test[i].lang, same[i].all()) for i in typed)[0]
        decisions[name] = _rates((test[i].lang, same[i].mean()) for i in typed)[0]
    direction, pairs = _rates(_direction(test, written))
    behaved = {}
    for kind, rows in _behave(model, data).items():
        behaved[kind] = _rates((language, row.all()) for language, row in rows)
        if kind in INVARIANT:
            decisions[kind] = _rates((language, row.mean()) for language, row in rows)[0]
    return Robustness(
        written,
        evaluations,
        unchanged,
        decisions,
        {kind: behaved[kind][0] for kind in INVARIANT if kind in behaved},
        {kind: shares for kind, (shares, _) in behaved.items() if kind not in INVARIANT},
        direction,
        {"contrast pairs": pairs, **{kind: counts for kind, (_, counts) in behaved.items()}},
    )


def _behave(model: Path, data: Path) -> dict[str, list[tuple[str, npt.NDArray[np.bool_]]]]:
    """Returns kind of behavioural test → language and which decisions were right, one a message that was tested."""
    tests = read(behaviour_files(data), BehaviouralTest)
    if not tests:
        return {}
    decided = iter(probabilities(model, [message for test in tests for message in test.messages()]) >= 0.5)
    right: dict[str, list[tuple[str, npt.NDArray[np.bool_]]]] = defaultdict(list)
    for test in tests:
        rows = np.array([next(decided) for _ in test.texts])
        never = [LABEL_NAMES.index(label) for label in test.never]
        kept = rows[1:] == rows[0] if test.kind in INVARIANT else ~rows[:, never]
        right[test.kind] += [(test.lang, row) for row in kept]
    return right


def _direction(messages: list[Message], found: npt.NDArray[np.float32]) -> Iterator[tuple[str, bool]]:
    """Gives each contrast pair's language and whether every label that differs is likelier in the member that has it."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, message in enumerate(messages):
        if message.pair is not None:
            members[message.pair].append(i)
    for i, j in (both for both in members.values() if len(both) == 2):
        first, second = set(messages[i].labels), set(messages[j].labels)
        columns = {label: LABEL_NAMES.index(label) for label in first ^ second}
        higher = {label: bool(found[i, column] > found[j, column]) for label, column in columns.items()}
        yield messages[i].lang, all(higher[label] == (label in first) for label in columns)


def _rates(
    results: Iterable[tuple[str, float | np.floating[Any] | np.bool_]],
) -> tuple[dict[str, float], dict[str, int]]:
    """Returns language → mean result, and language → how many."""
    by_language: dict[str, list[float]] = defaultdict(list)
    for language, result in results:
        by_language[language].append(float(result))
    means = {language: float(np.mean(found)) for language, found in by_language.items()}
    return means, {language: len(found) for language, found in by_language.items()}
