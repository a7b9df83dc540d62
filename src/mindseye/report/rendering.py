"""What all pages have in common: templates, one style, scripts known by their hashes."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

__all__ = ["assets", "template", "versions"]

_PACKAGES = ("mindseye", "torch", "transformers")


def versions() -> dict[str, str]:
    """Return the versions that are written beside results."""
    return {name: version(name) for name in _PACKAGES}


@functools.cache
def template(name: str) -> Any:
    """Return one of our templates, everything in it escaped."""
    environment = Environment(
        loader=PackageLoader("mindseye.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def assets(*styles: str) -> dict[str, Any]:
    """Return the style and the scripts of a page, with what its content policy knows these by.

    Args:
        styles: Names of style sheets that the page has beside the common one.
    """
    scripts = [_script(get_plotlyjs()), _script(_shipped("report.js"))]
    return {
        "style": Markup("\n".join(_shipped(name) for name in ("report.css", *styles))),
        "scripts": scripts,
        "hashes": [_hash(script) for script in scripts],
    }


def _shipped(name: str) -> str:
    return files("mindseye.report").joinpath("templates", name).read_text(encoding="utf-8")


def _script(text: str) -> Markup:
    """Mark our own script as safe, with the line ends that a browser hashes."""
    return Markup(text.replace("\r\n", "\n").replace("\r", "\n"))


def _hash(script: Markup) -> str:
    """Return what the page's content policy knows a script by; no other script may run."""
    digest = hashlib.sha256(str(script).encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
