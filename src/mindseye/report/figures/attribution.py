"""How far attributions can be trusted: against exact effects, where these are known."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mindseye.engine import Attribution
from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.outcomes import choose, unit_of, written
from mindseye.report.figures.theme import COLOURS, INK, LINE, MUTED, dress

__all__ = ["draw_attribution"]

_HEIGHT = 560
_MOST_LABELS = 6
_WIDE, _HIGH, _DOT = 0.011, 0.045, 0.012
"""A label's width per letter, its height, and half a point, as shares of the axes."""

_GAP = "\N{NO-BREAK SPACE}" * 2

_METHODS = {
    "gradient": "one gradient in the unpatched run (attribution patching)",
    "integrated": "gradients along the way between the runs (integrated gradients)",
}

_HOVER = (
    "<b>%{customdata[0]}</b><br>attribution %{customdata[1]}"
    "<br>exact %{customdata[2]}, of %{customdata[3]} pairs<extra></extra>"
)


@register("figure", "attribution")
def draw_attribution(attribution: Attribution, outcome: str | None = None) -> go.Figure:
    """Draw each cell's mean attribution against its mean exact effect.

    A filled point has an exact effect in every pair, an open one in some only, so that its two
    means are of different pairs. Cells without any are ticks at the left edge.

    Args:
        attribution: What `attribute` found.
        outcome: Which of its outcomes; the first one if left out.

    Raises:
        UnknownNameError: There is no such outcome.
    """
    named = choose(outcome, attribution.outcomes)
    cells = attribution.ranking(named)
    n_pairs = attribution.rows["pair"].nunique()
    known = cells[cells["n_exact"] > 0]
    low, high = _ends(cells)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": MUTED, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    labels = _labels(known, low, high)
    for i, hook in enumerate(cells["hook"].unique()):
        colour = COLOURS[i % len(COLOURS)]
        mine = known[known["hook"] == hook]
        figure.add_trace(_points(mine, str(hook), colour, labels, n_pairs, named))
        left = cells[(cells["n_exact"] == 0) & (cells["hook"] == hook)]
        if len(left):
            figure.add_trace(_ticks(left, low, colour, n_pairs, named))
    unit = f", {unit_of(named)}" if unit_of(named) else ""
    for axes, what in (
        (figure.update_xaxes, f"exact effect{unit}"),
        (figure.update_yaxes, f"attribution{unit}"),
    ):
        axes(
            title={"text": what, "font": {"color": MUTED}},
            range=[low, high],
            gridcolor=LINE,
            zeroline=True,
            zerolinecolor=LINE,
            zerolinewidth=2,
            automargin=True,
        )
    several = cells["hook"].nunique() > 1
    dress(
        figure,
        title="Attribution only ranks; exact effects decide",
        subtitle=_subtitle(attribution, cells, n_pairs, named),
        height=_HEIGHT,
    )
    return figure.update_layout(
        showlegend=several,
        margin={"t": 112},
        title={"y": 1 - 24 / _HEIGHT, "yanchor": "top", "yref": "container"},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"},
    )


def _subtitle(attribution: Attribution, cells: pd.DataFrame, n_pairs: int, named: str) -> str:
    sums = attribution.completeness
    missed = sums.loc[sums["outcome"] == named, "residual"].abs().mean()
    method = _METHODS.get(attribution.method, plotly_text(attribution.method))
    marks = ["dotted: equal"]
    if ((cells["n_exact"] > 0) & (cells["n_exact"] < n_pairs)).any():
        marks.append("open: exact in some pairs only")
    n_left = int((cells["n_exact"] == 0).sum())
    if n_left:
        marks.append(f"ticks at the left: {n_left} without exact effect")
    return (
        f"Mean effect on the {plotly_text(named)} of patching the {plotly_text(attribution.at)} "
        f"({plotly_text(attribution.direction)}), guessed from<br>{method}; summed over slots, "
        f"{written(missed, named)} off the joint effect on average<br>{'; '.join(marks)}"
    )


def _ends(cells: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of both axes: zero and every cell, with room."""
    values = cells[["attribution", "exact"]]
    low, high = (float(each) for each in (min(0.0, values.min().min()), values.max().max()))
    high = max(0.0, high)
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _points(
    cells: pd.DataFrame,
    hook: str,
    colour: str,
    labels: dict[int, tuple[str, str]],
    n_pairs: int,
    named: str,
) -> go.Scatter:
    return go.Scatter(
        x=cells["exact"].to_list(),
        y=cells["attribution"].to_list(),
        name=plotly_text(hook),
        mode="markers+text",
        marker={
            "color": colour,
            "symbol": ["circle" if n == n_pairs else "circle-open" for n in cells["n_exact"]],
            "size": 10,
            "line": {"width": 2, "color": colour},
        },
        text=[labels[i][0] if i in labels else "" for i in cells.index],
        textposition=[labels[i][1] if i in labels else "middle right" for i in cells.index],
        textfont={"size": 11, "color": INK},
        customdata=_said(cells, n_pairs, named),
        hovertemplate=_HOVER,
    )


def _ticks(cells: pd.DataFrame, edge: float, colour: str, n_pairs: int, named: str) -> go.Scatter:
    return go.Scatter(
        x=[edge] * len(cells),
        y=cells["attribution"].to_list(),
        mode="markers",
        marker={"symbol": "line-ew", "size": 16, "line": {"width": 1.5, "color": colour}},
        customdata=_said(cells, n_pairs, named),
        hovertemplate=_HOVER,
        showlegend=False,
    )


def _said(cells: pd.DataFrame, n_pairs: int, named: str) -> list[list[str]]:
    """Return what hovering over each cell says."""
    return [
        [
            f"{plotly_text(str(row['hook']))}, {_place(row)}",
            written(row["attribution"], named),
            written(row["exact"], named),
            f"{row['n_exact']} of {n_pairs}",
        ]
        for _, row in cells.iterrows()
    ]


def _place(cell: pd.Series) -> str:
    head = "" if cell["head"] < 0 else f", head {cell['head']}"
    return f"layer {cell['layer']}{head}, slot {cell['slot']}"


def _labels(known: pd.DataFrame, low: float, high: float) -> dict[int, tuple[str, str]]:
    """Return labels and their sides, for the largest cells that have room for one."""
    points = (known[["exact", "attribution"]].to_numpy() - low) / (high - low)
    boxes = [(x - _DOT, x + _DOT, y) for x, y in points]
    labels: dict[int, tuple[str, str]] = {}
    for i, (index, cell) in enumerate(known.iterrows()):
        x, y = points[i]
        others = boxes[:i] + boxes[i + 1 :]
        text = _place(cell)
        wide = _WIDE * len(text)
        sides = {"middle left": x - _DOT - wide, "middle right": x + _DOT}
        # Away from the dotted line first.
        for side in sorted(sides, reverse=bool(y < x)):
            begin, end = sides[side], sides[side] + wide
            free = all(
                end <= left or begin >= right or abs(y - height) >= _HIGH
                for left, right, height in others
            )
            if free and begin > 2 * _DOT and end < 1:
                labels[int(str(index))] = (f"{_GAP}{text}{_GAP}", side)
                boxes.append((begin, end, y))
                break
        if len(labels) == _MOST_LABELS:
            break
    return labels
