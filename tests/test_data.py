"""The data set is sound, and what checks and describes it names file and line of every fault."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from chatiquette.taxonomy import LABEL_NAMES
from chatiquette_training.agreement import agreement
from chatiquette_training.conversations import Conversation
from chatiquette_training.dataset import load_split
from chatiquette_training.hard_cases import hard_cases
from chatiquette_training.lines import read
from chatiquette_training.messages import Message
from chatiquette_training.near_copies import near_copies
from chatiquette_training.validation import SPLITS, conversation_files

from .conftest import DATA, LANGUAGES, ROOT, chatiquette

FEWEST = {"train": 100, "validation": 20, "test": 25}
"""Messages of each label in each language."""


def test_the_data_set_is_large_and_varied_enough() -> None:
    messages = [message for split in SPLITS for message in load_split(DATA, split)]
    assert len(messages) >= 12_000
    assert len({message.domain for message in messages}) >= 20
    for language in LANGUAGES:
        mine = [message for message in messages if message.lang == language]
        assert len(mine) >= 2950
        assert sum(message.context is not None for message in mine) / len(mine) >= 0.6
        pairs = Counter(message.pair for message in mine if message.pair)
        assert len(pairs) >= 60


def test_every_label_is_in_every_split_of_every_language_often_enough() -> None:
    for split, fewest in FEWEST.items():
        counts = Counter((message.lang, label) for message in load_split(DATA, split) for label in message.labels)
        short = {(lang, label): counts[lang, label] for lang in LANGUAGES for label in LABEL_NAMES}
        assert {key: count for key, count in short.items() if count < fewest} == {}, split


def test_held_out_messages_were_read_twice_and_final_labels_come_from_the_readings() -> None:
    for split in SPLITS:
        for language in LANGUAGES:
            mine = [message for message in load_split(DATA, split) if message.lang == language]
            twice = [message for message in mine if message.annotations]
            assert len(twice) / len(mine) >= (0.19 if split == "train" else 1)
            for message in twice:
                first, second = map(set, message.annotations)
                if split != "train":  # where a look at probable label errors may have changed them since
                    assert first & second <= set(message.labels) <= first | second, message.id


def test_the_conversations_are_whole_and_read_twice() -> None:
    conversations = read(conversation_files(DATA), Conversation)
    assert Counter(conversation.lang for conversation in conversations) == dict.fromkeys(LANGUAGES, 40)
    for conversation in conversations:
        assert 6 <= len(conversation.turns) <= 25
        assert len({turn.agent for turn in conversation.turns if turn.agent}) >= 2
        assert len(conversation.annotations) >= 2
        assert all(len(turn.annotations) >= 2 for turn in conversation.turns)


def test_the_data_set_validates() -> None:
    result = chatiquette("data", "validate", DATA, cwd=DATA)
    assert result.returncode == 0, result.stderr
    assert "no faults" in result.stdout


def test_the_data_set_loads_as_its_card_says(tmp_path: Path) -> None:
    cache = str(tmp_path)  # or an earlier state of the folder might come from the user's
    messages = datasets.load_dataset(str(DATA), "messages", cache_dir=cache)
    assert {split: len(messages[split]) for split in SPLITS} == {
        split: len(load_split(DATA, split)) for split in SPLITS
    }
    conversations = datasets.load_dataset(str(DATA), "conversations", split="test", cache_dir=cache)
    assert len(conversations) == 160
    assert {"role", "agent", "time", "text", "labels", "annotations"} == set(conversations[0]["turns"][0])


def _line(path: Path, number: int) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[number - 1])
    return fields


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the data set with a fault of each kind appended, one a line."""
    folder = shutil.copytree(DATA, tmp_path / "data")
    train, test = (folder / "messages" / split / "en.jsonl" for split in ("train", "test"))
    sound, tested = _line(train, 1), _line(test, 1)
    fresh = {**sound, "id": "new", "text": "something that nobody has written before", "annotations": []}
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
        json.dumps({**fresh, "id": "alone", "text": "a pair of one is no pair", "pair": "single"}),
        json.dumps({**fresh, "id": "left", "text": "the left one of a false pair", "pair": "false", "labels": []}),
        json.dumps({**fresh, "id": "right", "text": "the right one of a false pair", "pair": "false", "labels": []}),
    ]
    with train.open("a", encoding="utf-8") as file:
        file.write("\n".join(faulty) + "\n")
    leak = {**tested, "id": "leak", "scenario": sound["scenario"], "author": sound["author"], "text": sound["text"]}
    with test.open("a", encoding="utf-8") as file:
        file.write(json.dumps(leak) + "\n")
    talk = _line(folder / "conversations" / "en.jsonl", 1)
    talk["turns"][0]["agent"] = "Nobody" if talk["turns"][0]["role"] == "customer" else None
    turned = _line(folder / "conversations" / "en.jsonl", 2)
    turned["turns"].reverse()
    zoned = _line(folder / "conversations" / "en.jsonl", 3)
    zoned["turns"][0]["time"] += "Z"
    (folder / "conversations" / "en.jsonl").write_text(
        "\n".join(map(json.dumps, (talk, turned, zoned))), encoding="utf-8"
    )
    return folder


