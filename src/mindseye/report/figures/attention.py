"""Where latents look: by segment and layer over all runs, and in the picture of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.plugins import register
from mindseye.readouts.attending import OTHER, Attention, Gaze
from mindseye.report.escaping import plotly_text, visible
from mindseye.report.figures.panels import make_room
from mindseye.report.figures.theme import COLOURS, INK, LEGEND_BELOW, LINE, MUTED, dress
from mindseye.report.figures.veils import bare, veil
from mindseye.report.numbers import percent
from mindseye.report.pictures import data_uri, shrink

__all__ = ["draw_attention", "draw_gaze"]

_LONGEST = 256
_GREY = "#c6ccd8"
_REGION = "#ffb000"


@register("figure", "attention")
def draw_attention(attention: Attention) -> go.Figure:
    """Draw attention by segment, its entropy and, with a region, its enrichment, over layers.

    All of them are of the pattern averaged over heads, and means over runs and slots.

    Args:
        attention: What `attention` found.
    """
    rows = attention.summary()
    titles = ["attention by segment", "entropy over its maximum"]
    if attention.region is not None:
        titles.append(f"attention to {plotly_text(attention.region)} over its area")
    figure = make_subplots(rows=1, cols=len(titles), horizontal_spacing=0.08, subplot_titles=titles)
    for i, name in enumerate((*attention.to, OTHER)):
        colour = _GREY if name == OTHER else COLOURS[i % len(COLOURS)]
        figure.add_trace(_bars(_of(rows, name), name, colour), row=1, col=1)
    spread = _line(_of(rows, "normalised"), "entropy", INK)
    figure.add_trace(spread.update(showlegend=False), row=1, col=2)
    if attention.region is not None:
        own, floor = (_of(rows, name) for name in ("enrichment", "elsewhere"))
        figure.add_trace(_line(own, "own region", INK), row=1, col=3)
        if not floor.empty:
            drawn = _line(floor, "regions of other samples", MUTED, dash="dot")
            figure.add_trace(drawn, row=1, col=3)
        place: Any = {"row": 1, "col": 3}
        figure.add_hline(y=1, line={"color": MUTED, "width": 1, "dash": "dash"}, **place)
        ends = pd.concat([own, floor])[["value", "high"]].to_numpy(dtype=float)
        most = float(ends[np.isfinite(ends)].max(initial=1.0))
        figure.update_yaxes(range=[0, 1.08 * most], **place)
    figure.update_yaxes(gridcolor=LINE, zeroline=False, automargin=True)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", row=1, col=1)
    figure.update_yaxes(range=[0, 1.02], row=1, col=2)
    step = max(1, -(-rows["layer"].nunique() // 8))
    figure.update_xaxes(
        title={"text": "layer", "font": {"size": 12, "color": MUTED}},
        showgrid=False,
        zeroline=False,
        dtick=step,
    )
    figure.update_annotations(font={"size": 12, "color": INK}, yshift=6)
    height = 410
    n_runs = attention.rows["run"].nunique()
    dress(
        figure,
        title="Where latents look",
        subtitle=f"Pattern averaged over heads, means over slots of {n_runs} "
        f"{'run' if n_runs == 1 else 'runs'}, with 95% intervals over clusters<br>"
        "attention says what could be taken from where, not that it mattered",
        height=height,
    )
    return make_room(figure, height).update_layout(
        barmode="stack",
        bargap=0.15,
        showlegend=True,
        margin={"b": 96},
        legend=LEGEND_BELOW | {"traceorder": "normal"},
    )


@register("figure", "gaze")
def draw_gaze(gaze: Gaze, *, columns: int = 6) -> go.Figure:
    """Draw a run's picture, then per slot the same picture lit where the slot looks.

    Brightness is relative to the slot's own maximum; the region has a frame.

    Args:
        gaze: Of one run, from an `Attention`.
        columns: Panels in a row.
    """
    picture = shrink(gaze.sample.image, _LONGEST)
    n_slots = len(gaze.shares)
    n_columns = min(columns, 1 + n_slots)
    n_rows = -(-(1 + n_slots) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=["picture", *(f"slot {slot}" for slot in range(n_slots))],
        horizontal_spacing=0.1 / n_columns,
        vertical_spacing=0.3 / n_rows,
    )
    source = data_uri(picture)
    for i in range(1 + n_slots):
        row, column = (place + 1 for place in divmod(i, n_columns))
        place: Any = {"row": row, "col": column}
        figure.add_trace(go.Image(source=source, hoverinfo="skip"), **place)
        if i:
            shares = gaze.shares[i - 1]
            figure.add_trace(veil(shares, picture.size), **place)
            said = f"{percent(float(shares.sum()))} on the picture"
            figure.update_xaxes(title={"text": said, "font": {"size": 11, "color": MUTED}}, **place)
        _frame(figure, gaze, picture.size, place)
    bare(figure)
    figure.update_annotations(font={"size": 12, "color": INK})
    dress(
        figure,
        title=f"Where each latent looks: sample {plotly_text(visible(gaze.sample.id))}",
        subtitle="Lit: attention to the picture, mean over heads and layers"
        + ("; framed: the region" if gaze.box else "")
        + ("" if gaze.told else "; the grid of tokens is a guess"),
        height=100 + 190 * n_rows,
    )
    figure.update_layout(plot_bgcolor="rgba(0,0,0,0)", margin={"l": 8, "r": 8})
    return figure


def _frame(figure: go.Figure, gaze: Gaze, size: tuple[int, int], place: Any) -> None:
    """Put a frame around the region, in the pixels of the picture as it is drawn."""
    if gaze.box is None:
        return
    height, width = gaze.sample.image.shape[:2]
    across, down = size[0] / width, size[1] / height
    left, top, right, bottom = gaze.box
    figure.add_shape(
        type="rect",
        x0=left * across - 0.5,
        x1=right * across - 0.5,
        y0=top * down - 0.5,
        y1=bottom * down - 0.5,
        line={"color": _REGION, "width": 2},
        **place,
    )


def _of(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    return rows[rows["measure"] == measure]


def _bars(rows: pd.DataFrame, name: str, colour: str) -> go.Bar:
    label = plotly_text(name)
    return go.Bar(
        x=rows["layer"].tolist(),
        y=rows["value"].tolist(),
        name=label,
        marker={"color": colour},
        customdata=rows[["low", "high"]].to_numpy().tolist(),
        hovertemplate=f"<b>{label}, layer %{{x}}</b><br>%{{y:.1%}} "
        "(%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )


def _line(rows: pd.DataFrame, name: str, colour: str, dash: str = "solid") -> go.Scatter:
    finite = rows[["low", "high"]].abs().max(axis=1) < float("inf")
    return go.Scatter(
        x=rows["layer"].tolist(),
        y=rows["value"].tolist(),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["value"]).where(finite, 0.0).tolist(),
            "arrayminus": (rows["value"] - rows["low"]).where(finite, 0.0).tolist(),
            "thickness": 1.2,
            "width": 0,
        },
        mode="lines+markers",
        name=name,
        line={"color": colour, "dash": dash},
        hovertemplate=f"<b>{name}, layer %{{x}}</b><br>%{{y:.2f}}<extra></extra>",
    )
