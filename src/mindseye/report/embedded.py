"""Plotly figures on a page: titles in HTML's hands, the rest as JSON that scripts cannot leave."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from mindseye.report.escaping import script_json

__all__ = ["Figure", "embed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A plotly figure for the page: its title in HTML's hands, the rest as JSON.

    Attributes:
        id: Unique within the page.
        title: Unescaped.
        subtitle: Unescaped.
        wide: JSON, safe within a script element.
        narrow: The same for small screens.
    """

    id: str
    title: str
    subtitle: str
    wide: Markup
    narrow: Markup


def embed(id: str, wide: go.Figure, narrow: go.Figure | None = None) -> Figure:
    """Return a plotly figure for the page.

    Args:
        id: Unique within the page.
        wide: The figure; its title is taken out.
        narrow: Its layout for small screens; the same if left out.
    """
    layout: Any = wide.layout
    title = layout.title
    texts = [_flowing(each) for each in (title.text, title.subtitle.text)]
    drawn = _json(wide)
    return Figure(id, texts[0], texts[1], drawn, _json(narrow) if narrow else drawn)


def _flowing(text: str) -> str:
    """Return a figure's text as one line; where it broke without a mark, it gets one."""
    return html.unescape(re.sub(r"(?<![;,.:])<br>", "; ", text).replace("<br>", " "))


def _json(figure: go.Figure) -> Markup:
    """Return a figure without its title, which the page sets itself, so that it wraps."""
    layout: Any = figure.layout
    top = max(28, layout.margin.t - 62)
    height = layout.height - (layout.margin.t - top)
    figure.update_layout(title=None, height=height, margin={"t": top})
    return Markup(script_json(figure.to_json() or "{}"))
