"""What figures of several heatmaps share: panels, their names, one colour scale."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mindseye.report.escaping import plotly_text
from mindseye.report.figures.theme import DIVERGING, MUTED

__all__ = ["MOST_ACROSS", "MOST_WRITTEN", "called", "label_below", "make_room", "scale", "widest"]

MOST_WRITTEN = 80
"""Heatmaps with more cells than this leave their numbers to the hover."""

MOST_ACROSS = 4
"""Panels side by side."""

_LEAST_SHARE = 0.1
"""Share of the whole difference at which the colour scale ends at the earliest."""


def called(hook: str, head: int) -> str:
    """Return the name of a panel."""
    return plotly_text(hook if head < 0 else f"{hook}, head {head}")


def widest(means: pd.DataFrame) -> float:
    """Return where a scale ends that all panels share, so that a map of nothing looks like it."""
    whole = (means["clean"] - means["reference"]).abs().max()
    return float(max(means["effect"].abs().max(), _LEAST_SHARE * whole)) or 1.0


def scale(bound: float, unit: str) -> dict[str, Any]:
    """Return a colour axis that diverges around zero."""
    return {
        "colorscale": DIVERGING,
        "cmin": -bound,
        "cmid": 0,
        "cmax": bound,
        "colorbar": {
            "title": {"text": unit or "effect", "side": "top"},
            "thickness": 10,
            "outlinewidth": 0,
        },
    }


def label_below(figure: go.Figure, text: str, n_panels: int, n_columns: int) -> None:
    """Name the horizontal axis below every column; the last row of panels need not be full."""
    for column in range(n_columns):
        figure.update_xaxes(
            title={"text": text, "font": {"color": MUTED}},
            showticklabels=True,
            row=(n_panels - 1 - column) // n_columns + 1,
            col=column + 1,
        )


def make_room(figure: go.Figure, height: int) -> go.Figure:
    """Keep the panels' titles below the figure's subtitle."""
    return figure.update_layout(
        margin={"t": 126}, title={"y": 1 - 30 / height, "yanchor": "top", "yref": "container"}
    )
