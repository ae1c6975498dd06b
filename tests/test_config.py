"""Training configurations: every shipped one is valid, and a broken one shows all its faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatiquette_training.config import ConfigError, load

from .conftest import ROOT, chatiquette

BROKEN = """
name: my run
base_model: packaged
sed: 13
data:
  path: data
  max_length: 9999
  limit: null
optimisation:
  epochs: "3"
  batch_size: 8
  gradient_accumulation: 1
  body_rte: 8.0e-5
  head_rate: 3.0e-3
  warmup: 0.1
  weight_decay: 0.01
  positive_weight: 0.5
  freeze: embeddings
  precision: fp16
"""


RUNS = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if path.parent.name != "accelerate"]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    assert load(path).name == path.stem


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN, encoding="utf-8")
    result = chatiquette("train", "broken.yaml", "optimisation.warmup=2", "nonsense", cwd=tmp_path)
    assert result.returncode == 1
    for fault in (
        "'nonsense': an override has the form key=value",
        "name: should match pattern",
        "seed: missing",
        "sed: unknown key; did you mean 'seed'?",
        "data.max_length: should be less than or equal to 512, got 9999",
        "optimisation.epochs: should be a valid integer, got '3'",
        "optimisation.body_rate: missing",
        "optimisation.body_rte: unknown key; did you mean 'body_rate'?",
        "optimisation.warmup: should be less than 1, got 2",
        "optimisation.precision: should be 'fp32' or 'bf16', got 'fp16'",
    ):
        assert fault in result.stderr
    assert not (tmp_path / "runs").exists()


def test_overrides_reach_the_configuration() -> None:
    config = load(ROOT / "configs" / "smoke.yaml", ("name=other", "optimisation.body_rate=8e-6", "data.limit=3"))
    assert (config.name, config.optimisation.body_rate, config.data.limit) == ("other", 8e-6, 3)


def test_what_is_no_mapping_is_explained(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    (tmp_path / "torn.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n", encoding="utf-8")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="should hold keys and values"):
        load(tmp_path / "list.yaml")
    for name in ("torn", "latin"):
        with pytest.raises(ConfigError, match="not valid YAML"):
            load(tmp_path / f"{name}.yaml")
    with pytest.raises(ConfigError, match="the key 'name' stands twice"):
        load(tmp_path / "twice.yaml")
    with pytest.raises(ConfigError, match="name: should match pattern"):
        load(ROOT / "configs" / "smoke.yaml", ("name=..",))


def test_a_file_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        (ROOT / "configs" / "default.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "deep").mkdir()
    child = tmp_path / "deep" / "child.yaml"
    child.write_text("extends: ../base.yaml\nname: child\noptimisation:\n  epochs: 3\n", encoding="utf-8")
    base, extended = load(tmp_path / "base.yaml"), load(child, ("seed=1",))
    assert (extended.name, extended.optimisation.epochs, extended.seed) == ("child", 3, 1)
    assert extended.data == base.data
    assert extended.optimisation.model_copy(update={"epochs": base.optimisation.epochs}) == base.optimisation
    (tmp_path / "base.yaml").write_text("extends: deep/child.yaml\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="extends itself"):
        load(child)
    child.write_text("extends: [a]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="should be the name of a file"):
        load(child)
