"""JSON Lines files whose every line is one validated record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from .faults import describe

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """Something wrong in a data file, at a line counted from 1; 0 stands for the whole file."""

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
class Located(Generic[Record]):
    """A record and where it stands."""

    path: Path
    line: int
    record: Record

    def fault(self, problem: str) -> Fault:
        """Returns a fault of this record."""
        return Fault(self.path, self.line, problem)


def parse(path: Path, schema: type[Record]) -> tuple[list[Located[Record]], list[Fault]]:
    """Parses a JSON Lines file; blank lines are skipped and a bad line doesn't stop the rest."""
    located: list[Located[Record]] = []
    faults: list[Fault] = []
    for number, line in _lines(path):
        try:
            line.encode("utf-8")  # fails for what could not be decoded
            located.append(Located(path, number, schema.model_validate(json.loads(line))))
        except ValidationError as error:
            faults.extend(Fault(path, number, problem) for problem in describe(error, schema))
        except (ValueError, RecursionError) as error:
            faults.append(Fault(path, number, f"not a JSON object in UTF-8: {error}"))
    return located, faults


def read(paths: list[Path], schema: type[Record]) -> list[Record]:
    """Reads the records of several files.

    Raises:
        DataError: with every fault in every file.
        FileNotFoundError: a file is missing.
    """
    parsed = [parse(path, schema) for path in paths]
    faults = [fault for _, found in parsed for fault in found]
    if faults:
        raise DataError(faults)
    return [located.record for found, _ in parsed for located in found]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
