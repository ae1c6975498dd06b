"""The message: one line of the data set, its schema and its reader."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chatiquette.taxonomy import LABEL_NAMES

from .faults import describe, nearest

NonEmpty = Annotated[str, Field(min_length=1, pattern=r"\S")]

CUSTOMER_CATEGORIES = frozenset({"politeness", "focus", "language"})
"""What a customer's message may be labelled for."""


class Message(BaseModel):
    """One labelled chat message; `context` is the message just before it by the other side, or None."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: NonEmpty
    lang: Literal["en", "ro", "sk", "fi"]
    role: Literal["agent", "customer"]
    domain: NonEmpty
    scenario: NonEmpty
    author: NonEmpty
    context: NonEmpty | None
    text: NonEmpty
    labels: list[str]

    @field_validator("labels")
    @classmethod
    def _labels_are_sound(cls, labels: list[str]) -> list[str]:
        problems = [
            f"unknown label {label!r}{nearest(label, LABEL_NAMES)}" for label in labels if label not in LABEL_NAMES
        ]
        for category, count in Counter(label.split(".")[0] for label in labels).items():
            if count > 1:
                problems.append(f"{count} labels in the category {category!r}, at most one verdict is allowed")
        if problems:
            raise ValueError("; ".join(problems))
        return labels

    def model_post_init(self, _: object) -> None:
        """Refuses a customer's message labelled for what only an agent can show."""
        if self.role == "customer":
            wrong = [label for label in self.labels if label.split(".")[0] not in CUSTOMER_CATEGORIES]
            if wrong:
                raise ValueError(f"a customer's message can't be labelled {', '.join(wrong)}")


@dataclass(frozen=True)
class Fault:
    """Something wrong in a data file, at a line counted from 1."""

    path: Path
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


class DataError(ValueError):
    """Raised for a data file with faults; the message lists each with file and line."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True)
class Located:
    """A message and where it stands."""

    path: Path
    line: int
    message: Message


def parse(path: Path) -> tuple[list[Located], list[Fault]]:
    """Parses a JSON Lines file of messages; blank lines are skipped and a bad line doesn't stop the rest."""
    located: list[Located] = []
    faults: list[Fault] = []
    for number, line in _lines(path):
        try:
            line.encode("utf-8")  # fails for what could not be decoded
            located.append(Located(path, number, Message.model_validate(json.loads(line))))
        except ValidationError as error:
            faults.extend(Fault(path, number, problem) for problem in describe(error, Message))
        except (ValueError, RecursionError) as error:
            faults.append(Fault(path, number, f"not a JSON object in UTF-8: {error}"))
    return located, faults


def read(paths: list[Path]) -> list[Message]:
    """Reads the messages of several files.

    Raises:
        DataError: with every fault in every file.
        FileNotFoundError: a file is missing.
    """
    parsed = [parse(path) for path in paths]
    faults = [fault for _, found in parsed for fault in found]
    if faults:
        raise DataError(faults)
    return [located.message for found, _ in parsed for located in found]


def read_folder(folder: Path) -> list[Message]:
    """Reads every JSON Lines file in a folder, in the order of their names.

    Raises:
        DataError: with every fault in every file.
        FileNotFoundError: the folder has no such file.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no .jsonl files here")
    return read(paths)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
