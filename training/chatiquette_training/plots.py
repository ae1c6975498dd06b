"""Plots of a data set and of results, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")  # before pyplot: no display is needed

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import precision_recall_curve

from chatiquette.taxonomy import LANGUAGES

from .calibration import expected_calibration_error, reliability

if TYPE_CHECKING:  # what draws needs no trainer, whose import takes seconds
    from .evaluation import Evaluation
    from .experiments import Rung

FloatArray = npt.NDArray[np.float32]

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = dict(zip(LANGUAGES, ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), strict=True))
NAMES = {"en": "English", "ro": "Romanian", "sk": "Slovak", "fi": "Finnish"}

_DPI = 130


def plot_heat_maps(
    path: Path,
    panels: Mapping[str, Mapping[str, Mapping[str, float]]],
    form: str,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Draws one heat map a panel: row → column → value, written into the cells with the format `form`.

    The colours run from `low` to `high`, by default each panel's extremes.
    """
    rows = list(next(iter(panels.values())))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.2 + 2.4 * len(panels), 0.3 * len(rows) + 1), squeeze=False, sharey=True
    )
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        columns = list(dict.fromkeys(column for row in rows for column in values[row]))
        grid = np.array([[values[row].get(column, np.nan) for column in columns] for row in rows])
        image = axis.imshow(grid, cmap="viridis", aspect="auto", vmin=low, vmax=high)
        for y, x in np.argwhere(~np.isnan(grid)):
            dark = image.norm(grid[y, x]) < 0.6
            axis.text(x, y, form.format(grid[y, x]), ha="center", va="center", color="white" if dark else "black")
        axis.set_xticks(range(len(columns)), columns)
        axis.set_yticks(range(len(rows)), rows)
        axis.set_title(title)
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
    _save(figure, path)


def plot_lengths(path: Path, words: Mapping[str, Sequence[int]]) -> None:
    """Draws how many words a message has, as the share of a language's messages."""
    figure, axis = plt.subplots(figsize=(7, 3.6))
    edges = np.arange(0, 84, 4)
    for language, counts in words.items():
        share = np.histogram(np.clip(counts, 0, edges[-1] - 1), edges)[0] / len(counts)
        axis.plot(edges[:-1] + 2, 100 * share, marker="o", ms=3, color=COLOURS[language], label=NAMES[language])
    axis.set_xlabel("words in a message")
    axis.set_ylabel("% of messages")
    axis.legend(frameon=False)
    _tidy(axis)
    _save(figure, path)


