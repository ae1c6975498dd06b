"""Makes ``sigmoid(logit) >= 0.5`` the tuned decision and the probability a calibrated one, in any runtime.

For each label a scale and an offset are fitted on validation logits and folded into the last linear layer, so that
nobody who runs the model needs a table of thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import nn

FloatArray = npt.NDArray[np.float32]

_PRIOR_STRENGTH = 1.0
"""Pull of each label's scale and offset towards those of all labels together, in units of half a squared deviation."""

_LOG_SCALES = (-3.0, 1.0)
"""A model that makes no mistake on validation would be made endlessly surer of itself; three times as sure must do."""


@dataclass(frozen=True)
class Calibration:
    """Per-label ``scale`` and ``offset``, float32 ``[labels]``: the calibrated logit is ``scale * logit + offset``."""

    scale: FloatArray
    offset: FloatArray

    def fold_into(self, layer: nn.Linear) -> None:
        """Rewrites the layer in place, so that it gives calibrated logits."""
        with torch.no_grad():
            scale, offset = (torch.from_numpy(values).to(layer.weight.device) for values in (self.scale, self.offset))
            layer.weight.mul_(scale[:, None])
            layer.bias.mul_(scale).add_(offset)


def fit(logits: FloatArray, targets: FloatArray, possible: npt.NDArray[np.bool_] | None = None) -> Calibration:
    """Fits each label's scale and offset so that 0.5 is the threshold of the best expected F1.

    First Platt's (1999) logistic scaling, shrunk towards one common fit, makes probabilities; then the threshold that
    maximises F1 as those probabilities expect it (Lipton et al. 2014) becomes the zero of the logit; last the scale is
    fitted again around that zero. Why: docs/decisions/0002-calibration.md.

    Args:
        logits: float32 ``[messages, labels]``, uncalibrated.
        targets: 0 or 1, the same shape.
        possible: which decisions count, the same shape; None counts all.
    """
    counted = np.ones(logits.shape, bool) if possible is None else possible
    common = _platt(logits[counted], targets[counted], np.zeros(2), strength=0.0)
    scales, offsets = [], []
    for label, use in enumerate(counted.T):
        z, y = logits[use, label], targets[use, label]
        log_scale, offset = _platt(z, y, common, _PRIOR_STRENGTH)
        # A label that validation doesn't have says nothing of F1: it keeps the threshold of even odds.
        best = _best_expected_f1(np.exp(log_scale) * z + offset) if y.any() else 0.0
        threshold = (best - offset) / np.exp(log_scale)
        scale = np.exp(_platt(z - threshold, y, np.array([log_scale, 0.0]), _PRIOR_STRENGTH, fixed_offset=True)[0])
        scales.append(scale)
        offsets.append(-scale * threshold)
    return Calibration(np.array(scales, np.float32), np.array(offsets, np.float32))


def _best_expected_f1(logits: FloatArray) -> float:
    """Returns the calibrated logit at which expected F1 is largest: the probability of half that F1."""
    p = np.sort(expit(logits))[::-1]
    expected = 2 * np.cumsum(p) / (np.arange(1, len(p) + 1) + p.sum())
    return float(logit(expected.max() / 2))


def _platt(
    logits: FloatArray,
    targets: FloatArray,
    centre: npt.NDArray[np.float64],
    strength: float,
    fixed_offset: bool = False,
) -> npt.NDArray[np.float64]:
    """Returns the (log scale, offset) of the smallest cross-entropy, summed over all decisions.

    The penalty is a Gaussian prior around `centre`: labels are rare in a validation split, and a label's own fit is only
    believed as far as its messages carry it.
    """

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        scale, offset = np.exp(parameters[0]), parameters[1]
        z = scale * logits + offset
        error = expit(z) - targets
        cross_entropy = np.sum(np.logaddexp(0.0, z) - targets * z)
        deviation = parameters - centre
        gradient = np.array([np.sum(error * scale * logits), np.sum(error)]) + strength * deviation
        return float(cross_entropy + 0.5 * strength * deviation @ deviation), gradient

    offset_bounds = (centre[1], centre[1]) if fixed_offset else (None, None)
    bounds = [_LOG_SCALES, offset_bounds]
    return np.asarray(minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x)


def reliability(
    probabilities: FloatArray, targets: FloatArray, bins: int = 10
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Returns mean probability, share that holds, and count of the decisions in each bin of equal width, ``[bins]``.

    An empty bin's first two are NaN.
    """
    which = np.minimum((probabilities * bins).astype(int), bins - 1).ravel()
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        said, held = (np.bincount(which, values.ravel(), bins) / counts for values in (probabilities, targets))
    return said, held, counts


def expected_calibration_error(probabilities: FloatArray, targets: FloatArray, bins: int = 10) -> float:
    """Returns the expected calibration error (Naeini et al. 2015) over all decisions, in bins of equal width."""
    said, held, counts = reliability(probabilities, targets, bins)
    return float(np.nansum(np.abs(said - held) * counts) / targets.size)
