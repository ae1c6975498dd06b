"""Experiments over several runs, and training in several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chatiquette_training.backbone import load_backbone
from chatiquette_training.dataset import load_split
from chatiquette_training.model import EtiquetteModel

from .conftest import LANGUAGES, ROOT, chatiquette, environment

SMOKE = ROOT / "configs" / "smoke.yaml"


def test_two_processes_learn_what_one_learns(memorised: Path, tmp_path: Path) -> None:
    config = ROOT / "configs" / "accelerate" / "two-cpu-processes.yaml"
    launchers = {
        1: [sys.executable],
        2: [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config],
    }
    quick = ("model.layers=2", "optimisation.epochs=8", f"data.path={memorised}")
    losses = {}
    for processes, launcher in launchers.items():
        command = [*launcher, "-m", "chatiquette", "train", SMOKE, f"name=run-{processes}", *quick]
        result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        run = tmp_path / "runs" / f"run-{processes}"
        assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["processes"] == processes
        epochs = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["epochs"]
        losses[processes] = [epoch["eval_loss"] for epoch in epochs]
    assert losses[1][-1] < 0.9 * losses[1][0], "there is something to learn"
    assert losses[2][-1] == pytest.approx(losses[1][-1], rel=0.1)


def test_lower_layers_learn_more_slowly(memorised: Path, tmp_path: Path) -> None:
    settings = ("model.layers=3", "optimisation.layer_decay=0.1", "optimisation.epochs=1", f"data.path={memorised}")
    result = chatiquette("train", SMOKE, *settings, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    learned = EtiquetteModel.from_pretrained(tmp_path / "runs" / "smoke" / "model")
    texts = [text for one in load_split(memorised, "train") for text in (one.text, one.context) if text]
    started = EtiquetteModel.from_backbone(load_backbone("packaged", texts)[0], layers=3)
    moved = [
        float((one.output.dense.weight - other.output.dense.weight).detach().abs().mean())
        for one, other in zip(learned.roberta.encoder.layer, started.roberta.encoder.layer, strict=True)
    ]
    assert 0 < moved[0] < moved[1] / 3 < moved[2] / 9


def test_the_ladder_ranks_configurations(memorised: Path, tmp_path: Path) -> None:
    rungs = tmp_path / "rungs"
    rungs.mkdir()

    def add(name: str, pooling: str, **optimisation: object) -> None:
        rung = {
            "extends": str(SMOKE),
            "name": name,
            "data": {"path": str(memorised), "limit": 3},
            "model": {"pooling": pooling, "layers": 2},
            "optimisation": {"epochs": 1, **optimisation},
        }
        (rungs / f"{name}.yaml").write_text(yaml.safe_dump(rung), encoding="utf-8")

    add("base", "mean", layer_decay=0.8)
    soft = {"loss": "asymmetric", "label_smoothing": 0.1, "weight_averaging": 0.5}
    add("taught", "first", teachers=["runs/base-1"], **soft)
    arguments = ("ladder", rungs / "base.yaml", rungs / "taught.yaml", "--seed", "1", "--seed", "2", "--output", "out")
    result = chatiquette(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "out" / "ladder.json").read_text(encoding="utf-8"))
    assert scores.keys() == {"TF-IDF", "base", "taught"}
    assert [len(scores["taught"][language]) for language in LANGUAGES] == [2] * 4
    assert (tmp_path / "out" / "ladder.png").stat().st_size > 5_000
    assert "| base | 2 |" in (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8")


def test_the_cross_lingual_matrix_trains_on_parts_of_equal_size(memorised: Path, tmp_path: Path) -> None:
    quick = ("model.layers=1", "optimisation.epochs=1", "data.limit=6", f"data.path={memorised}", "name=cross")
    result = chatiquette("cross-lingual", SMOKE, *quick, "--output", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    matrix = json.loads((tmp_path / "out" / "cross_lingual.json").read_text(encoding="utf-8"))
    assert list(matrix)[:5] == ["en", "ro", "sk", "fi", "ro+sk+fi"]
    assert len(matrix) == 9
    counts = {
        json.loads(path.read_text(encoding="utf-8"))["messages"]["train"]
        for path in (tmp_path / "runs").glob("cross-*/metrics.json")
    }
    assert counts == {6, 8}, "four times 1.5 messages are rounded"
    assert (tmp_path / "out" / "cross_lingual.png").stat().st_size > 5_000
