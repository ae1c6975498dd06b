"""How far two annotators agree, by label and language."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Column, Table
from sklearn.metrics import cohen_kappa_score, f1_score

from chatiquette.taxonomy import LABEL_NAMES, LANGUAGES

from .messages import DataError, Fault


def agreement(folder: Path) -> Table:
    """Returns Cohen's (1960) kappa and the F1 of the second reading against the first, for the screen.

    Args:
        folder: ``<split>/<language>.jsonl``, each line ``{"id", "first": [labels], "second": [labels]}``; all splits are
            pooled.

    Raises:
        DataError: a line is not of that form.
        FileNotFoundError: there are no such files.
    """
    files = {language: sorted(folder.glob(f"*/{language}.jsonl")) for language in LANGUAGES}
    readings = {language: _read(paths) for language, paths in files.items() if paths}
    if not readings:
        raise FileNotFoundError(f"{folder}: no annotations here; expected files such as test/en.jsonl")
    table = Table(Column("label", no_wrap=True), *readings, title="Cohen's kappa, F1 between two readings")
    for i, label in enumerate(LABEL_NAMES):
        cells = [
            f"{cohen_kappa_score(first[:, i], second[:, i]):.2f}, {f1_score(first[:, i], second[:, i]):.2f}"
            for first, second in readings.values()
        ]
        table.add_row(label, *cells)
    macro = [f"macro F1 {f1_score(first, second, average='macro'):.3f}" for first, second in readings.values()]
    table.add_section()
    table.add_row("all labels", *macro)
    table.add_row("messages", *(str(len(first)) for first, _ in readings.values()))
    return table


def _read(paths: list[Path]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    first, second = [], []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                reading = json.loads(line)
                first.append([label in reading["first"] for label in LABEL_NAMES])
                second.append([label in reading["second"] for label in LABEL_NAMES])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError([Fault(path, number, f"should hold id, first and second: {error!r}")]) from error
    return np.array(first), np.array(second)