def plot_stacks(path: Path, counts: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Draws one bar a row, stacked by language: row → language → value."""
    rows = sorted(counts, key=lambda row: sum(counts[row].values()))
    figure, axis = plt.subplots(figsize=(7, 0.25 * len(rows) + 1))
    left = np.zeros(len(rows))
    for language in LANGUAGES:
        widths = np.array([counts[row].get(language, 0) for row in rows])
        axis.barh(rows, widths, left=left, color=COLOURS[language], label=NAMES[language])
        left += widths
    axis.set_xlabel(label)
    axis.legend(frameon=False, loc="lower right")
    _tidy(axis)
    _save(figure, path)


def plot_groups(path: Path, values: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Draws a group of bars a row, one bar a language: row → language → value."""
    rows = list(values)
    figure, axis = plt.subplots(figsize=(7, 0.7 * len(rows) + 1))
    height = 0.8 / len(LANGUAGES)
    for number, language in enumerate(LANGUAGES):
        at = np.arange(len(rows)) + (number - (len(LANGUAGES) - 1) / 2) * height
        bars = axis.barh(
            at, [values[row][language] for row in rows], height, color=COLOURS[language], label=NAMES[language]
        )
        axis.bar_label(bars, fmt="%.3g", padding=2, fontsize=7)
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
    axis.set_xlabel(label)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _tidy(axis)
    _save(figure, path)


def plot_learning_curve(curve: Mapping[float, Evaluation], path: Path) -> None:
    """Draws macro F1 with its 95 % interval over the share of the train messages."""
    figure, axis = plt.subplots(figsize=(7, 4))
    shares = sorted(curve)
    for number, language in enumerate(curve[shares[0]].macro_f1):
        scores = [curve[share].macro_f1[language] for share in shares]
        value = np.array([score.value for score in scores])
        bars = np.array([[score.value - score.low, score.high - score.value] for score in scores]).clip(min=0).T
        at = 100 * np.array(shares) + number - 1.5  # beside each other, so that the intervals can be told apart
        axis.errorbar(at, value, bars, marker="o", ms=4, capsize=2, color=COLOURS[language], label=NAMES[language])
    axis.set_xticks([100 * share for share in shares])
    axis.set_xlabel("% of the train messages")
    axis.set_ylabel("macro F1 on the test split")
    axis.legend(frameon=False, loc="lower right")
    _tidy(axis)
    _save(figure, path)


def plot_reliability(path: Path, panels: Mapping[str, Mapping[str, tuple[FloatArray, FloatArray]]]) -> None:
    """Draws how often a decision holds over how probable it was said to be, with the expected calibration error.

    Args:
        path: the PNG.
        panels: title → language → probabilities and truth of all decisions.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4.2), squeeze=False, sharey=True)
    for axis, (title, by_language) in zip(axes[0], panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", lw=1, ls=":")
        for language, (probabilities, truth) in by_language.items():
            said, held, _ = reliability(probabilities, truth)
            label = f"{NAMES[language]}, error {expected_calibration_error(probabilities, truth):.3f}"
            axis.plot(said, held, marker="o", ms=4, color=COLOURS[language], label=label)
        axis.set_title(title)
        axis.set_xlabel("probability")
        axis.legend(frameon=False, fontsize=8)
        _tidy(axis)
    axes[0, 0].set_ylabel("share that holds")
    _save(figure, path)


def plot_precision_recall(
    path: Path, labels: Sequence[str], truth: Mapping[str, FloatArray], probabilities: Mapping[str, FloatArray]
) -> None:
    """Draws precision over recall, a small plot a label and a line a language; a dot marks the threshold of 0.5.

    Args:
        path: the PNG.
        labels: the labels, in the order of the columns.
        truth: language → 0 or 1, ``[messages, labels]``.
        probabilities: language → the same shape.
    """
    across = 6
    down = -(-len(labels) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(2.2 * across, 2.1 * down), sharex=True, sharey=True, squeeze=False
    )
    for number, axis in enumerate(axes.flat):
        if number >= len(labels):
            axis.axis("off")
            continue
        for language, given in truth.items():
            y, p = given[:, number] > 0, probabilities[language][:, number]
            if not y.any():
                continue
            precision, recall, _ = precision_recall_curve(y, p)
            axis.plot(recall, precision, color=COLOURS[language], lw=1.2, label=NAMES[language])
            decided = p >= 0.5
            if decided.any():
                axis.plot((y & decided).sum() / y.sum(), y[decided].mean(), "o", ms=4, color=COLOURS[language])
        axis.set_title(labels[number], fontsize=8)
        axis.set_xlim(0, 1.02)
        axis.set_ylim(0, 1.02)
        _tidy(axis)
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    handles = [Line2D([], [], color=COLOURS[language], label=NAMES[language]) for language in truth]
    figure.legend(handles=handles, loc="lower right", frameon=False)
    figure.tight_layout()
    _save(figure, path)


def plot_ladder(rungs: Sequence[Rung], path: Path) -> None:
    """Draws each rung's macro F1: a point a seed, and a line at the mean."""
    figure, axis = plt.subplots(figsize=(7, 0.32 * len(rungs) + 1))
    for row, rung in enumerate(rungs):
        seeds = np.mean(list(rung.macro_f1.values()), axis=0)
        axis.scatter(seeds, [row] * len(seeds), s=18, color=COLOURS["en"], alpha=0.7)
        axis.scatter(rung.mean, row, marker="|", s=160, color="black")
    axis.set_yticks(range(len(rungs)), [rung.name for rung in rungs])
    axis.invert_yaxis()
    axis.set_xlabel("macro F1 on validation, mean of the languages (one point a seed)")
    _tidy(axis)
    _save(figure, path)


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    plt.close(figure)
