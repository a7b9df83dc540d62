"""The paper's argument in two figures: cosines along the steps, and edits of equal strength."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.panels import make_room
from mindseye.report.figures.theme import DIRECT, INDIRECT, INK, LEGEND_BELOW, LINE, MUTED, dress
from mindseye.report.numbers import nats, percent, span_of

__all__ = ["draw_edits", "draw_steps"]

_COLOURS = {"latents": INDIRECT, "words": DIRECT}
_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "square", "diamond", "cross", "x")

_STEP_HOVER = "<b>%{customdata[0]}, step %{x}</b><br>cosine %{customdata[1]}<extra></extra>"
_EDIT_HOVER = (
    "<b>%{customdata[0]}, seed %{customdata[1]}</b>: %{customdata[2]}<br>"
    "%{customdata[3]} of the picture's effect (95%: %{customdata[4]})<extra></extra>"
)


@register("figure", "steps")
def draw_steps(steps: pd.DataFrame) -> go.Figure:
    """Draw how alike the steps of different inputs are, latents beside words, a line per seed.

    Args:
        steps: `Reproduction.steps`.
    """
    figure = go.Figure()
    for kind, line in steps.groupby("kind", sort=False):
        seeds = line["seed"].unique().tolist()
        for seed in seeds:
            mine = line[line["seed"] == seed]
            figure.add_trace(_line(mine, str(kind), seed, first=seed == seeds[0]))
    figure.update_xaxes(
        title={"text": "step: latent or word", "font": {"color": MUTED}},
        dtick=max(1, -(-int(steps["step"].max() + 1) // 8)),
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(gridcolor=LINE, zeroline=True, zerolinecolor=LINE, automargin=True)
    dress(
        figure,
        title="How alike different inputs are, step by step",
        subtitle="Raw cosine between the states behind a step, mean over pairs of inputs;<br>"
        "a line per training seed",
        height=400,
    )
    return _legend(figure)


def _line(rows: pd.DataFrame, kind: str, seed: int, *, first: bool) -> go.Scatter:
    name = f"{rows['model'].iloc[0]}: {kind}"
    return go.Scatter(
        x=(rows["step"] + 1).to_list(),
        y=rows["value"].to_list(),
        name=kind,
        legendgroup=kind,
        showlegend=first,
        mode="lines+markers",
        line={"color": _COLOURS[kind], "width": 2, "dash": _DASHES[seed % len(_DASHES)]},
        marker={"size": 5},
        customdata=[
            [plotly_text(name), f"{nats(row['value'])} ({span_of(row['low'], row['high'])})"]
            for row in rows.to_dict("records")
        ],
        hovertemplate=_STEP_HOVER,
    )


@register("figure", "edits")
def draw_edits(found: Any, *, stacked: bool = False) -> go.Figure:
    """Draw what edits of the same strength do to answers, words beside latents.

    Args:
        found: A `Reproduction`, or its `edits`.
        stacked: Put the panels below each other, for narrow places.
    """
    edits: pd.DataFrame = found if isinstance(found, pd.DataFrame) else found.edits
    kinds = ("words", "latents")
    order = list(dict.fromkeys(edits["leaves"]))
    height = 2 * (34 * len(order) + 30) + 210 if stacked else 34 * len(order) + 190
    figure = make_subplots(
        rows=2 if stacked else 1,
        cols=1 if stacked else 2,
        shared_yaxes=not stacked,
        horizontal_spacing=0.04,
        vertical_spacing=60 / height,
        subplot_titles=[f"<b>{kind}</b>" for kind in kinds],
    )
    for place, kind in enumerate(kinds):
        mine = edits[edits["imagines"] == kind]
        seeds = mine["seed"].unique().tolist()
        for seed in seeds:
            figure.add_trace(
                _points(mine[mine["seed"] == seed], kind, seed, len(seeds)),
                row=place + 1 if stacked else 1,
                col=1 if stacked else place + 1,
            )
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=[plotly_text(leaves) for leaves in order],
        range=[len(order) - 0.4, -0.6],
        gridcolor="#f1f3f7",
        zeroline=False,
        automargin=True,
    )
    figure.update_xaxes(
        tickformat=".0%",
        nticks=4 if stacked else 7,
        tickangle=0,
        gridcolor=LINE,
        zeroline=True,
        zerolinecolor=MUTED,
        zerolinewidth=1,
        matches="x",
        automargin=True,
    )
    figure.update_layout(xaxis_matches=None)  # the others match it; plotly.js warns of a loop
    figure.update_annotations(font={"size": 13, "color": INK})
    dress(
        figure,
        title="Words and latents under edits of the same strength",
        subtitle="Change of the answer's log odds as a share of the picture's whole effect, by "
        "what is left of the imagination;<br>\N{MINUS SIGN}100% is the whole way to the other "
        "picture's answer. 95% intervals, a point per training seed. Another sample may be asked "
        "another kind of question",
        height=height,
    )
    return make_room(figure, height)


def _points(rows: pd.DataFrame, kind: str, seed: int, n_seeds: int) -> go.Scatter:
    """Return one seed's edits; seeds of one edit lie a little apart."""
    apart = 0.22 * (seed - (n_seeds - 1) / 2)
    return go.Scatter(
        x=rows["mean"].to_list(),
        y=[place + apart for place in range(len(rows))],
        mode="markers",
        marker={
            "color": _COLOURS[kind],
            "size": 8,
            "symbol": _SYMBOLS[seed % len(_SYMBOLS)],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["mean"]).to_list(),
            "arrayminus": (rows["mean"] - rows["low"]).to_list(),
            "color": _COLOURS[kind],
            "thickness": 1,
            "width": 2,
        },
        customdata=[
            [
                plotly_text(str(row["leaves"])),
                seed,
                plotly_text(str(row["arm"])),
                percent(row["mean"]),
                f"{percent(row['low'])} to {percent(row['high'])}",
            ]
            for row in rows.to_dict("records")
        ],
        hovertemplate=_EDIT_HOVER,
    )


def _legend(figure: go.Figure) -> go.Figure:
    return figure.update_layout(
        showlegend=True,
        margin={"b": 92},
        legend=LEGEND_BELOW,
    )
