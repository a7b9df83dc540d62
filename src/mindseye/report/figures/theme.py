"""Colours and type that all figures share with the page."""

from __future__ import annotations

import plotly.graph_objects as go

__all__ = [
    "COLOURS",
    "DIRECT",
    "DIVERGING",
    "FONT",
    "INDIRECT",
    "INK",
    "LEGEND_BELOW",
    "LINE",
    "MUTED",
    "dress",
]

INK = "#182033"
MUTED = "#5d6679"
LINE = "#e4e8ef"
INDIRECT = "#2257c4"
DIRECT = "#c2570c"
"""Blue and orange: told apart with every common colour blindness. The page's CSS repeats them."""

COLOURS = (INDIRECT, DIRECT, "#16826a", "#8b3fa8", "#a07a00", "#c2255c", "#3a93b8", "#5d6679")
"""Of things that are told apart; they come round after eight."""

DIVERGING = [
    (0.0, "#9a3d00"),
    (0.2, "#d97b32"),
    (0.4, "#f6d3b3"),
    (0.5, "#f8f9fb"),
    (0.6, "#c3d5f5"),
    (0.8, "#5583db"),
    (1.0, "#14398f"),
]
"""Orange below zero, blue above; dark at both ends in print, too."""

LEGEND_BELOW = {
    "orientation": "h",
    "xref": "container",
    "x": 0,
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "font": {"size": 11},
}
"""Of a figure whose bottom margin has room for it."""

FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", '
    "Arial, sans-serif"
)


def dress(figure: go.Figure, *, title: str, subtitle: str, height: int) -> go.Figure:
    """Give a figure its title and the common looks.

    Args:
        figure: Changed in place.
        title: Escaped text.
        subtitle: Escaped text.
        height: In pixels; the width follows the container.

    Returns:
        The same figure.
    """
    figure.update_layout(
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 12, "color": MUTED}},
            "font": {"size": 16, "color": INK},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
        },
        height=height,
        margin={"l": 56, "r": 16, "t": 96, "b": 48},
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#ffffff",
        hoverlabel={
            "bgcolor": "#ffffff",
            "bordercolor": LINE,
            "font": {"family": FONT, "size": 12, "color": INK},
            "align": "left",
        },
        showlegend=False,
    )
    return figure
