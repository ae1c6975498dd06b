"""The learning curve: scores of models that were trained on growing shares of the train split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .config import Config
from .dataset import load_folder
from .evaluation import Evaluation, evaluate
from .scoring import probabilities
from .train import trained


def learning_curve(config: Config, shares: Sequence[float], test: Path) -> dict[float, Evaluation]:
    """Trains one run a share, with all else as in `config`, and scores each on the messages in the folder `test`.

    The whole is the run ``runs/<name>`` itself, a share ``runs/<name>-<percent>``; finished runs are taken as they are and
    interrupted ones continued.

    Returns:
        Share of the train messages → scores of the model that was trained on it.

    Raises:
        DataError: the data has faults.
        RunError: a run of that name had other data or settings.
    """
    messages = load_folder(test)
    curve = {}
    for share in sorted(shares):
        name = config.name if share == 1 else f"{config.name}-{100 * share:g}"
        part = config.model_copy(
            update={"name": name, "data": config.data.model_copy(update={"train_share": float(share)})}
        )
        curve[share] = evaluate(messages, probabilities(trained(part), messages))
    return curve
