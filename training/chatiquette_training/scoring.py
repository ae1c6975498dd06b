"""Gives the probabilities of a run or a bundle for labelled messages, for evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import yaml
from scipy.special import expit
from transformers import AutoTokenizer

from chatiquette import EtiquetteClassifier
from chatiquette.bundle import is_bundle

from .dataset import tokenise
from .messages import Message
from .model import EtiquetteModel, predict_logits


def probabilities(model: Path, messages: list[Message]) -> npt.NDArray[np.float32]:
    """Returns calibrated probabilities, float32 ``[messages, 23]``.

    Args:
        model: a bundle, whose int8 graph is run, or a finished run, which PyTorch runs.
        messages: what to score.

    Raises:
        FileNotFoundError: the folder is neither.
        BundleError: the bundle is damaged.
    """
    if is_bundle(model):
        classifier = EtiquetteClassifier.load(model, threads=torch.get_num_threads())
        return classifier.predict_proba([m.text for m in messages], [m.context for m in messages])
    if not (model / "metrics.json").is_file():
        raise FileNotFoundError(f"{model}: neither a bundle nor a finished run")
    config = yaml.safe_load((model / "config.yaml").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(model / "model")
    network = EtiquetteModel.from_pretrained(model / "model")
    encoded = tokenise(messages, tokenizer, config["data"]["max_length"])
    return np.asarray(expit(predict_logits(network, tokenizer, encoded)), np.float32)
