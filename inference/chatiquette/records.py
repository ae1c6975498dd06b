"""Reads messages from arguments, text, JSON Lines and CSV, and writes verdicts as a table, JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from .classifier import Prediction
from .taxonomy import CATEGORIES, LABEL_NAMES, ROLES, Role

Form = Literal["table", "jsonl", "csv"]
Write = Callable[["Record", Prediction], None]

_LARGEST_FIELD = 2**30  # characters; the csv module stops at 128 kB by itself
_NOT_UTF8 = "not in UTF-8; save the file in that encoding"
_UNDECODED = re.compile("[\udc80-\udcff]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # escape sequences must not reach the terminal
_READ_ENDINGS = (".jsonl", ".csv", ".txt")
_WRITE_FORMS: dict[str, Form] = {".jsonl": "jsonl", ".csv": "csv"}
_DISPLAY = {label.name: label for category in CATEGORIES for label in category.labels}
_COLOUR = {"followed": "green", "violated": "red"}


@dataclass(frozen=True)
class Record:
    """A message to classify, with whatever else its line held."""

    text: str
    context: str | None
    role: Role | None
    fields: dict[str, Any]


@dataclass(frozen=True)
class BadLine:
    """A line that could not be read, counted from 1."""

    source: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.problem}"


def form_of(output: Path) -> Form:
    """Returns the form that a file's ending asks for; a table for any other ending."""
    return _WRITE_FORMS.get(output.suffix.lower(), "table")


def read(inputs: tuple[str, ...], console: Console) -> Iterator[Record | BadLine]:
    """Reads arguments, each a message or a file, or standard input where there is none; files show a progress bar.

    Raises:
        OSError: a file that was named can't be opened.
    """
    if not inputs:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from _read_text(sys.stdin, "standard input")
    for argument in inputs:
        if names_file(argument):
            yield from _read_file(Path(argument), console)
        else:
            yield Record(argument, None, None, {"text": argument})


def names_file(argument: str) -> bool:
    """Tells a file from a message; what looks like a file but isn't there counts as one, to be reported missing."""
    return argument.lower().endswith(_READ_ENDINGS) and (" " not in argument or os.path.isfile(argument))  # noqa: PTH113, Path raises for a long message


@contextmanager
def writer(output: Path | None, form: Form, language: str) -> Iterator[Write]:
    """Opens the output and gives the function that writes one record with its prediction."""
    # Half characters, which JSON can hold and UTF-8 can't, are written as the escapes that JSON reads again.
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        yield from _write(sys.stdout, form, language)
    else:
        with output.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield from _write(file, form, language)


def _read_file(path: Path, console: Console) -> Iterator[Record | BadLine]:
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".txt": _read_text}
    size = path.stat().st_size
    with (
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(path.name, total=size)

        def lines() -> Iterator[str]:
            for line in file:
                yield line
                progress.advance(task, len(line.encode("utf-8", "surrogateescape")))

        yield from readers[path.suffix.lower()](lines(), str(path))


def _read_text(lines: Iterable[str], source: str) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            yield _record({"text": text}, source, number) if _decoded(text) else BadLine(source, number, _NOT_UTF8)


def _read_jsonl(lines: Iterable[str], source: str) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not _decoded(line):
            yield BadLine(source, number, _NOT_UTF8)
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadLine(source, number, f"not JSON: {error}")
            continue
        yield _record(fields, source, number)


def _read_csv(lines: Iterable[str], source: str) -> Iterator[Record | BadLine]:
    csv.field_size_limit(_LARGEST_FIELD)
    reader = csv.DictReader(lines, strict=True)
    try:
        if "text" not in (reader.fieldnames or []):
            yield BadLine(source, 1, 'the first line should name the columns, among them "text"')
            return
        for fields in reader:
            if None in fields or None in fields.values():
                yield BadLine(source, reader.line_num, f"should have {len(reader.fieldnames or [])} columns")
            elif not all(map(_decoded, fields.values())):
                yield BadLine(source, reader.line_num, _NOT_UTF8)
            else:
                empty = {name: fields.get(name) or None for name in ("context", "role") if name in fields}
                yield _record({**fields, **empty}, source, reader.line_num)
    except csv.Error as error:
        yield BadLine(source, reader.line_num, f"not CSV, the rest is left out: {error}")


def _decoded(text: str) -> bool:
    """Tells whether the bytes of the text were UTF-8; those that weren't stand in it as lone surrogates."""
    return _UNDECODED.search(text) is None


def _record(fields: Any, source: str, number: int) -> Record | BadLine:
    if not isinstance(fields, dict):
        return BadLine(source, number, 'should be an object with the key "text"')
    text, context, role = fields.get("text"), fields.get("context"), fields.get("role")
    if not isinstance(text, str):
        return BadLine(source, number, f'"text" should be a string, got {text!r:.40}')
    if context is not None and not isinstance(context, str):
        return BadLine(source, number, f'"context" should be a string or null, got {context!r:.40}')
    role = role.strip().lower() if isinstance(role, str) else role
    if role is not None and role not in ROLES:
        return BadLine(
            source,
            number,
            f'"role" should be "agent", "customer" or null, got {role!r:.40}; rename it if it means something else',
        )
    return Record(text, context, role, fields)


def _write(file: TextIO, form: Form, language: str) -> Iterator[Write]:
    if form == "jsonl":
        yield lambda record, prediction: _write_jsonl(file, record, prediction)
    elif form == "csv":
        yield _CsvWriter(file).write
    else:
        table = Table(show_lines=True)
        table.add_column("Message", overflow="fold", ratio=3)
        table.add_column("Verdicts", overflow="fold", ratio=2)
        yield lambda record, prediction: table.add_row(_said(record), _verdicts(prediction, language))
        Console(file=file).print(table)


def _write_jsonl(file: TextIO, record: Record, prediction: Prediction) -> None:
    result = {
        **record.fields,
        "labels": prediction.labels,
        "verdicts": prediction.verdicts,
        "probabilities": {label: round(p, 4) for label, p in prediction.probabilities.items()},
        "truncated": prediction.truncated,
    }
    file.write(json.dumps(result, ensure_ascii=False) + "\n")


class _CsvWriter:
    """Writes the columns of the first record, then what was found; later records fill the same columns."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows: csv.DictWriter[str] | None = None

    def write(self, record: Record, prediction: Prediction) -> None:
        if self._rows is None:
            columns = dict.fromkeys([*record.fields, "text", "context", "labels", "truncated", *LABEL_NAMES])
            self._rows = csv.DictWriter(self._file, list(columns), extrasaction="ignore")
            self._rows.writeheader()
        found = {"labels": " ".join(prediction.labels), "truncated": prediction.truncated}
        probabilities = {label: f"{p:.4f}" for label, p in prediction.probabilities.items()}
        self._rows.writerow({**record.fields, **found, **probabilities})


def _said(record: Record) -> Text:
    said = Text()
    if record.context:
        said.append(f"› {_printable(record.context)}\n", style="dim")
    return said.append(_printable(record.text))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)


def _verdicts(prediction: Prediction, language: str) -> Text:
    lines = [
        Text(
            f"{_DISPLAY[label].display[language]} {prediction.probabilities[label]:.0%}",
            _COLOUR[_DISPLAY[label].verdict],
        )
        for label in prediction.labels
    ]
    return Text("\n").join(lines)
