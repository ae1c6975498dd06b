"""What several tests share: the repository's files, the shipped classifier, and a real small run with its bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatiquette import EtiquetteClassifier

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "inference" / "chatiquette" / "model"
DATA = ROOT / "data"
LANGUAGES = ("en", "ro", "sk", "fi")
COMMAND = str(Path(sys.executable).with_name("chatiquette"))


def chatiquette(*arguments: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user does."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, input=stdin, capture_output=True, text=True, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}


@pytest.fixture(scope="session")
def classifier() -> EtiquetteClassifier:
    return EtiquetteClassifier.load()


@pytest.fixture(scope="session")
def memorised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose three splits are the same 20 messages a language: what a model that learns must get right."""
    folder = tmp_path_factory.mktemp("memorised")
    for language in LANGUAGES:
        lines = (DATA / "messages" / "train" / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()[:20]
        for split in ("train", "validation", "test"):
            (folder / "messages" / split).mkdir(parents=True, exist_ok=True)
            (folder / "messages" / split / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def run(memorised: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run."""
    cwd = tmp_path_factory.mktemp("training")
    result = chatiquette(
        "train", ROOT / "configs" / "smoke.yaml", f"data.path={memorised}", "optimisation.epochs=16", cwd=cwd
    )
    assert result.returncode == 0, result.stderr
    return cwd / "runs" / "smoke"


@pytest.fixture(scope="session")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, exported."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    result = chatiquette("export", run, folder, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    return folder
