"""Where the templates of pages are found, and how every text in them becomes harmless."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gatekeeper.foreign_text import visible
from gatekeeper.resources import bundled

_FOLDER = "reports/templates"


def templates() -> Environment:
    """Give the templates; what they show is made visible, then escaped."""
    return Environment(
        loader=FileSystemLoader(bundled(_FOLDER)),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def beside_templates(*names: str) -> str:
    """Read style sheets or scripts that a page carries in itself, one after the other."""
    return "".join((bundled(_FOLDER) / name).read_text(encoding="utf-8") for name in names)


def _harmless(value: object) -> object:
    """Every text passes here before it is escaped; drawings (Markup) were escaped already."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
