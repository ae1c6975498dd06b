"""Behavioural tests, changed messages and other people's data: what the model is held against beside the test split."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from chatiquette_training.behaviour import BehaviouralTest, behaviour_files
from chatiquette_training.lines import read
from chatiquette_training.perturbations import toggle_end, type_badly, type_in_a_hurry, without_diacritics

from .conftest import DATA, LANGUAGES, SHIPPED, chatiquette

MESSAGE = "Bună ziua, vă mulțumesc pentru răbdare; coletul dumneavoastră pleacă mâine dimineață din Cluj."


def test_typos_are_few_and_leave_the_rest() -> None:
    for seed in range(50):
        typed = type_badly(MESSAGE, random.Random(seed))
        before, after = MESSAGE.split(), typed.split()
        assert len(before) == len(after)
        wrong = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
        assert len(wrong) <= 2
        assert all(abs(len(one) - len(other)) <= 1 for one, other in wrong)
    assert type_badly("Ok no", random.Random(0)) == "Ok no", "short words stay"


def test_a_hurried_message_keeps_its_words() -> None:
    def letters(text: str) -> str:
        return re.sub(r"[^a-z]", "", without_diacritics(text).lower())

    hurried = {type_in_a_hurry(MESSAGE, random.Random(seed)) for seed in range(50)}
    assert len(hurried) > 20
    assert all(abs(len(letters(text)) - len(letters(MESSAGE))) <= 2 for text in hurried)
    assert toggle_end("Kiitos!") == "Kiitos"
    assert toggle_end("Kiitos") == "Kiitos."
    assert toggle_end("Kiitos?") == "Kiitos?"


def test_every_language_has_every_behavioural_test() -> None:
    tests = read(behaviour_files(DATA), BehaviouralTest)
    for language in LANGUAGES:
        kinds = [test.kind for test in tests if test.lang == language]
        assert {kind: kinds.count(kind) >= 8 for kind in kinds} == dict.fromkeys(
            ("names", "gender", "nationality", "brand", "numbers", "identity", "complaint", "dialect"), True
        )


def test_a_group_that_tests_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "behaviour").mkdir()
    group = {
        "id": "a",
        "lang": "en",
        "kind": "names",
        "role": "agent",
        "context": None,
        "texts": ["Hi Ann"],
        "never": [],
    }
    (tmp_path / "behaviour" / "en.jsonl").write_text(json.dumps(group) + "\n", encoding="utf-8")
    result = chatiquette("data", "validate", tmp_path, cwd=tmp_path)
    assert result.returncode == 1
    assert re.search(r"behaviour/en\.jsonl:1: .*two or more for 'names'", result.stderr)


def test_the_robustness_suite_measures_the_shipped_model(tmp_path: Path) -> None:
    # A part of the messages, to be quick; the documented figures come from all of them.
    for folder in ("messages/test", "behaviour"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for language in LANGUAGES:
            lines = (DATA / folder / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
            kept = lines[-60:] if folder == "messages/test" else lines
            pairs = [json.loads(line).get("pair") for line in kept]
            whole = [line for line, pair in zip(kept, pairs, strict=True) if pair is None or pairs.count(pair) == 2]
            (tmp_path / "data" / folder / f"{language}.jsonl").write_text("\n".join(whole), encoding="utf-8")
    result = chatiquette("robustness", SHIPPED, "data", "--output", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))
    assert found["macro_f1"].keys() == {"as written", *found["unchanged"]}
    for rates in (*found["unchanged"].values(), *found["invariance"].values(), *found["not_faulted"].values()):
        assert all(0.5 < rate <= 1 for rate in rates.values())
    assert min(found["direction"].values()) > 0.5
    assert "contrast pairs told apart" in (tmp_path / "out" / "robustness.md").read_text(encoding="utf-8")


def test_the_model_is_held_against_other_peoples_data(tmp_path: Path) -> None:
    rows = [
        "text,rude",
        *['"Thank you so much, you are very kind.",no'] * 6,
        *["Shut up you idiot.,yes"] * 5,
        "Hm,maybe",
    ]
    (tmp_path / "theirs.csv").write_text("\n".join(rows), encoding="utf-8")
    values = ("--column", "rude", "--positive", "yes", "--negative", "no")
    result = chatiquette("external", "theirs.csv", "politeness.violated", *values, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"auroc\s*│ 1\.000 \(1\.00–1\.00\)", result.stdout)
    assert "5 rows with the label, 6 without, 1 left out" in result.stdout
    assert "left out, 1 ×: rude is 'maybe'" in result.stderr


@pytest.mark.parametrize(
    ("label", "column", "said"),
    [
        ("politness.violated", "rude", "did you mean 'politeness.violated'?"),
        ("politeness.violated", "rudeness", "1 × no value in the column 'rudeness'"),
        ("politeness.violated", "rude", "no row is positive"),
    ],
)
def test_what_cannot_be_scored_is_explained(tmp_path: Path, label: str, column: str, said: str) -> None:
    (tmp_path / "theirs.csv").write_text("text,rude\nHello,no\n", encoding="utf-8")
    result = chatiquette("external", "theirs.csv", label, "--column", column, cwd=tmp_path)
    assert result.returncode == 1
    assert said in result.stderr
