"""A training run: fit on train, pick the best epoch and calibrate on validation, write everything to a run folder."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import numpy.typing as npt
import torch
import yaml
from accelerate import PartialState
from scipy.special import expit
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.integrations import TensorBoardCallback
from transformers.modeling_outputs import SequenceClassifierOutput

from chatiquette.taxonomy import LABEL_NAMES

from .backbone import load_backbone
from .calibration import expected_calibration_error, fit
from .config import Config, OptimisationConfig
from .dataset import NOT_COUNTED, TrainSet, load_split, load_train, possible, targets, tokenise
from .messages import Message
from .model import EtiquetteModel, predict_logits
from .rendering import write_json
from .scoring import probabilities
from .validation import SPLITS

FloatArray = npt.NDArray[np.float32]

METRIC = Path(__file__).parent / "metrics" / "etiquette.py"
RUNS = Path("runs")


class RunError(RuntimeError):
    """Raised where a run folder is not in the state that the command needs."""


def train(config: Config, resume: bool = False) -> Path:
    """Runs the training that `config` describes and returns the run folder, ``runs/<name>``.

    The folder holds ``config.yaml`` (as resolved), ``environment.json``, ``tensorboard/``, ``checkpoints/`` (one an epoch, the
    last and the best kept), ``metrics.json`` (validation) and ``model/``: the best epoch, calibrated.

    Args:
        config: the whole truth of the run.
        resume: continue an interrupted run from its last checkpoint, or from the start where there is none yet; a finished
            one is left as it is.

    Raises:
        RunError: `resume` is False and the folder exists, or True and it doesn't, or had other data or settings.
        DataError: the data has faults.
        OSError: the base model can't be loaded.
    """
    run = RUNS / config.name
    arguments = _arguments(run, config)  # first: it also finds out how many processes there are
    processes = PartialState()
    checkpoint = _checkpoint(run, config, resume)
    if (run / "metrics.json").is_file():
        return run
    processes.wait_for_everyone()  # or a slow process would find the run of a fast one
    set_seed(config.seed)

    data = Path(config.data.path)
    train_messages = load_train(config.data)
    validation_messages = load_split(data, "validation", config.data.limit)
    # The whole split's vocabulary, so that runs on a part of it differ in nothing else.
    texts = [text for message in load_split(data, "train") for text in (message.text, message.context) if text]
    backbone, tokenizer = load_backbone(config.base_model, texts)
    model = EtiquetteModel.from_backbone(backbone, config.model.pooling, config.model.layers)
    labels = targets(train_messages)
    train_set = TrainSet(
        train_messages,
        _soft(labels, train_messages, config.optimisation),
        tokenizer,
        config.data,
    )
    validation_set = tokenise(validation_messages, tokenizer, config.data)

    if processes.is_main_process:
        _describe(run, config)  # only now: a fault above leaves no run behind
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=train_set,
        eval_dataset=validation_set,
        processing_class=tokenizer,
        compute_loss_func=_Loss(labels, config.optimisation),
        compute_metrics=_Scores(),
        callbacks=_callbacks(run, config.optimisation, processes.is_main_process),
        optimizers=(_optimiser(model, config.optimisation), None),
    )
    trainer.train(resume_from_checkpoint=checkpoint)

    # Without the mixed precision that training wrapped around it: what is exported runs in float32.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    logits = predict_logits(model, tokenizer, validation_set)
    truth = targets(validation_messages)
    counted = possible(validation_messages)
    calibration = fit(logits, truth, counted)
    calibration.fold_into(model.classifier)
    score = _Scores()
    metrics = {
        "validation": {
            "uncalibrated": score.compute(logits, truth, counted),
            "calibrated": score.compute(calibration.scale * logits + calibration.offset, truth, counted),
        },
        "calibration": {"scale": calibration.scale.tolist(), "offset": calibration.offset.tolist()},
        "epochs": [entry for entry in trainer.state.log_history if "eval_macro_f1" in entry],
        "messages": {"train": len(train_messages), "validation": len(validation_messages)},
        # Of an interrupted run nobody knows.
        "seconds": None if checkpoint else round(trainer.state.log_history[-1]["train_runtime"]),
    }
    if trainer.is_world_process_zero():
        model.save_pretrained(run / "model")
        tokenizer.save_pretrained(run / "model")
        write_json(run / "metrics.json", metrics)
    processes.wait_for_everyone()  # others may want to read what the main process writes
    return run


def trained(config: Config) -> Path:
    """Returns the run that `config` describes, trained now, continued, or taken as it is where it is finished.

    Raises:
        RunError: a run of that name had other data or settings.
        DataError: the data has faults.
    """
    return train(config, resume=(RUNS / config.name / "config.yaml").exists())


def _checkpoint(run: Path, config: Config, resume: bool) -> str | None:
    """Finds the checkpoint to continue from, if any, and refuses to mix up two runs."""
    described = run / "config.yaml"
    if not resume:
        if described.exists():
            raise RunError(f"{run} exists: continue it with --resume, or give the new run another name with name=NAME")
        return None
    if not described.exists():
        raise RunError(f"{run} does not exist: nothing to resume; start the run without --resume")
    if yaml.safe_load(described.read_text(encoding="utf-8")) != config.model_dump():
        raise RunError(f"{run} was started with another configuration: see {described}")
    environment_of(run, config)
    # The state is written last: a checkpoint without it was interrupted.
    complete = [state.parent for state in (run / "checkpoints").glob("checkpoint-*/trainer_state.json")]
    return str(max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]))) if complete else None


def environment_of(run: Path, config: Config) -> dict[str, Any]:
    """Returns what the run noted of its environment, if its messages are still those that it was trained on.

    Raises:
        RunError: the messages have changed.
    """
    environment: dict[str, Any] = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    data = Path(config.data.path)
    if data_hash(data) != environment["data_sha256"]:
        raise RunError(f"{data}: the messages have changed since {run} was trained on them; train it again")
    return environment


def _describe(run: Path, config: Config) -> None:
    """Makes the run folder and writes what the run is and where it runs, or runs on."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")
    write_json(run / "environment.json", _environment(Path(config.data.path)))