def test_every_fault_is_named_with_file_and_line(broken: Path) -> None:
    result = chatiquette("data", "validate", "data", cwd=broken.parent)
    assert result.returncode == 1
    lines = len((DATA / "messages" / "train" / "en.jsonl").read_text(encoding="utf-8").splitlines())
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
        "repeats the text with the same context of data/messages/train/en.jsonl:1",
        "pair 'single' has 1 member(s), not 2",
        "",
        "pair 'false': the verdict on one category must differ, not on []",
    ]
    for number, problem in enumerate(expected, lines + 1):
        assert not problem or any(
            line.startswith(f"data/messages/train/en.jsonl:{number}: ") and problem in line
            for line in result.stderr.splitlines()
        ), f"line {number}: {problem}\n{result.stderr}"
    tested = len((DATA / "messages" / "test" / "en.jsonl").read_text(encoding="utf-8").splitlines()) + 1
    for problem in ("leaks: scenario", "leaks: author", "leaks: a near-copy"):
        assert f"data/messages/test/en.jsonl:{tested}: {problem}" in result.stderr
    assert "data/conversations/en.jsonl:1: turns.0: agent: a name for an agent's turn" in result.stderr
    assert "data/conversations/en.jsonl:2: the whole: turns: " in result.stderr
    assert "data/conversations/en.jsonl:3: turns.0.time: " in result.stderr


def test_a_missing_file_is_named(broken: Path) -> None:
    (broken / "messages" / "validation" / "sk.jsonl").unlink()
    result = chatiquette("data", "validate", broken, cwd=broken)
    assert "messages/validation/sk.jsonl:0: the file is missing" in result.stderr


def test_near_copies_are_found_and_others_are_not() -> None:
    texts = [
        "Your parcel left the depot in Turku this morning and arrives tomorrow",
        "Your parcel left the depot in Turku this morning and arrives on Friday",
        "Your parcel left us weeks ago and nobody here knows where it went",
        "ok",
        "ok",
    ]
    assert list(near_copies(texts)) == [(0, 1)]


