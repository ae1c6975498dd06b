"""What pip installs: a plain install in an empty environment is enough to classify."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: what an earlier build left in the tree must not get in.
    copy = folder / "source"
    for part in ("inference", "training"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / part, copy / part)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_both_packages_and_the_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "chatiquette/taxonomy.toml",
        "chatiquette/py.typed",
        "chatiquette/model/onnx/model_quantized.onnx",
        "chatiquette/model/SHA256SUMS",
        "chatiquette_training/metrics/etiquette.py",
        "chatiquette_training/templates/card.md.jinja",
    ):
        assert name in names
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".safetensors")]
    assert {Path(name).name for name in names} >= {"LICENSE", "NOTICE"}


def test_a_plain_install_classifies_and_says_what_training_needs(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run(
        [binaries / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel],
        check=True,
        cwd=tmp_path,
    )
    result = subprocess.run(
        [binaries / "chatiquette", "classify", "Done. Bye.", "--context", "Thanks, that solved it!"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "abrupt ending" in result.stdout
    (tmp_path / "config.yaml").write_text("name: x\n", encoding="utf-8")
    for command in (["train", "config.yaml"], ["export", "a", "b"], ["evaluate", "a", "b"], ["data", "validate", "a"]):
        refused = subprocess.run([binaries / "chatiquette", *command], capture_output=True, text=True, cwd=tmp_path)
        assert refused.returncode == 1
        assert "pip install 'chatiquette[train]'" in refused.stderr
        described = subprocess.run([binaries / "chatiquette", command[0], "--help"], capture_output=True, text=True)
        assert described.returncode == 0
