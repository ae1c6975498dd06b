"""Turns pydantic's findings into sentences that name the field and the nearest valid name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the most similar valid name, or an empty string where none is near."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Returns one sentence for each finding of a failed validation against `model`."""
    return [
        _sentence(tuple(finding["loc"]), finding["type"], finding["msg"], finding["input"], model)
        for finding in error.errors()
    ]


def _sentence(place: tuple[int | str, ...], kind: str, text: str, value: object, model: type[BaseModel]) -> str:
    field = ".".join(map(str, place)) or "the whole"
    if kind == "extra_forbidden":
        return f"{field}: unknown key{nearest(str(place[-1]), _siblings(place, model))}"
    if kind == "missing":
        return f"{field}: missing"
    if kind == "value_error":
        return f"{field}: {text.removeprefix('Value error, ')}"
    return f"{field}: {re.sub('^(Input|String|List) should', 'should', text)}, got {value!r}"


def _siblings(place: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Returns the valid names beside the one at `place`, following nested models."""
    for name in place[:-1]:
        field = model.model_fields.get(str(name))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)
