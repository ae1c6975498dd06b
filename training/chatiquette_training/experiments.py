"""Experiments over several runs: the ladder of what pays, and what a model learns for the languages it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatiquette.taxonomy import LANGUAGES

from .baseline import baseline_probabilities
from .config import Config, ConfigError, load
from .dataset import load_split, load_train
from .evaluation import evaluate
from .scoring import probabilities
from .train import trained

BASE = "base"
"""The rung that the others are compared with."""


@dataclass(frozen=True)
class Rung:
    """One way to train, over several seeds.

    Attributes:
        name: of its configuration.
        macro_f1: language → macro F1 on validation, one a seed.
    """

    name: str
    macro_f1: dict[str, list[float]]

    @property
    def mean(self) -> float:
        """Mean over languages and seeds."""
        return float(np.mean(list(self.macro_f1.values())))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds of the mean over languages; 0 for a single seed."""
        by_seed = np.mean(list(self.macro_f1.values()), axis=0)
        return float(by_seed.std(ddof=1)) if len(by_seed) > 1 else 0.0


def ladder(files: Sequence[Path], seeds: Sequence[int]) -> list[Rung]:
    """Trains each configuration with each seed, ``runs/<name>-<seed>``, in the order given, and scores it on validation.

    Finished runs are taken as they are and interrupted ones continued. Thresholds are fitted on the same validation
    messages, alike for every rung. A TF-IDF baseline, which knows no seed, is added.

    Returns:
        The rungs, the best first.

    Raises:
        ConfigError: a file is faulty, or they can't be compared.
        DataError: the data has faults.
        RunError: a run of that name had other data or settings.
    """
    configs = [load(path) for path in files]
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"every configuration needs a name of its own; there are {', '.join(names)}")
    if len({(config.data.path, config.data.limit) for config in configs}) > 1:
        raise ConfigError("all configurations should have the same data.path and data.limit")
    base = next((config for config in configs if config.name == BASE), configs[0]).data
    messages = load_split(Path(base.path), "validation", base.limit)
    baseline = evaluate(messages, baseline_probabilities(load_train(base), messages))
    rungs = [Rung("TF-IDF", {lang: [score.value] for lang, score in baseline.macro_f1.items()})]
    for config in configs:
        scores: dict[str, list[float]] = {lang: [] for lang in baseline.macro_f1}
        for seed in seeds:
            run = trained(config.model_copy(update={"name": f"{config.name}-{seed}", "seed": seed}))
            for lang, score in evaluate(messages, probabilities(run, messages)).macro_f1.items():
                scores[lang].append(score.value)
        rungs.append(Rung(config.name, scores))
    return sorted(rungs, key=lambda rung: -rung.mean)


def ladder_rows(rungs: Sequence[Rung]) -> list[list[str]]:
    """Returns mean ± spread over the seeds, the difference from the base, and the languages, headings first."""
    base = next((rung.mean for rung in rungs if rung.name == BASE), None)
    rows = [["macro F1 on validation", "seeds", "mean ± spread", "against base", *rungs[0].macro_f1]]
    for rung in rungs:
        seeds = len(next(iter(rung.macro_f1.values())))
        against = "–" if base is None or rung.name == BASE else f"{rung.mean - base:+.3f}"
        languages = [f"{np.mean(scores):.3f}" for scores in rung.macro_f1.values()]
        rows.append([rung.name, str(seeds), f"{rung.mean:.3f} ± {rung.spread:.3f}", against, *languages])
    return rows


def cross_lingual(config: Config) -> dict[str, dict[str, float]]:
    """Trains on each language alone, on the three others, and on all four, and scores each run on validation.

    Each run sees as many messages as the language alone has, so that only the languages differ: the three others give a
    third each, all four a quarter, of the share that `config` sets. Runs are ``runs/<name>-<languages>``, reused where they
    are finished.

    Returns:
        Languages trained on, joined by ``+`` → language tested → macro F1.

    Raises:
        DataError: the data has faults.
        RunError: a run of that name had other data or settings.
    """
    messages = load_split(Path(config.data.path), "validation", config.data.limit)
    alone = [[language] for language in LANGUAGES]
    others = [[language for language in LANGUAGES if language != one] for one in LANGUAGES]
    matrix = {}
    for languages in (*alone, *others, list(LANGUAGES)):
        data = config.data.model_copy(
            update={"train_languages": languages, "train_share": config.data.train_share / len(languages)}
        )
        part = config.model_copy(update={"name": f"{config.name}-{'-'.join(languages)}", "data": data})
        scores = evaluate(messages, probabilities(trained(part), messages)).macro_f1
        matrix["+".join(languages)] = {language: score.value for language, score in scores.items()}
    return matrix
