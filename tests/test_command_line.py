"""The command line, run as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from .conftest import ROOT, chatiquette

CONTEXT = "Thanks, that solved it!"


def test_arguments_give_a_table(tmp_path: Path) -> None:
    result = chatiquette("classify", "Done. Bye.", "--context", CONTEXT, cwd=tmp_path)
    assert result.returncode == 0
    assert "Done. Bye." in result.stdout
    assert CONTEXT in result.stdout
    assert "abrupt ending" in result.stdout


def test_names_in_the_table_follow_the_language(tmp_path: Path) -> None:
    result = chatiquette("classify", "Done. Bye.", "--context", CONTEXT, "--language", "fi", cwd=tmp_path)
    assert "töksähtävä lopetus" in result.stdout


def test_standard_input_gives_one_line_each(tmp_path: Path) -> None:
    result = chatiquette("classify", "--format", "jsonl", cwd=tmp_path, stdin="Done. Bye.\n\nKiitos paljon!\n")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["Done. Bye.", "Kiitos paljon!"]


def test_json_lines_keep_their_fields_and_bad_lines_are_named(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "Done. Bye.", "context": CONTEXT, "chat": 7}),
        "{broken",
        json.dumps({"message": "no text"}),
        json.dumps({"text": "\ud83d half"}),
        json.dumps([1]),
        json.dumps({"text": "Hello!", "context": 3}),
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = chatiquette("classify", "chat.jsonl", "--output", "out.jsonl", cwd=tmp_path)
    assert result.returncode == 1
    for line in (2, 3, 5, 6):
        assert f"chat.jsonl:{line}:" in result.stderr
    assert "4 line(s) could not be read" in result.stderr
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["text"] for record in written] == ["Done. Bye.", "\ud83d half"]
    assert written[0]["chat"] == 7
    assert written[0]["verdicts"]["closure"] == "violated"
    assert len(written[0]["probabilities"]) == 23


def test_csv_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_text(
        f'text,context\n"Done.\nBye.","{CONTEXT}"\nHello!,\none,two,three\n', encoding="utf-8"
    )
    result = chatiquette("classify", "chat.csv", "--format", "csv", cwd=tmp_path)
    assert result.returncode == 1
    assert "chat.csv:5: should have 2 columns" in result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines(keepends=True)))
    assert [row["text"] for row in rows] == ["Done.\nBye.", "Hello!"]
    assert "closure.violated" in rows[0]["labels"].split()
    assert float(rows[0]["closure.violated"]) >= 0.5


def test_customers_are_judged_as_customers(tmp_path: Path) -> None:
    hello = "Hello, how can I help you?"
    (tmp_path / "chat.csv").write_text(f'text,role\n"{hello}",customer\n"{hello}",\nHi,bot\n', encoding="utf-8")
    result = chatiquette("classify", "chat.csv", "--format", "jsonl", cwd=tmp_path)
    assert """chat.csv:4: "role" should be "agent", "customer" or null, got 'bot'""" in result.stderr
    customer, agent = (json.loads(line) for line in result.stdout.splitlines())
    assert "greeting" in agent["verdicts"]
    assert "greeting" not in customer["verdicts"]
    said = chatiquette("classify", hello, "--role", "customer", "--format", "jsonl", cwd=tmp_path)
    assert "greeting" not in json.loads(said.stdout)["verdicts"]


def test_other_columns_of_a_csv_are_kept(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_text("id,text\n7,Hello!\n", encoding="utf-8")
    result = chatiquette("classify", "chat.csv", "--format", "csv", cwd=tmp_path)
    assert [row["id"] for row in csv.DictReader(result.stdout.splitlines())] == ["7"]


def test_what_is_not_utf8_is_named_and_left_out(tmp_path: Path) -> None:
    files = {
        "chat.txt": "ok\ndobr\xfd\n",
        "chat.jsonl": '{"text": "ok"}\n{"text": "dobr\xfd"}\n',
        "chat.csv": "text\ndobr\xfd\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode("latin-1"))
        result = chatiquette("classify", name, "--format", "jsonl", cwd=tmp_path)
        assert f"{name}:2: not in UTF-8" in result.stderr
        assert "dobr" not in result.stdout


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    line = json.dumps({"text": "Hello!"})
    (tmp_path / "chat.jsonl").write_text(line, encoding="utf-8")
    for inputs in (["chat.jsonl"], ["chat.jsonl", "gone.jsonl"]):
        result = chatiquette("classify", *inputs, "--output", "chat.jsonl", cwd=tmp_path)
        assert result.returncode == 1
        assert (tmp_path / "chat.jsonl").read_text(encoding="utf-8") == line


def test_a_csv_without_text_and_a_missing_file_are_explained(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_text("message\nHello\n", encoding="utf-8")
    assert (
        'chat.csv:1: the first line should name the columns, among them "text"'
        in chatiquette("classify", "chat.csv", cwd=tmp_path).stderr
    )
    missing = chatiquette("classify", "gone.jsonl", cwd=tmp_path)
    assert missing.returncode == 1
    assert "gone.jsonl" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_folder_that_is_no_bundle_is_explained(tmp_path: Path) -> None:
    result = chatiquette("classify", "Hi", "--model", tmp_path, cwd=tmp_path)
    assert result.returncode == 1
    assert "no bundle here" in result.stderr


@pytest.mark.parametrize("language", ["en", "ro", "sk", "fi"])
def test_the_demo_shows_the_four_main_rules(language: str) -> None:
    sample = ROOT / "data" / "samples" / f"{language}.jsonl"
    result = chatiquette("classify", sample, "--format", "jsonl", cwd=ROOT)
    verdicts = [json.loads(line)["verdicts"] for line in result.stdout.splitlines()]
    found = {(category, verdict) for message in verdicts for category, verdict in message.items()}
    assert {("focus", "violated"), ("honesty", "violated"), ("politeness", "violated")} <= found
    assert {("closure", "followed"), ("closure", "violated")} & found


def test_labels_lists_all(tmp_path: Path) -> None:
    result = chatiquette("labels", "--language", "sk", cwd=tmp_path)
    assert "feedback.followed" in result.stdout
    assert "mimo témy" in result.stdout


def test_help_names_every_command(tmp_path: Path) -> None:
    result = chatiquette("--help", cwd=tmp_path)
    for command in ("classify", "labels", "data", "train", "evaluate", "export"):
        assert f"  {command} " in result.stdout
