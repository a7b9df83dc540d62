"""How latents lie: cosines between runs, slot by slot, and what collapses along the slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots

from mindseye.errors import UnknownNameError
from mindseye.plugins import register
from mindseye.readouts.geometry import JOINED, Similarity
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.panels import MOST_ACROSS, label_below, make_room, scale
from mindseye.report.figures.theme import COLOURS, INK, LEGEND_BELOW, LINE, dress
from mindseye.report.numbers import nats, span_of

__all__ = ["draw_collapse", "draw_similarity"]

_MOST_RUNS = 48
"""Runs in a heatmap; of more, evenly spaced ones are drawn."""

_CELL_HOVER = "<b>%{y}, %{x}</b><br>cosine %{customdata}<extra></extra>"

_CURVES = (
    ("inter-instance cosine", "raw", "", "raw cosine between runs"),
    ("intra-instance cosine", "raw", "", "raw cosine with other slots"),
    ("share between instances", "", "", "share that differs between runs"),
    ("participation ratio", "centred", "", "participation ratio"),
    ("drift", "", "", "step to the next slot"),
    ("trS/trN", "", "placebo", "scatter, images over placebos"),
)
_POINT_HOVER = (
    "<b>%{customdata[0]}, slot %{x}</b><br>%{customdata[1]}%{customdata[2]}<extra></extra>"
)


@register("figure", "similarity")
def draw_similarity(
    similarity: Similarity,
    population: str = "latents",
    transform: str = "raw",
    *,
    columns: int = MOST_ACROSS,
) -> go.Figure:
    """Draw the cosine of every two runs as heatmaps, a panel per slot.

    Runs are in the order of their answers, if these are known, so that what depends on the answer
    shows as blocks along the diagonal. Of more than 48 runs evenly spaced ones are drawn.

    Args:
        similarity: What `similarity` found.
        population: Whose cosines; those of a baseline are what latents compare with.
        transform: `raw` or `centred`.
        columns: Panels in a row, at most.

    Raises:
        UnknownNameError: There is no such population or transform.

    Source: one panel per latent index as in Li et al. 2026, arXiv 2602.22766, figure 2.
    """
    if (population, transform) not in similarity.cosines:
        there = ", ".join(f"{name} ({how})" for name, how in similarity.cosines)
        raise UnknownNameError(
            f"No {transform!r} cosines of {population!r} in this result; there are: {there}. "
            "Choose one of these."
        )
    every = similarity.cosines[population, transform]
    order = _order(similarity, every.shape[1])
    labels = [_label(similarity, run) for run in order.tolist()]
    n_columns = min(len(every), columns)
    n_rows = -(-len(every) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        horizontal_spacing=0.03,
        vertical_spacing=0.16 / n_rows,
        subplot_titles=[f"slot {slot}" for slot in range(len(every))],
    )
    for slot, cells in enumerate(every):
        drawn = _cells(cells[np.ix_(order, order)], labels)
        figure.add_trace(drawn, row=slot // n_columns + 1, col=slot % n_columns + 1)
    figure.update_layout(coloraxis=scale(1.0, "cosine"))
    figure.update_xaxes(showticklabels=False, showgrid=False, ticks="")
    figure.update_yaxes(showticklabels=False, showgrid=False, ticks="", autorange="reversed")
    figure.update_annotations(font={"size": 12, "color": INK})
    height = 190 + 210 * n_rows
    how = "after taking out the slot's mean" if transform == "centred" else "of raw vectors"
    dress(
        figure,
        title=f"How alike {plotly_text(population)} of different runs are",
        subtitle=f"Cosine {how}, each run against each, slot by slot;<br>"
        f"{_shown(similarity, len(order), every.shape[1])}",
        height=height,
    )
    return make_room(figure, height)


@register("figure", "collapse")
def draw_collapse(similarity: Similarity, *, columns: int = 2) -> go.Figure:
    """Draw measures over the slots, latents beside their baselines.

    A cosine that rises while the share that differs between runs falls to nothing is collapse; one
    that is as high in ordinary states, or goes with images told apart from placebos, is not.

    Args:
        similarity: What `similarity` found.
        columns: Panels in a row.
    """
    rows = similarity.to_frame()
    rows = rows[rows["slot"] != JOINED]
    curves = [(title, _curve(rows, *key)) for *key, title in _CURVES]
    curves = [(title, held) for title, held in curves if not held.empty]
    n_rows = -(-len(curves) // columns)
    places = [
        [{} if columns * row + column < len(curves) else None for column in range(columns)]
        for row in range(n_rows)
    ]
    figure = make_subplots(
        rows=n_rows,
        cols=columns,
        horizontal_spacing=0.12,
        vertical_spacing=0.3 / n_rows,
        specs=places,
        subplot_titles=[title for title, _ in curves],
    )
    ratios: Any = None
    for i, (_, held) in enumerate(curves):
        for k, name in enumerate(similarity.populations):
            mine = held[held["population"] == name]
            if not mine.empty:
                line = _line(mine, name, k, first=i == 0)
                figure.add_trace(line, row=i // columns + 1, col=i % columns + 1)
        if held["measure"].iloc[0] == "trS/trN":
            place: Any = {"row": i // columns + 1, "col": i % columns + 1}
            figure.add_hline(y=1, line={"color": INK, "width": 1.2, "dash": "dot"}, **place)
            ratios = place
    n_slots = rows["slot"].nunique()
    figure.update_xaxes(
        dtick=max(1, -(-n_slots // 8)), range=[-0.3, n_slots - 0.7], showgrid=False, zeroline=False
    )
    label_below(figure, "latent slot", len(curves), columns)
    figure.update_yaxes(gridcolor=LINE, zeroline=False, rangemode="tozero", automargin=True)
    if ratios:
        figure.update_yaxes(type="log", **ratios)
    figure.update_annotations(font={"size": 12, "color": INK})
    height = 210 + 190 * n_rows
    dress(
        figure,
        title="What collapses along the slots, and what does not",
        subtitle="Means over runs with 95% intervals over images; baselines are other states of "
        f"the same model{'<br>dotted: images differ no more than placebos do' if ratios else ''}",
        height=height,
    )
    return make_room(figure, height).update_layout(
        showlegend=True,
        margin={"b": 92},
        legend=LEGEND_BELOW,
    )


def _order(similarity: Similarity, n: int) -> Int[np.ndarray, " drawn"]:
    """Return which runs are drawn, in the order of their answers."""
    answers = np.array(similarity.answers) if similarity.answers else np.zeros(n)
    places = np.linspace(0, n - 1, min(n, _MOST_RUNS)).round().astype(int)
    return np.argsort(answers, kind="stable")[places]


def _label(similarity: Similarity, run: int) -> str:
    if not similarity.answers:
        return f"run {run}"
    return f"run {run} ({plotly_text(similarity.answers[run])})"


def _shown(similarity: Similarity, n_drawn: int, n: int) -> str:
    shown = f"{n_drawn} of {n} runs" if n_drawn < n else f"{n} runs"
    return f"{shown}, in the order of their answers" if similarity.answers else shown


def _cells(cells: Float[np.ndarray, "drawn drawn"], labels: list[str]) -> go.Heatmap:
    return go.Heatmap(
        z=[[value if np.isfinite(value) else None for value in line] for line in cells.tolist()],
        x=labels,
        y=labels,
        customdata=[[nats(value) for value in line] for line in cells.tolist()],
        coloraxis="coloraxis",
        hovertemplate=_CELL_HOVER,
    )


def _curve(rows: pd.DataFrame, measure: str, transform: str, against: str) -> pd.DataFrame:
    """Return a measure of all populations and slots, without what is not finite."""
    held = rows[(rows["measure"] == measure) & (rows["transform"] == transform)]
    held = held[held["against"] == against]
    return held[np.isfinite(held["value"].to_numpy(dtype=float))]


def _line(rows: pd.DataFrame, name: str, place: int, *, first: bool) -> go.Scatter:
    """Return a population's curve; the latents' is the heavy one."""
    colour = COLOURS[place % len(COLOURS)]
    known = (rows[["low", "high"]].abs().max(axis=1, skipna=False) < np.inf).to_list()
    return go.Scatter(
        x=rows["slot"].to_list(),
        y=rows["value"].to_list(),
        name=plotly_text(name),
        legendgroup=name,
        showlegend=first,
        mode="lines+markers",
        line={"color": colour, "width": 2.4 if place == 0 else 1.4},
        marker={"size": 6 if place == 0 else 4},
        error_y=_bars(rows, colour) if all(known) else None,
        customdata=[
            [
                plotly_text(name),
                nats(row["value"], digits=3),
                f" (95%: {span_of(row['low'], row['high'], digits=3)})" if sure else "",
            ]
            for (_, row), sure in zip(rows.iterrows(), known, strict=True)
        ],
        hovertemplate=_POINT_HOVER,
    )


def _bars(rows: pd.DataFrame, colour: str) -> dict[str, Any]:
    """Return error bars that end where the intervals do."""
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["high"] - rows["value"]).to_list(),
        "arrayminus": (rows["value"] - rows["low"]).to_list(),
        "color": colour,
        "thickness": 1,
        "width": 2,
    }
