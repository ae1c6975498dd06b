"""Fills the templates of pages and cards."""

from __future__ import annotations

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
