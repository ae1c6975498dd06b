"""Checks a whole data set: each line's schema, unique ids and texts, pairs, and nothing shared between the splits."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from chatiquette.taxonomy import LANGUAGES

from .behaviour import BehaviouralTest, behaviour_files
from .conversations import Conversation
from .lines import Fault, Located, Record, parse
from .messages import Message
from .near_copies import near_copies

SPLITS = ("train", "validation", "test")

Found = Located[Message]


@dataclass(frozen=True)
class DataSet:
    """The sound records of a data set, with the places where they stand.

    Attributes:
        copies: every two near-copies, the earlier first, each with its split; a conversation's turns are in "conversations".
    """

    splits: dict[str, list[Found]]
    conversations: list[Located[Conversation]]
    copies: list[tuple[tuple[str, Found], tuple[str, Found]]]

    def messages(self) -> list[tuple[str, Message]]:
        """Returns every message with its split."""
        return [(split, one.record) for split, found in self.splits.items() for one in found]


def files(data: Path, split: str) -> list[Path]:
    """Returns the files of one split of the data set in the folder `data`, one a language."""
    return [data / "messages" / split / f"{language}.jsonl" for language in LANGUAGES]


def conversation_files(data: Path) -> list[Path]:
    """Returns the files of whole conversations that the data set in the folder `data` has."""
    return sorted((data / "conversations").glob("*.jsonl"))


def validate(data: Path) -> tuple[DataSet, list[Fault]]:
    """Reads the data set in the folder `data` and looks for faults.

    Returns:
        The sound records, and every fault in the order of files and lines.
    """
    faults: list[Fault] = []
    splits: dict[str, list[Found]] = {
        split: [one for path in files(data, split) for one in _read(path, Message, faults)] for split in SPLITS
    }
    conversations = [one for path in conversation_files(data) for one in _read(path, Conversation, faults)]
    everything = [one for split in SPLITS for one in splits[split]]
    faults += _repeated(everything, "id", lambda one: one.record.id)
    faults += _repeated(conversations, "id", lambda one: one.record.id)
    faults += _repeated(everything, "text with the same context", _content)
    faults += _pairs(everything)
    splits_and_conversations = {**splits, "conversations": _turns(conversations)}
    faults += _shared(splits_and_conversations, "scenario", lambda one: one.record.scenario)
    faults += _shared(splits_and_conversations, "author", lambda one: one.record.author)
    copies = _copies(splits_and_conversations)
    faults += [
        one.fault(f"leaks: a near-copy of {other.path}:{other.line}")
        for (other_split, other), (split, one) in copies
        if split != other_split
    ]
    for path in behaviour_files(data):
        _read(path, BehaviouralTest, faults)
    return DataSet(splits, conversations, copies), sorted(faults, key=lambda fault: (fault.path, fault.line))


def _read(path: Path, schema: type[Record], faults: list[Fault]) -> list[Located[Record]]:
    """Parses a file and adds what is wrong with it to `faults`."""
    if not path.is_file():
        faults.append(Fault(path, 0, "the file is missing"))
        return []
    located, found = parse(path, schema)
    faults += found
    if not located and not found:
        faults.append(Fault(path, 0, "the file is empty"))
    for one in located:
        lang = one.record.lang  # type: ignore[attr-defined]  # all schemas have it
        if lang != path.stem:
            faults.append(one.fault(f"lang: {lang!r} in the file of {path.stem!r}"))
    return located


def _turns(conversations: list[Located[Conversation]]) -> list[Found]:
    return [Located(one.path, one.line, message) for one in conversations for message in one.record.messages()]


def _content(one: Found) -> str:
    return "\n".join(
        re.sub(r"\W+", " ", text.casefold()).strip() for text in (one.record.text, one.record.context or "")
    )


def _repeated(records: list[Located[Record]], what: str, key: Callable[[Located[Record]], str]) -> list[Fault]:
    first: dict[str, Located[Record]] = {}
    faults = []
    for one in records:
        earlier = first.setdefault(key(one), one)
        if earlier is not one:
            faults.append(one.fault(f"repeats the {what} of {earlier.path}:{earlier.line}"))
    return faults


def _pairs(messages: list[Found]) -> list[Fault]:
    """Checks that a pair has two members, alike in all but the text, or the context, and the verdict on one category."""
    members: dict[str, list[Found]] = defaultdict(list)
    for one in messages:
        if one.record.pair is not None:
            members[one.record.pair].append(one)
    faults = []
    for pair, found in members.items():
        if len(found) != 2:
            faults += [one.fault(f"pair {pair!r} has {len(found)} member(s), not 2") for one in found]
            continue
        first, second = found
        fields = ["lang", "role", "scenario"]
        if first.record.text != second.record.text:
            fields.append("context")
        for field in fields:
            if getattr(first.record, field) != getattr(second.record, field):
                faults.append(second.fault(f"pair {pair!r}: {field} differs from {first.path}:{first.line}"))
        differing = {label.split(".")[0] for label in set(first.record.labels) ^ set(second.record.labels)}
        if len(differing) != 1:
            faults.append(
                second.fault(f"pair {pair!r}: the verdict on one category must differ, not on {sorted(differing)}")
            )
    return faults


def _shared(splits: dict[str, list[Found]], what: str, key: Callable[[Found], str]) -> list[Fault]:
    faults = []
    for earlier, later in combinations(splits, 2):
        owners = {key(one): one for one in splits[earlier]}
        for one in splits[later]:
            if key(one) in owners:
                other = owners[key(one)]
                faults.append(one.fault(f"leaks: {what} {key(one)!r} is also in {other.path}:{other.line}"))
    return faults


def _copies(splits: dict[str, list[Found]]) -> list[tuple[tuple[str, Found], tuple[str, Found]]]:
    everything = [(split, one) for split, found in splits.items() for one in found]
    return [(everything[i], everything[j]) for i, j in near_copies([one.record.text for _, one in everything])]
