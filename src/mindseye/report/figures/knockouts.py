"""What cutting attention edges did, beside random edges of the same number."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mindseye.engine import Knockouts
from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.outcomes import choose, unit_of, written
from mindseye.report.figures.theme import COLOURS, LINE, MUTED, dress
from mindseye.report.numbers import percent

__all__ = ["draw_knockouts"]

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
_PALE = 0.5

_HOVER = (
    "<b>%{customdata[0]}</b><br>cut in %{customdata[1]}, %{customdata[2]} edges per pair"
    "<br>%{customdata[3]}, %{customdata[4]} of the clean run's outcome<extra></extra>"
)


@register("figure", "knockouts")
def draw_knockouts(knockouts: Knockouts, outcome: str | None = None) -> go.Figure:
    """Draw the mean effect of every edge set over the windows in which it was cut.

    With one window there is a bar per edge set and one for its controls; with several a line per
    edge set, and a paler dashed one. Shares are of the clean run's mean outcome, where that is
    above zero.

    Args:
        knockouts: What `knock_out` found.
        outcome: Which of its outcomes; the first one if left out.

    Raises:
        UnknownNameError: There is no such outcome.
    """
    named = choose(outcome, knockouts.outcomes)
    cuts = _means(knockouts, named)
    windows = cuts[["first_layer", "last_layer"]].drop_duplicates()
    n_drawn = int(knockouts.rows["control"].max()) + 1
    figure = _bars(cuts, named) if len(windows) == 1 else _lines(cuts, named)
    first, last = (int(windows[end].iloc[0]) for end in ("first_layer", "last_layer"))
    at_once = f"in {_layers(first, last)}"
    if len(windows) > 1:
        size = last - first + 1
        at_once = "in one layer at a time" if size == 1 else f"in {size} layers at a time"
    beside = "without random edges to compare with"
    if n_drawn:
        sets = "one random set" if n_drawn == 1 else f"{n_drawn} random sets"
        beside = f"{'pale' if len(windows) == 1 else 'pale and dashed'}: mean of {sets} of as many "
        beside += "edges of the same queries"
    return dress(
        figure,
        title="Which attention edges the answer depends on",
        subtitle=f"Mean change of the {plotly_text(named)} on cutting edges of the clean run "
        f"{at_once};<br>{beside}",
        height=160 + 52 * cuts["edges"].nunique() if len(windows) == 1 else 480,
    ).update_layout(showlegend=len(windows) > 1)


def _means(knockouts: Knockouts, named: str) -> pd.DataFrame:
    """Return one row per edge set, window, and whether it is the edges or their controls."""
    rows = knockouts.rows[knockouts.rows["outcome"] == named]
    clean = rows.groupby("pair", sort=False)["clean"].first().mean()
    cuts = rows.assign(drawn=rows["control"] >= 0)
    keys = ["edges", "first_layer", "last_layer", "drawn"]
    cuts = cuts.groupby(keys, sort=False)[["effect", "n_edges"]].mean().reset_index()
    return cuts.assign(share=cuts["effect"] / clean if clean > 0 else float("nan"))


def _lines(cuts: pd.DataFrame, named: str) -> go.Figure:
    figure = go.Figure()
    sets: dict[Any, pd.DataFrame] = dict(list(cuts.groupby("edges", sort=False)))
    for drawn in (True, False):  # what matters lies on top
        for i, (name, rows) in enumerate(sets.items()):
            rows = rows[rows["drawn"] == drawn]
            if len(rows):
                figure.add_trace(_line(str(name), rows, i, named))
    figure.update_xaxes(
        title={"text": "first layer that is cut", "font": {"color": MUTED}},
        dtick=max(1, -(-cuts["first_layer"].nunique() // 16)),
        gridcolor=LINE,
        zeroline=False,
    )
    figure.update_yaxes(
        title={"text": _axis(named), "font": {"color": MUTED}},
        gridcolor=LINE,
        zeroline=True,
        zerolinecolor=MUTED,
        zerolinewidth=1,
        automargin=True,
    )
    return figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "entrywidth": 160}
    )


def _line(name: str, rows: pd.DataFrame, i: int, named: str) -> go.Scatter:
    drawn = bool(rows["drawn"].iloc[0])
    colour, symbol = COLOURS[i % len(COLOURS)], _SYMBOLS[i % len(_SYMBOLS)]
    return go.Scatter(
        x=rows["first_layer"].to_list(),
        y=rows["effect"].to_list(),
        name=plotly_text(name),
        legendgroup=str(i),
        showlegend=not drawn,
        mode="lines" if drawn else "lines+markers",
        opacity=_PALE if drawn else 1.0,
        line={"color": colour, "width": 2, "dash": "dash" if drawn else "solid"},
        marker={"color": colour, "symbol": symbol, "size": 9},
        customdata=_said(rows, named),
        hovertemplate=_HOVER,
    )


def _bars(cuts: pd.DataFrame, named: str) -> go.Figure:
    figure = go.Figure()
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(cuts["edges"].unique())}
    for drawn, rows in cuts.groupby("drawn"):
        said = _said(rows, named)
        figure.add_trace(
            go.Bar(
                x=rows["effect"].to_list(),
                y=[plotly_text(name) for name in rows["edges"]],
                orientation="h",
                marker={
                    "color": [colour[name] for name in rows["edges"]],
                    "opacity": _PALE if drawn else 1.0,
                },
                text=[values[3].removesuffix(" nats") for values in said],
                textposition="outside",
                cliponaxis=False,
                customdata=said,
                hovertemplate=_HOVER,
            )
        )
    low, high = min(0.0, cuts["effect"].min()), max(0.0, cuts["effect"].max())
    room = 0.12 * (high - low) or 1.0  # for the numbers
    figure.update_xaxes(
        title={"text": _axis(named), "font": {"color": MUTED}},
        range=[low - room, high + room],
        gridcolor=LINE,
        zeroline=True,
        zerolinecolor=MUTED,
        zerolinewidth=1,
    )
    figure.update_yaxes(autorange="reversed", ticks="", automargin=True, showgrid=False)
    return figure.update_layout(barmode="group", bargap=0.3, bargroupgap=0.05)


def _said(rows: pd.DataFrame, named: str) -> list[list[str]]:
    """Return what hovering over each row says."""
    spoken: list[list[str]] = []
    for _, row in rows.iterrows():
        random = "random edges for " if row["drawn"] else ""
        spoken.append(
            [
                random + plotly_text(row["edges"]),
                _layers(row["first_layer"], row["last_layer"]),
                f"{row['n_edges']:.4g}",
                written(row["effect"], named),
                percent(row["share"]),
            ]
        )
    return spoken


def _layers(first: int, last: int) -> str:
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def _axis(named: str) -> str:
    unit = unit_of(named)
    return f"mean effect, {unit}" if unit else "mean effect"
