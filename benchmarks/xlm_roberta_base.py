"""Trains and exports a model of XLM-RoBERTa base's shape for a few steps, and says what that takes.

    python benchmarks/xlm_roberta_base.py

The weights are random, so that no model hub is needed: the scores mean nothing, time and memory do. The tokenizer is the
real one, with its 250,002 pieces.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transformers import XLMRobertaConfig, XLMRobertaModel

from chatiquette_training import packaged_weights
from chatiquette_training.backbone import wrap_tokenizer

ROOT = Path(__file__).parent.parent
STEPS = 20
MESSAGES = 40  # of each language and split


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pieces = packaged_weights.read(packaged_weights.locate()).pieces
        config = XLMRobertaConfig(vocab_size=len(pieces), max_position_embeddings=514, type_vocab_size=1)
        XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder / "base")
        wrap_tokenizer(pieces).save_pretrained(folder / "base")
        for path in (ROOT / "data" / "messages").glob("*/*.jsonl"):
            copy = folder / "data" / path.relative_to(ROOT / "data")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:MESSAGES]), encoding="utf-8")
        settings = [f"base_model={folder / 'base'}", f"data.path={folder / 'data'}", "name=shape"]
        steps = ["optimisation.epochs=1", f"optimisation.batch_size={4 * MESSAGES // STEPS}"]
        run("train", str(ROOT / "configs" / "xlm-roberta-base.yaml"), *settings, *steps, cwd=folder)
        run("export", "runs/shape", "bundle", cwd=folder)
        for graph in sorted((folder / "bundle" / "onnx").iterdir()):
            print(f"{graph.name}: {graph.stat().st_size / 1e6:,.0f} MB")


def run(*arguments: str, cwd: Path) -> None:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "chatiquette", *arguments], cwd=cwd, check=True)
    # The largest of the processes so far; training comes first and takes more than what it starts.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{arguments[0]}: {time.perf_counter() - started:.0f} s, peak memory so far {peak:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
