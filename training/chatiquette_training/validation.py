"""Checks a whole data set: each line's schema, unique ids and texts, and nothing shared between the splits."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer

from chatiquette.taxonomy import LANGUAGES

from .messages import Fault, Located, parse

SPLITS = ("train", "validation", "test")

NEAR_COPY = 0.6
"""Two texts whose sets of word 3-grams have at least this Jaccard similarity are near-copies."""


def files(data: Path, split: str) -> list[Path]:
    """Returns the files of one split of the data set in the folder `data`, one a language."""
    return [data / split / f"{language}.jsonl" for language in LANGUAGES]


def validate(data: Path) -> tuple[dict[str, list[Located]], list[Fault]]:
    """Reads the data set in the folder `data` and looks for faults.

    Returns:
        The sound messages by split, and every fault in the order of files and lines.
    """
    splits: dict[str, list[Located]] = {}
    faults: list[Fault] = []
    for split in SPLITS:
        splits[split] = []
        for path in files(data, split):
            if not path.is_file():
                faults.append(Fault(path, 0, "the file is missing"))
                continue
            located, found = parse(path)
            faults += found
            faults += [
                Fault(one.path, one.line, f"lang: {one.message.lang!r} in the file of {path.stem!r}")
                for one in located
                if one.message.lang != path.stem
            ]
            splits[split] += located
    everything = [one for split in SPLITS for one in splits[split]]
    faults += _repeated(everything, "id", lambda one: one.message.id)
    faults += _repeated(everything, "text with the same context", _content)
    faults += _shared(splits, "scenario", lambda one: one.message.scenario)
    faults += _shared(splits, "author", lambda one: one.message.author)
    faults += _near_copies(splits)
    return splits, sorted(faults, key=lambda fault: (fault.path, fault.line))


def _content(one: Located) -> str:
    return "\n".join(
        re.sub(r"\W+", " ", text.casefold()).strip() for text in (one.message.text, one.message.context or "")
    )


def _repeated(messages: list[Located], what: str, key: Callable[[Located], str]) -> list[Fault]:
    first: dict[str, Located] = {}
    faults = []
    for one in messages:
        earlier = first.setdefault(key(one), one)
        if earlier is not one:
            faults.append(Fault(one.path, one.line, f"repeats the {what} of {earlier.path}:{earlier.line}"))
    return faults


def _shared(splits: dict[str, list[Located]], what: str, key: Callable[[Located], str]) -> list[Fault]:
    faults = []
    for earlier, later in combinations(SPLITS, 2):
        owners = {key(one): one for one in splits[earlier]}
        for one in splits[later]:
            if key(one) in owners:
                other = owners[key(one)]
                faults.append(
                    Fault(one.path, one.line, f"leaks: {what} {key(one)!r} is also in {other.path}:{other.line}")
                )
    return faults


def _near_copies(splits: dict[str, list[Located]]) -> list[Fault]:
    """Finds texts that stand almost word for word in another split; texts under three words have no 3-gram."""
    everything = [(split, one) for split in SPLITS for one in splits[split]]
    vectorizer = CountVectorizer(ngram_range=(3, 3), binary=True, token_pattern=r"(?u)\w+", dtype="int32")
    try:
        grams = vectorizer.fit_transform(one.message.text for _, one in everything)
    except ValueError:  # no text of three words at all
        return []
    sizes = grams.sum(axis=1).A1
    common = (grams @ grams.T).tocoo()
    faults = []
    for i, j, shared in zip(common.row, common.col, common.data, strict=True):
        (split, one), (other_split, other) = everything[i], everything[j]
        if i > j and split != other_split and shared / (sizes[i] + sizes[j] - shared) >= NEAR_COPY:
            faults.append(Fault(one.path, one.line, f"leaks: a near-copy of {other.path}:{other.line}"))
    return faults
