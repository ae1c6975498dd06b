"""Writes what people read: pages and cards from templates, and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Returns a template of this package, filled; in ``.html.jinja`` templates values are escaped."""
    environment = Environment(
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=template.endswith(".html.jinja"),
    )
    return environment.get_template(template).render(**values)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
