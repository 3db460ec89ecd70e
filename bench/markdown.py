"""Markdown by templates: whatever the values hold, they show as text."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_MARKS = re.compile(r"([\\`*\[\]|~])")


def render(template: str, view: dict[str, Any]) -> str:
    """Return the template of `bench/templates` filled with `view`; floats get three digits, None is –."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(view)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def shown(value: Any) -> Markup:
    """Return a value as Markdown shows it literally, in a table too; – for what is not known."""
    if isinstance(value, Markup):  # a template's own
        return value
    if isinstance(value, float):
        value = f"{round(value, 3) + 0.0:.3f}"  # never minus zero
    plain = "–" if value is None else " ".join(str(value).split())
    return Markup(_MARKS.sub(r"\\\1", str(escape(plain)).replace("&#39;", "'").replace("&#34;", '"')))  # noqa: S704
