"""The data set is sound, and `chatiquette data validate` names file and line of every fault."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chatiquette.taxonomy import LABEL_NAMES
from chatiquette_training.dataset import load_split
from chatiquette_training.validation import SPLITS

from .conftest import LANGUAGES, MESSAGES, ROOT, chatiquette


def test_the_data_set_is_large_and_varied_enough() -> None:
    messages = [message for split in SPLITS for message in load_split(MESSAGES, split)]
    for language in LANGUAGES:
        mine = [message for message in messages if message.lang == language]
        assert len(mine) >= 1200
        assert sum(message.context is not None for message in mine) / len(mine) >= 0.6
        counts = Counter(label for message in mine for label in message.labels)
        assert min(counts[label] for label in LABEL_NAMES) >= 40


def test_the_data_set_validates() -> None:
    result = chatiquette("data", "validate", MESSAGES, cwd=MESSAGES)
    assert result.returncode == 0, result.stderr
    assert "no faults" in result.stdout


def _line(path: Path, number: int) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[number - 1])
    return fields


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the data set with a fault of each kind appended, one a line."""
    folder = shutil.copytree(MESSAGES, tmp_path / "messages")
    train, test = folder / "train" / "en.jsonl", folder / "test" / "en.jsonl"
    sound, tested = _line(train, 1), _line(test, 1)
    fresh = {**sound, "id": "new", "text": "something that nobody has written before"}
    faulty = [
        "{torn",
        json.dumps({**fresh, "labels": ["closure.folowed"]}),
        json.dumps({**fresh, "labels": ["closure.followed", "closure.violated"]}),
        json.dumps({**fresh, "lable": []}),
        json.dumps({key: value for key, value in fresh.items() if key != "role"}),
        json.dumps({**fresh, "lang": "fi"}),
        json.dumps({**fresh, "text": "  "}),
        json.dumps({**fresh, "role": "customer", "labels": ["closure.followed"]}),
        json.dumps({**fresh, "id": sound["id"], "text": "another text that nobody has written"}),
        json.dumps({**sound, "id": "newer"}),
    ]
    with train.open("a", encoding="utf-8") as file:
        file.write("\n".join(faulty) + "\n")
    leak = {**tested, "id": "leak", "scenario": sound["scenario"], "author": sound["author"], "text": sound["text"]}
    with test.open("a", encoding="utf-8") as file:
        file.write(json.dumps(leak) + "\n")
    return folder


def test_every_fault_is_named_with_file_and_line(broken: Path) -> None:
    result = chatiquette("data", "validate", "messages", cwd=broken.parent)
    assert result.returncode == 1
    lines = len((MESSAGES / "train" / "en.jsonl").read_text(encoding="utf-8").splitlines())
    expected = [
        "not a JSON object in UTF-8",
        "labels: unknown label 'closure.folowed'; did you mean 'closure.followed'?",
        "labels: 2 labels in the category 'closure', at most one verdict is allowed",
        "lable: unknown key; did you mean 'labels'?",
        "role: missing",
        "lang: 'fi' in the file of 'en'",
        "text: should match pattern",
        "a customer's message can't be labelled closure.followed",
        "repeats the id of",
        "repeats the text with the same context of messages/train/en.jsonl:1",
    ]
    for number, problem in enumerate(expected, lines + 1):
        assert any(
            line.startswith(f"messages/train/en.jsonl:{number}: ") and problem in line
            for line in result.stderr.splitlines()
        ), f"line {number}: {problem}\n{result.stderr}"
    tested = len((MESSAGES / "test" / "en.jsonl").read_text(encoding="utf-8").splitlines()) + 1
    for problem in ("leaks: scenario", "leaks: author", "leaks: a near-copy"):
        assert f"messages/test/en.jsonl:{tested}: {problem}" in result.stderr


def test_a_missing_file_is_named(broken: Path) -> None:
    (broken / "validation" / "sk.jsonl").unlink()
    result = chatiquette("data", "validate", broken, cwd=broken)
    assert "validation/sk.jsonl:0: the file is missing" in result.stderr


def test_agreement_is_shown_by_label_and_language(tmp_path: Path) -> None:
    result = chatiquette("data", "agreement", MESSAGES.parent / "annotations", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(label in result.stdout for label in LABEL_NAMES)
    assert "no annotations here" in chatiquette("data", "agreement", tmp_path, cwd=tmp_path).stderr


def test_annotations_are_of_the_held_out_messages_and_final_labels_come_from_them() -> None:
    for split in ("validation", "test"):
        for language in LANGUAGES:
            path = MESSAGES.parent / "annotations" / split / f"{language}.jsonl"
            readings = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            messages = [message for message in load_split(MESSAGES, split) if message.lang == language]
            assert [reading["id"] for reading in readings] == [message.id for message in messages]
            for reading, message in zip(readings, messages, strict=True):
                first, second, final = set(reading["first"]), set(reading["second"]), set(message.labels)
                assert first & second <= final <= first | second


def test_training_refuses_faulty_data(broken: Path) -> None:
    result = chatiquette("train", ROOT / "configs" / "smoke.yaml", f"data.path={broken}", cwd=broken)
    assert result.returncode == 1
    assert "not a JSON object" in result.stderr
    assert "Traceback" not in result.stderr