def test_agreement_is_shown_by_label_and_language(tmp_path: Path) -> None:
    for folder in (DATA / "messages" / "test", DATA / "conversations"):
        result = chatiquette("data", "agreement", folder, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert all(label in result.stdout for label in LABEL_NAMES)
    single = {**_line(DATA / "messages" / "test" / "en.jsonl", 1), "annotations": []}
    (tmp_path / "en.jsonl").write_text(json.dumps(single), encoding="utf-8")
    assert "no message here was annotated twice" in chatiquette("data", "agreement", tmp_path, cwd=tmp_path).stderr


def _message(**fields: Any) -> Message:
    plain = {"id": "1", "lang": "en", "role": "agent", "domain": "bank", "scenario": "1", "author": "1"}
    return Message.model_validate({**plain, "context": None, "text": "Thank you", "labels": [], **fields})


def test_agreement_is_kappa_and_f1() -> None:
    polite: list[str] = ["politeness.followed"]
    # Both give it to 2 of 6, the first to one more: agreement 5/6, by chance (3 · 2 + 3 · 4) / 36 = 1/2.
    readings = [[polite, polite]] * 2 + [[polite, []]] + [[[], []]] * 3
    compared = agreement([_message(annotations=annotations) for annotations in readings])["en"]
    assert compared.kappa["politeness.followed"] == pytest.approx((5 / 6 - 1 / 2) / (1 / 2))
    assert compared.f1["politeness.followed"] == pytest.approx(0.8)
    assert list(compared.kappa) == ["politeness.followed"]


def test_hard_cases_are_told_by_labels_and_words() -> None:
    telling = [_message(text=f"Sorry, number {number}", labels=["apology.followed"]) for number in range(20)]
    several = _message(text="Hello", labels=["greeting.followed", "politeness.violated", "closure.violated"])
    kinds = hard_cases([*telling, _message(text="Sorry, which order?"), several, _message(pair="p", text="Fine.")])
    assert kinds[0] == set()
    assert kinds[20:] == [{"misleading word"}, {"several labels", "both verdicts"}, {"contrast pair"}]


def test_the_context_of_a_turn_is_the_last_message_of_the_other_side() -> None:
    turns = [
        {"role": "customer", "agent": None, "text": "Hi"},
        {"role": "customer", "agent": None, "text": "Anybody there?"},
        {"role": "agent", "agent": "Petra", "text": "Good morning!"},
        {"role": "agent", "agent": "Milan", "text": "Hello, Milan here."},
        {"role": "customer", "agent": None, "text": "At last"},
    ]
    conversation = Conversation.model_validate(
        {
            "id": "c",
            "lang": "en",
            "domain": "bank",
            "author": "a",
            "turns": [{**turn, "time": f"2026-03-02T09:00:0{n}", "labels": []} for n, turn in enumerate(turns)],
            "verdicts": {"opened_properly": True, "closed_properly": False, "customer_kept_waiting": False},
        }
    )
    contexts = [message.context for message in conversation.messages()]
    assert contexts == [None, None, "Anybody there?", "Anybody there?", "Hello, Milan here."]


def test_the_report_counts_and_draws_what_is_there(tmp_path: Path) -> None:
    result = chatiquette("data", "report", DATA, "--output", tmp_path / "report", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    test = load_split(DATA, "test")
    assert sum(figures["messages"]["test"].values()) == len(test)
    assert figures["labels"]["test"]["focus.violated"]["fi"] == sum(
        "focus.violated" in message.labels for message in test if message.lang == "fi"
    )
    assert figures["near_copies"]["across splits"] == 0
    assert figures["near_copies"]["share within"] < 0.02
    assert max(one["share"] for one in figures["openings"]) <= 0.004
    assert all(share >= 1 / 3 for share in figures["hard_cases"]["any of these"].values())
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    plots = sorted(path.name for path in (tmp_path / "report").glob("*.png"))
    assert len(plots) == 5
    assert all(f'src="{name}"' in page for name in plots)


def test_the_report_refuses_faulty_data(broken: Path) -> None:
    result = chatiquette("data", "report", broken, "--output", "report", cwd=broken)
    assert result.returncode == 1
    assert "not a JSON object" in result.stderr
    assert not (broken / "report").exists()


def test_training_refuses_faulty_data(broken: Path) -> None:
    result = chatiquette("train", ROOT / "configs" / "smoke.yaml", f"data.path={broken}", cwd=broken)
    assert result.returncode == 1
    assert "not a JSON object" in result.stderr
    assert "Traceback" not in result.stderr


def test_label_errors_are_listed_for_reading(tmp_path: Path) -> None:
    tiny = (f"data.path={DATA}", "data.limit=6", "optimisation.epochs=1", "name=tiny")
    result = chatiquette("data", "label-errors", ROOT / "configs" / "smoke.yaml", *tiny, "--folds", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    held_out = [
        {message.author for message in load_split(tmp_path / "runs" / f"tiny-fold-{number}" / "data", "test")}
        for number in (1, 2)
    ]
    assert held_out[0] & held_out[1] == set()
    for number, authors in enumerate(held_out, 1):
        fitted = load_split(tmp_path / "runs" / f"tiny-fold-{number}" / "data", "train")
        assert authors & {message.author for message in fitted} == set()
    given = {message.id: message.labels for message in load_split(DATA, "train")}
    suspects = [json.loads(line) for line in (tmp_path / "label-errors.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(suspect["given"] == (suspect["label"] in given[suspect["id"]]) for suspect in suspects)
    assert f"{len(suspects)} decisions" in result.stdout
    many = chatiquette("data", "label-errors", ROOT / "configs" / "smoke.yaml", *tiny, "--folds", "9", cwd=tmp_path)
    assert "9 folds need as many authors; the train split has 4" in many.stderr