def _arguments(run: Path, config: Config) -> TrainingArguments:
    settings = config.optimisation
    arguments = TrainingArguments(
        output_dir=str(run / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=settings.gradient_accumulation,
        warmup_steps=settings.warmup,
        lr_scheduler_type="linear",
        bf16=settings.precision == "bf16",
        train_sampling_strategy="group_by_length",
        label_names=["labels"],
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        logging_steps=25,
        report_to=config.report_to or "none",  # TensorBoard is attached by hand, to put its log beside the checkpoints
        run_name=config.name,
        ddp_find_unused_parameters=False,
        # Several processes must draw one order to share: accelerate's own sampler knows nothing of lengths.
        accelerator_config={"use_seedable_sampler": False},
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )
    if settings.batch_size % arguments.world_size:
        raise RunError(f"batch_size {settings.batch_size} can't be shared evenly by {arguments.world_size} processes")
    arguments.per_device_train_batch_size = settings.batch_size // arguments.world_size
    return arguments


def _callbacks(run: Path, settings: OptimisationConfig, logs: bool) -> list[TrainerCallback]:
    callbacks: list[TrainerCallback] = []
    if logs:
        callbacks.append(TensorBoardCallback(SummaryWriter(run / "tensorboard")))
    if settings.weight_averaging:
        callbacks.append(_WeightAveraging(settings.weight_averaging))
    return callbacks


class _WeightAveraging(TrainerCallback):  # type: ignore[misc]
    """Evaluates and saves a moving average of the weights (Polyak and Juditsky 1992); training itself goes on from the last.

    A run that is resumed goes on from the average, since that is what its checkpoint holds.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._average: AveragedModel | None = None
        self._last: dict[str, Tensor] | None = None

    def on_step_end(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        if self._average is None:
            self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self._decay))  # type: ignore[no-untyped-call]
        self._average.update_parameters(model)

    def on_epoch_end(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        assert self._average is not None
        self._last = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self._average.module.state_dict())

    def on_epoch_begin(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        if self._last is not None:
            model.load_state_dict(self._last)


def _optimiser(model: EtiquetteModel, settings: OptimisationConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) with a rate of its own for the fresh layer; biases and norms don't decay."""
    if settings.freeze == "embeddings":
        model.roberta.embeddings.word_embeddings.requires_grad_(False)
    elif settings.freeze == "encoder":
        model.roberta.requires_grad_(False)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = _rate(name, model.config.num_hidden_layers, settings)
            decay = 0.0 if parameter.ndim < 2 else settings.weight_decay
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        fused=True,
    )


