"""Effects with their intervals, one panel per level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.causal import EFFECTS, NAMES, Mediation
from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.outcomes import choose, digits_of, unit_of, written
from mindseye.report.figures.theme import DIRECT, INDIRECT, INK, LINE, MUTED, dress
from mindseye.report.numbers import percent, span_of

__all__ = ["draw_mediation"]

_COLOURS = {
    "te": INK,
    "pde": DIRECT,
    "tde": DIRECT,
    "pie": INDIRECT,
    "tie": INDIRECT,
    "int": MUTED,
}
_SYMBOLS = {
    "te": "diamond",
    "pde": "circle-open",
    "tde": "circle",
    "pie": "circle-open",
    "tie": "circle",
    "int": "square",
}
_HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]} (95%: %{customdata[2]})"
    "<br>said token changes in %{customdata[3]} of pairs<extra></extra>"
)


@register("figure", "mediation")
def draw_mediation(
    mediation: Mediation, outcome: str | None = None, *, stacked: bool = False
) -> go.Figure:
    """Draw the six effects of every level as points with 95% intervals.

    Args:
        mediation: What `mediate` found.
        outcome: Which of its outcomes; the first one, which the verdicts are about, if left out.
        stacked: Put the panels below each other, for narrow places.

    Raises:
        UnknownNameError: The mediation has no such outcome.
    """
    named = choose(outcome or mediation.outcome, mediation.effects["outcome"].unique().tolist())
    effects = mediation.effects[mediation.effects["outcome"] == named]
    measured = set(effects["level"])
    levels = [level for level in mediation.verdicts if level in measured]
    titles = [_title(mediation, level, named) for level in levels]
    figure = make_subplots(
        rows=len(levels) if stacked else 1,
        cols=1 if stacked else len(levels),
        shared_yaxes=not stacked,
        horizontal_spacing=0.04,
        vertical_spacing=0.1,
        subplot_titles=titles,
    )
    for i, level in enumerate(levels):
        row, column = (i + 1, 1) if stacked else (1, i + 1)
        rows = effects[effects["level"] == level].set_index("effect")
        figure.add_trace(_points(rows.loc[list(EFFECTS)], named), row=row, col=column)
    figure.update_annotations(font={"size": 13, "color": INK})
    figure.update_xaxes(gridcolor=LINE, automargin=True, matches="x", range=_range(effects))
    figure.update_layout(xaxis_matches=None)  # the others match it; plotly.js warns of a loop
    figure.update_xaxes(zeroline=True, zerolinecolor=MUTED, zerolinewidth=1)
    figure.update_xaxes(
        title={"text": unit_of(named) or plotly_text(named), "font": {"color": MUTED}},
        row=len(levels) if stacked else 1,
    )
    figure.update_yaxes(autorange="reversed", gridcolor="#f1f3f7", ticks="", automargin=True)
    return dress(
        figure,
        title="Effects by level",
        subtitle=f"Mean over pairs, 95% intervals over images, {plotly_text(named)}",
        height=220 * len(levels) + 90 if stacked else 340,
    )


def _title(mediation: Mediation, level: str, named: str) -> str:
    """Return a panel's title; a verdict stands only beside the outcome that it is about."""
    title = f"<b>{plotly_text(level)}</b>"
    if named != mediation.outcome:
        return title
    return f"{title} · {plotly_text(mediation.verdicts[level].word)}"


def _range(effects: pd.DataFrame) -> list[float]:
    """Return the ends of the x axis: zero and every interval, with room for the markers."""
    ends = effects[["mean", "low", "high"]].to_numpy().ravel()
    ends = ends[np.isfinite(ends)]
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    room = 0.06 * (high - low) or 1.0
    return [low - room, high + room]


def _points(rows: pd.DataFrame, named: str) -> go.Scatter:
    """Return one level's effects; `rows` are indexed by effect."""
    finite = rows[["low", "high"]].abs().max(axis=1) < float("inf")
    above = (rows["high"] - rows["mean"]).where(finite)
    below = (rows["mean"] - rows["low"]).where(finite)
    numbers = [
        [
            NAMES[str(name)],
            written(row["mean"], named),
            span_of(row["low"], row["high"], digits=digits_of(named)),
            percent(row["flip_rate"]),
        ]
        for name, row in rows.iterrows()
    ]
    return go.Scatter(
        x=rows["mean"].to_list(),
        y=[name.upper() for name in rows.index],
        mode="markers",
        marker={
            "color": [_COLOURS[name] for name in rows.index],
            "symbol": [_SYMBOLS[name] for name in rows.index],
            "size": 10,
            "line": {"width": 2, "color": [_COLOURS[name] for name in rows.index]},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": above.to_list(),
            "arrayminus": below.to_list(),
            "color": "#9aa3b5",
            "thickness": 1.6,
            "width": 4,
        },
        customdata=numbers,
        hovertemplate=_HOVER,
    )
