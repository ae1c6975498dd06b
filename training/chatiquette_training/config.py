"""The training configuration: one YAML file is the whole truth of a run."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .faults import describe
from .messages import Language

Rate = Annotated[float, Field(gt=0, lt=0.1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(ValueError):
    """Raised for a faulty configuration; the message lists every fault."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataConfig(_Strict):
    """Where the messages are and how much of them a run takes."""

    path: Annotated[str, Field(min_length=1)]
    max_length: Annotated[int, Field(ge=16, le=512)]
    """Tokens of message and context together; the longer of the two is cut first."""
    limit: Annotated[int, Field(ge=1)] | None
    """At most this many messages a language of train and of validation, the first; null takes all."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the train messages, drawn in each language; a larger share holds every smaller one."""
    train_languages: Annotated[list[Language], Field(min_length=1)] = list(get_args(Language))
    """Languages to train on; validation and test stay whole."""
    context: bool = True
    """Whether the model is shown the message before."""
    context_dropout: Share = 0.0
    """Share of the times that a train message is shown without its context."""
    augmentation: Share = 0.0
    """Share of the times that a train message is shown as people type in a hurry; see perturbations.py."""


class ModelConfig(_Strict):
    """What is put on the pretrained encoder."""

    pooling: Literal["mean", "first"] = "mean"
    """The mean over the message's own tokens, or the first token, as in `XLMRobertaForSequenceClassification`."""
    layers: Annotated[int, Field(ge=1, le=48)] | None = None
    """Keep this many of the encoder's layers, evenly spaced; null keeps all."""


class OptimisationConfig(_Strict):
    """How the weights are fitted."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    """Messages of one forward pass, over all processes together."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=4096)]
    body_rate: Rate
    """Peak learning rate of the pretrained encoder."""
    head_rate: Rate
    """Peak learning rate of the classification layer, which starts from nothing."""
    warmup: Share
    """Share of the steps in which the rates rise to their peak; then they fall linearly to 0."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    positive_weight: Annotated[float, Field(ge=0, le=1)]
    """Weight of a positive decision in the loss: (negatives / positives of its label) to this power; 0 weighs all alike."""
    freeze: Literal["nothing", "embeddings", "encoder"]
    """What stays as it was pretrained; with the whole encoder frozen only the classification layer learns."""
    precision: Literal["fp32", "bf16"]
    """bf16 runs the matrix products in bfloat16: over twice as fast where the processor has it, slow where not."""
    loss: Literal["cross_entropy", "asymmetric"] = "cross_entropy"
    label_smoothing: Share = 0.0
    """Pulls the targets 0 and 1 this far towards even odds."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer learns at this share of the rate of the layer above it; 1 gives all the same rate."""
    weight_averaging: Share = 0.0
    """Decay a step of the moving average of the weights, which is what is evaluated and kept; 0 keeps the last weights."""
    teachers: list[str] = []
    """Finished runs; the targets are then the labels and the mean of their probabilities, half and half."""


class Config(_Strict):
    """A training run."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    """The run is written to runs/<name>."""
    base_model: Annotated[str, Field(min_length=1)]
    """`packaged`, a hub id, or a local folder."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataConfig
    model: ModelConfig = ModelConfig()
    optimisation: OptimisationConfig
    report_to: list[str] = []
    """Trackers that transformers knows, such as wandb or mlflow, beside TensorBoard; install and sign in to them yourself."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, and reads ``8e-5`` as the number that it is; YAML 1.1 wants ``8.0e-5``."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a YAML file and applies overrides such as ``optimisation.epochs=3``.

    A file may begin with ``extends: OTHER.yaml``, whose values it then overrides; the path is relative to its folder.

    Raises:
        ConfigError: with all faults of file and overrides at once.
        FileNotFoundError: there is no such file.
    """
    values = _read(path)
    faults = [fault for override in overrides if (fault := _apply(values, override))]
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        faults += describe(error, Config)
    if faults:
        raise ConfigError("\n".join([f"{path}: {len(faults)} fault(s)", *(f"  {fault}" for fault in faults)]))
    return config


def _read(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in extended_by:
        raise ConfigError(f"{path}: extends itself")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: should hold keys and values, such as `name: default`")
    if "extends" not in values:
        return values
    base = values.pop("extends")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends: should be the name of a file, got {base!r}")
    return _merged(_read(path.parent / base, (*extended_by, path.resolve())), values)


def _merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Returns `base` with what `values` sets, section by section."""
    inner = {
        key: _merged(base[key], value)
        for key, value in values.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return {**base, **values, **inner}


def _apply(values: dict[str, Any], override: str) -> str | None:
    """Sets one ``key=value`` in place; returns what is wrong with it, if anything."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        return f"{override!r}: an override has the form key=value, such as optimisation.epochs=3"
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            return f"{override!r}: {section!r} is a value, not a section"
    try:
        values[name] = yaml.load(text, _Loader)
    except yaml.YAMLError:
        return f"{override!r}: {text!r} is no YAML value"
    return None