def _rate(name: str, layers: int, settings: OptimisationConfig) -> float:
    """Returns a parameter's peak rate; layer-wise rates are those of Howard and Ruder (2018)."""
    if name.startswith("classifier."):
        return settings.head_rate
    layer = re.match(r"roberta\.encoder\.layer\.(\d+)\.", name)
    below_top = layers - 1 - int(layer.group(1)) if layer else layers
    return settings.body_rate * settings.layer_decay**below_top


def _soft(labels: FloatArray, messages: list[Message], settings: OptimisationConfig) -> FloatArray:
    """Returns what the model is to say: the labels, moved towards the teachers and away from certainty as configured."""
    wanted = labels
    if settings.teachers:
        taught = np.mean([probabilities(Path(teacher), messages) for teacher in settings.teachers], axis=0)
        wanted = (labels + taught) / 2
    return np.asarray(wanted * (1 - settings.label_smoothing) + settings.label_smoothing / 2, np.float32)


class _Loss:
    """The mean over messages and labels of binary cross-entropy, or of the asymmetric loss (Ridnik et al. 2021).

    In cross-entropy rare labels' positives weigh more. The asymmetric loss weighs easy negatives less instead, with the
    focusing power 2 and the margin 0.05.
    """

    def __init__(self, labels: FloatArray, settings: OptimisationConfig) -> None:
        positives = labels.sum(axis=0).clip(min=1)
        weight = ((len(labels) - positives) / positives) ** settings.positive_weight
        self._weight = torch.tensor(weight, dtype=torch.float32)
        self._kind = settings.loss

    def __call__(
        self, outputs: SequenceClassifierOutput, labels: Tensor, num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        logits, labels = outputs["logits"].float(), labels.float()
        counted = labels != NOT_COUNTED
        labels = labels.clamp(min=0)
        if self._kind == "asymmetric":
            doubt = (torch.sigmoid(logits) - 0.05).clamp(min=0)
            negative = doubt**2 * torch.log1p(-doubt)
            losses = -(labels * functional.logsigmoid(logits) + (1 - labels) * negative)
        else:
            weight = self._weight.to(labels.device)
            losses = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight, reduction="none")
        # With gradient accumulation the decisions of all its batches count, not those of this one.
        return losses[counted].sum() / (counted.sum() if num_items_in_batch is None else num_items_in_batch)


class _Scores:
    """Scores logits with the project's `evaluate` module."""

    def __init__(self) -> None:
        self._metric = evaluate.load(str(METRIC))

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        truth = np.asarray(prediction.label_ids)
        scores = self.compute(np.asarray(prediction.predictions), truth, truth != NOT_COUNTED)
        return {"macro_f1": scores["macro_f1"], "micro_f1": scores["micro_f1"], "ece": scores["ece"]}

    def compute(self, logits: FloatArray, truth: FloatArray, counted: npt.NDArray[np.bool_]) -> dict[str, Any]:
        probabilities = expit(logits)
        scores = self._metric.compute(predictions=probabilities * counted, references=(truth * counted).astype(int))
        scores["f1"] = dict(zip(LABEL_NAMES, scores["f1"], strict=True))
        return {**scores, "ece": expected_calibration_error(probabilities[counted], truth[counted])}


def _environment(data: Path) -> dict[str, Any]:
    packages = ("chatiquette", "torch", "transformers", "datasets", "evaluate", "accelerate", "tokenizers", "numpy")
    return {
        "commit": _commit(),
        "data_sha256": data_hash(data),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "processes": PartialState().num_processes,
        "packages": {name: metadata.version(name) for name in packages},
    }


def _commit() -> str | None:
    """Returns the commit of the code, marked where files differ from it, or None outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def data_hash(data: Path) -> str:
    """Returns one SHA-256 of all that models read of the data set's messages, and of their labels.

    Raises:
        DataError: the data has faults.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        for one in load_split(data, split):
            digest.update(json.dumps([split, one.lang, one.role, one.context, one.text, one.labels]).encode())
    return digest.hexdigest()
