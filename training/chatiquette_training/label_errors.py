"""Finds labels that are probably wrong: those that models which never saw the message's author contradict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from sklearn.model_selection import GroupKFold

from chatiquette.taxonomy import LABEL_NAMES

from .config import Config
from .dataset import load_split, load_train, possible
from .messages import Message
from .scoring import probabilities
from .train import RUNS, RunError, trained
from .validation import files


@dataclass(frozen=True)
class Suspect:
    """A decision that is probably wrong.

    Attributes:
        given: whether the message has the label now.
        probability: of the label, by a model that was trained without the message's author.
    """

    message: Message
    label: str
    given: bool
    probability: float


def label_errors(config: Config, folds: int) -> list[Suspect]:
    """Looks for wrong labels in the train split by confident learning (Northcutt, Jiang and Chuang 2021).

    One model a fold is trained as `config` says, on the authors of the other folds; its runs are kept as
    ``runs/<name>-fold-<number>`` and continued if they were interrupted.

    Returns:
        The suspects, the least probable first.

    Raises:
        DataError: the data has faults.
        RunError: a fold was trained on other data or with other settings, or there are fewer authors than folds.
    """
    messages = load_train(config.data)
    predicted = np.zeros((len(messages), len(LABEL_NAMES)), np.float32)
    for number, (fit, held_out) in enumerate(_by_author(messages, folds), 1):
        run = _train_fold(config, number, [messages[i] for i in fit], [messages[i] for i in held_out])
        predicted[held_out] = probabilities(run, [messages[i] for i in held_out])
    given = [[LABEL_NAMES.index(label) for label in message.labels] for message in messages]
    issues, *_ = find_multilabel_issues_per_class(given, predicted, return_indices_ranked_by="self_confidence")
    asked = possible(messages)
    suspects = [
        Suspect(messages[i], label, label in messages[i].labels, float(predicted[i, k]))
        for k, label in enumerate(LABEL_NAMES)
        for i in issues[k]
        if asked[i, k]
    ]
    return sorted(suspects, key=lambda one: one.probability if one.given else 1 - one.probability)


def _by_author(messages: list[Message], folds: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    authors = [message.author for message in messages]
    if len(set(authors)) < folds:
        raise RunError(f"{folds} folds need as many authors; the train split has {len(set(authors))}")
    split: Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = GroupKFold(folds).split(
        messages, groups=authors
    )
    return split


def _train_fold(config: Config, number: int, fit: list[Message], held_out: list[Message]) -> Path:
    name = f"{config.name}-fold-{number}"
    data = RUNS / name / "data"
    validation = load_split(Path(config.data.path), "validation", config.data.limit)
    for split, messages in {"train": fit, "validation": validation, "test": held_out}.items():
        for path in files(data, split):
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [message.model_dump_json() + "\n" for message in messages if message.lang == path.stem]
            path.write_text("".join(lines), encoding="utf-8")
    part = config.data.model_copy(update={"path": str(data), "limit": None, "train_share": 1.0})
    return trained(config.model_copy(update={"name": name, "data": part}))
