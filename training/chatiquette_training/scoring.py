"""Gives the probabilities of a run or a bundle for labelled messages, for evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import yaml
from scipy.special import expit, logit
from transformers import AutoTokenizer

from chatiquette import EtiquetteClassifier
from chatiquette.bundle import METADATA, is_bundle

from .config import Config
from .dataset import possible, tokenise
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
        return classifier.predict_proba(
            [m.text for m in messages], [m.context for m in messages], [m.role for m in messages]
        )
    if not (model / "metrics.json").is_file():
        raise FileNotFoundError(f"{model}: neither a bundle nor a finished run")
    config = Config.model_validate(yaml.safe_load((model / "config.yaml").read_text(encoding="utf-8")))
    tokenizer = AutoTokenizer.from_pretrained(model / "model")
    network = EtiquetteModel.from_pretrained(model / "model")
    encoded = tokenise(messages, tokenizer, config.data)
    found = np.asarray(expit(predict_logits(network, tokenizer, encoded)), np.float32)
    return np.where(possible(messages), found, np.float32(0))


def uncalibrated(model: Path, calibrated: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns what the probabilities of a run or a bundle were before calibration, float32 ``[messages, 23]``.

    Raises:
        FileNotFoundError: the folder is neither, or was written before calibration was noted there.
    """
    described = model / (METADATA if is_bundle(model) else "metrics.json")
    fitted = json.loads(described.read_text(encoding="utf-8")).get("calibration")
    if fitted is None:
        raise FileNotFoundError(f"{described}: has no calibration, an earlier version wrote it; train or export again")
    with np.errstate(divide="ignore"):  # 0 stays 0
        before = (logit(calibrated) - fitted["offset"]) / fitted["scale"]
    return np.asarray(expit(before), np.float32)
