"""Training runs: they learn, repeat, survive an interruption, and leave everything in their folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import evaluate as evaluate_library
import numpy as np
import pytest
import yaml
from scipy.special import expit
from sklearn.metrics import f1_score

from chatiquette_training.calibration import expected_calibration_error, fit, reliability
from chatiquette_training.scoring import uncalibrated
from chatiquette_training.train import METRIC

from .conftest import COMMAND, ROOT, chatiquette, environment

SMALL = ("data.limit=6", "optimisation.epochs=3")
SMOKE = ROOT / "configs" / "smoke.yaml"


def _metrics(run: Path) -> dict[str, object]:
    metrics: dict[str, object] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {"validation": metrics["validation"]}


def test_a_run_learns_what_it_is_shown(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["calibrated"]["micro_f1"] > 0.8
    losses = [epoch["eval_loss"] for epoch in metrics["epochs"]]
    assert losses[-1] < losses[0] / 2


def test_a_run_folder_holds_everything(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert config["optimisation"]["epochs"] == 16, "the resolved value, not the file's"
    assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["packages"]["torch"]
    assert list((run / "tensorboard").iterdir())
    assert list((run / "checkpoints").glob("checkpoint-*"))
    assert (run / "model" / "model.safetensors").is_file()


def test_an_existing_run_is_not_overwritten(run: Path, memorised: Path) -> None:
    cwd = run.parent.parent
    same = ("optimisation.epochs=16", f"data.path={memorised}")
    again = chatiquette("train", SMOKE, *same, cwd=cwd)
    assert again.returncode == 1
    assert "continue it with --resume" in again.stderr
    other = chatiquette("train", SMOKE, f"data.path={memorised}", "seed=1", "--resume", cwd=cwd)
    assert "was started with another configuration" in other.stderr
    nothing = chatiquette("train", SMOKE, f"data.path={memorised}", "name=never", "--resume", cwd=cwd)
    assert "nothing to resume" in nothing.stderr


def test_an_interrupted_run_resumes_to_the_metrics_of_an_undisturbed_one(memorised: Path, tmp_path: Path) -> None:
    arguments = [COMMAND, "train", str(SMOKE), f"data.path={memorised}", *SMALL]
    calm = subprocess.run([*arguments, "name=calm"], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert calm.returncode == 0, calm.stderr

    process = subprocess.Popen(
        [*arguments, "name=torn"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    checkpoints = tmp_path / "runs" / "torn" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline, "no checkpoint after five minutes"
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in errors
    assert not (tmp_path / "runs" / "torn" / "metrics.json").exists()

    resumed = chatiquette("train", SMOKE, f"data.path={memorised}", *SMALL, "name=torn", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    # Undisturbed, resumed: the same seed on the same machine gives the same model.
    assert _metrics(tmp_path / "runs" / "torn") == _metrics(tmp_path / "runs" / "calm")


def test_evaluate_scores_a_run_and_a_bundle(run: Path, bundle: Path, memorised: Path, tmp_path: Path) -> None:
    scores = {}
    for model in (run, bundle):
        arguments = ("evaluate", model, memorised / "messages" / "test", "--output", tmp_path / model.name)
        result = chatiquette(*arguments, "--baseline", memorised / "messages" / "train", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "closure.violated" in result.stdout
        assert "TF-IDF baseline" in result.stdout
        page = (tmp_path / model.name / "index.html").read_text(encoding="utf-8")
        for plot in ("f1.png", "precision_recall.png", "reliability.png"):
            assert f'src="{plot}"' in page
            assert (tmp_path / model.name / plot).stat().st_size > 10_000
        assert "followed → violated" in (tmp_path / model.name / "results.md").read_text(encoding="utf-8")
        for line in (tmp_path / model.name / "errors.jsonl").read_text(encoding="utf-8").splitlines():
            error = json.loads(line)
            assert error["given"] != (error["probability"] >= 0.5)
        scores[model] = json.loads((tmp_path / model.name / "metrics.json").read_text(encoding="utf-8"))["model"]
    for language, (value, low, high) in scores[bundle]["macro_f1"].items():
        assert low <= value <= high
        assert abs(value - scores[run]["macro_f1"][language][0]) < 0.02
    nothing = chatiquette("evaluate", tmp_path, memorised / "messages" / "test", cwd=tmp_path)
    assert "neither a bundle nor a finished run" in nothing.stderr


def test_what_calibration_did_can_be_undone(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    scale, offset = (np.array(metrics["calibration"][name]) for name in ("scale", "offset"))
    logits = np.random.default_rng(0).normal(0, 2, (5, 23))
    found = uncalibrated(run, expit(scale * logits + offset).astype(np.float32))
    np.testing.assert_allclose(found, expit(logits), atol=1e-3)


def test_reliability_counts_certainty_and_emptiness() -> None:
    said, held, counts = reliability(np.array([1.0, 0.04, 0.06], np.float32), np.array([1, 0, 1], np.float32))
    assert counts.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (said[0], held[0], said[-1], held[-1]) == (pytest.approx(0.05), 0.5, 1, 1)
    assert np.isnan(said[5])


def test_the_metric_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities, truth = generator.random((50, 23)), generator.random((50, 23)) < 0.3
    metric = evaluate_library.load(str(METRIC))
    scores = metric.compute(predictions=probabilities, references=truth.astype(int))
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, probabilities >= 0.5, average="macro"))
    assert scores["f1"] == pytest.approx(list(f1_score(truth, probabilities >= 0.5, average=None)))


def test_calibration_mends_wrong_scales_and_decides_for_f1() -> None:
    generator = np.random.default_rng(0)
    true_logits = generator.normal(-2, 2, (4000, 3))
    truth = (generator.random((4000, 3)) < expit(true_logits)).astype(np.float32)
    distorted = (3 * true_logits + 1).astype(np.float32)
    calibration = fit(distorted[:2000], truth[:2000])
    held = calibration.scale * distorted[2000:] + calibration.offset
    before, after = expit(distorted[2000:]), expit(held)
    assert expected_calibration_error(after, truth[2000:]) < expected_calibration_error(before, truth[2000:])
    plain = f1_score(truth[2000:], expit(true_logits[2000:]) >= 0.5, average="macro")
    assert f1_score(truth[2000:], after >= 0.5, average="macro") > plain


def test_a_label_that_validation_lacks_is_not_found_there() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros((200, 2), np.float32)
    truth[:60, 0] = 1
    logits = (6 * truth - 3 + generator.normal(0, 1, (200, 2))).astype(np.float32)
    calibration = fit(logits, truth)
    found = calibration.scale * logits + calibration.offset >= 0
    assert found[:60, 0].mean() > 0.9
    assert not found[:, 1].any()


def test_the_learning_curve_takes_growing_shares(memorised: Path, tmp_path: Path) -> None:
    tiny = (f"data.path={memorised}", "data.limit=8", "optimisation.epochs=1", "name=tiny")
    shares = ("--share", "0.25", "--share", "1", "--output", tmp_path)
    result = chatiquette("learning-curve", SMOKE, memorised / "messages" / "validation", *tiny, *shares, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    messages = {
        name: json.loads((tmp_path / "runs" / name / "metrics.json").read_text(encoding="utf-8"))["messages"]["train"]
        for name in ("tiny-25", "tiny")
    }
    assert messages == {"tiny-25": 8, "tiny": 32}
    curve = json.loads((tmp_path / "learning_curve.json").read_text(encoding="utf-8"))
    assert list(curve) == ["0.25", "1"]
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000
    other = chatiquette(
        "learning-curve", SMOKE, memorised / "messages" / "validation", *tiny, "seed=1", *shares, cwd=tmp_path
    )
    assert "was started with another configuration" in other.stderr
