"""Sending by receiving layers: what each path carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.engine import Paths
from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.outcomes import choose, digits_of, unit_of, written
from mindseye.report.figures.panels import (
    MOST_ACROSS,
    MOST_WRITTEN,
    called,
    label_below,
    make_room,
    scale,
    widest,
)
from mindseye.report.figures.theme import DIRECT, INDIRECT, INK, LINE, MUTED, dress
from mindseye.report.numbers import nats, percent

__all__ = ["draw_paths"]

_HOVER = (
    "<b>layer %{x} to layer %{y}</b><br>%{customdata[0]}"
    "<br>%{customdata[1]} of the whole difference<extra></extra>"
)

_BAR_HOVER = (
    "<b>layer %{x} to all above</b><br>%{customdata[0]}"
    "<br>%{customdata[1]} of the whole difference<extra></extra>"
)


@register("figure", "paths")
def draw_paths(paths: Paths, outcome: str | None = None) -> go.Figure:
    """Draw what senders tell receivers, a panel per sender, and per head where heads sent alone.

    Each panel is a heatmap of sending by receiving layers, or bars over sending layers where all
    layers above received at once. Panels share one scale, which never ends below a tenth of the
    pairs' whole difference.

    Args:
        paths: What `path_patch` found.
        outcome: Which of its outcomes; the first one if left out.

    Raises:
        UnknownNameError: There is no such outcome.
    """
    named = choose(outcome, paths.outcomes)
    means = paths.mean()
    means = means[means["outcome"] == named]
    together = bool((means["receiver_layer"] < 0).all())
    panels: dict[Any, pd.DataFrame] = dict(list(means.groupby(["sender", "head"], sort=False)))
    n_columns = min(len(panels), MOST_ACROSS)
    n_rows = -(-len(panels) // n_columns)
    bound = widest(means)
    senders = sorted(means["layer"].unique().tolist())
    hearing = sorted(means["receiver_layer"].unique().tolist())
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.12 / n_rows,
        subplot_titles=[called(*panel) for panel in panels],
    )
    for i, cells in enumerate(panels.values()):
        drawn = _bars(cells, named) if together else _cells(cells, senders, hearing, named)
        figure.add_trace(drawn, row=i // n_columns + 1, col=i % n_columns + 1)
    unit = unit_of(named)
    up = (f"effect, {unit}" if unit else "effect") if together else "receiving layer"
    figure.update_xaxes(dtick=_tick(senders, 16 // n_columns), showgrid=False, zeroline=False)
    label_below(figure, "sending layer", len(panels), n_columns)
    figure.update_yaxes(title={"text": up, "font": {"color": MUTED}}, col=1)
    if together:
        figure.update_yaxes(
            range=[-bound * 1.1 if means["effect"].min() < -0.02 * bound else 0, bound * 1.15],
            gridcolor=LINE,
            zeroline=True,
            zerolinecolor=MUTED,
            zerolinewidth=1,
        )
    else:
        figure.update_yaxes(dtick=_tick(hearing, 16), showgrid=False, zeroline=False, ticks="")
        figure.update_layout(coloraxis=scale(bound, unit))
    figure.update_annotations(font={"size": 12, "color": INK})
    receivers = plotly_text(means["receiver"].iloc[0].replace(" ", ", "))
    who = "all layers above" if together else "one layer"
    n_tall = 6 if together else len(hearing)
    height = int(np.clip(290 + 34 * n_tall, 450, 790)) + 260 * (n_rows - 1)
    dress(
        figure,
        title="What a layer tells a later one directly",
        subtitle=f"Mean change of the {plotly_text(named)} in the reference run on telling {who}"
        f"<br>({receivers}{_read_by(paths)}) what a sender at the {plotly_text(paths.at)} says in "
        "the clean run, all between them held still",
        height=height,
    )
    return make_room(figure, height)


def _read_by(paths: Paths) -> str:
    return f", read by {plotly_text(paths.readers)} alone" if paths.readers else ""


def _cells(means: pd.DataFrame, senders: list[int], hearing: list[int], named: str) -> go.Heatmap:
    """Return one sender's heatmap; cells without a path are left empty."""
    effect, share = (
        means.pivot(index="receiver_layer", columns="layer", values=column).reindex(
            index=hearing, columns=senders
        )
        for column in ("effect", "share")
    )
    spoken = np.stack(
        [effect.map(lambda value: written(value, named)).to_numpy(), share.map(percent).to_numpy()],
        axis=-1,
    )
    gap = 2 if effect.size <= MOST_WRITTEN else 1
    digits = digits_of(named)
    text = effect.map(lambda value: nats(value, digits=digits)).where(effect.notna(), "")
    return go.Heatmap(
        z=effect.astype(object).where(effect.notna(), None).to_numpy().tolist(),
        x=senders,
        y=hearing,
        customdata=spoken.tolist(),
        coloraxis="coloraxis",
        xgap=gap,
        ygap=gap,
        text=text.to_numpy().tolist(),
        texttemplate="%{text}" if effect.size <= MOST_WRITTEN else None,
        textfont={"size": 11},
        hoverongaps=False,
        hovertemplate=_HOVER,
    )


def _bars(means: pd.DataFrame, named: str) -> go.Bar:
    """Return one sender's bars, blue above zero and orange below."""
    effects = means["effect"].to_list()
    return go.Bar(
        x=means["layer"].to_list(),
        y=effects,
        marker={"color": [INDIRECT if effect >= 0 else DIRECT for effect in effects]},
        customdata=[
            [written(effect, named), percent(share)]
            for effect, share in zip(effects, means["share"], strict=True)
        ],
        hovertemplate=_BAR_HOVER,
    )


def _tick(layers: list[int], most: int) -> int:
    """Return a distance of ticks that leaves room for their numbers."""
    return max(1, -(-len(layers) // most))
