"""Making text harmless where Jinja's autoescape does not reach: in plotly labels and in scripts.

Questions come from datasets and answers from models; neither is trusted.
"""

from __future__ import annotations

import html
import json
from typing import Any

__all__ = ["plotly_text", "script_json", "visible"]

_IN_SCRIPT = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def plotly_text(text: str) -> str:
    """Escape a text for plotly's labels, which render a subset of HTML.

    Quotes stay: plotly does not decode their entities, and labels are no attributes.
    """
    return html.escape(text, quote=False)


def script_json(value: Any) -> str:
    """Return JSON that can stand inside a script element, whatever strings it holds.

    Args:
        value: Plain data, or a string that already is JSON.
    """
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    for character, escape in _IN_SCRIPT.items():
        text = text.replace(character, escape)
    return text


def visible(text: str) -> str:
    """Replace line ends and other characters that print nothing, or turn text around, by signs."""
    return "".join(
        "↵" if character == "\n" else character if character.isprintable() else "·"
        for character in text
    )
