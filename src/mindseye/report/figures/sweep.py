"""Layers by slots: what patching each site did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.engine import Grid
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
from mindseye.report.figures.theme import INK, MUTED, dress
from mindseye.report.numbers import nats, percent

__all__ = ["draw_sweep"]

_HOVER = (
    "<b>layer %{y}, slot %{x}</b><br>%{customdata[0]}"
    "<br>%{customdata[1]} of the whole difference<extra></extra>"
)

_DIRECTIONS = {
    "denoising": "clean run's activation into the reference run (denoising)",
    "noising": "reference run's activation into the clean run (noising)",
}


@register("figure", "sweep")
def draw_sweep(grid: Grid, outcome: str | None = None) -> go.Figure:
    """Draw the mean effect of every site as a heatmap, layers up and slots across.

    There is a panel per hook, and per head where heads were patched one by one.

    Colours diverge around zero and share one scale between hooks. The scale never ends below a
    tenth of the pairs' whole difference, so that a map of nothing looks like nothing.

    Args:
        grid: What `sweep` found.
        outcome: Which of its outcomes; the first one if left out.

    Raises:
        UnknownNameError: The grid has no such outcome.
    """
    named = choose(outcome, grid.outcomes)
    means = grid.mean()
    means = means[means["outcome"] == named]
    panels: dict[Any, pd.DataFrame] = dict(list(means.groupby(["hook", "head"], sort=False)))
    n_columns = min(len(panels), MOST_ACROSS)
    n_rows = -(-len(panels) // n_columns)
    hooks = list(dict.fromkeys(means["hook"]))
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.12 / n_rows,
        subplot_titles=[called(*panel) for panel in panels] if len(panels) > 1 else None,
    )
    for i, cells in enumerate(panels.values()):
        figure.add_trace(_cells(cells, named), row=i // n_columns + 1, col=i % n_columns + 1)
    across = "latent slot" if grid.at == "latents" else f"position within {plotly_text(grid.at)}"
    figure.update_layout(coloraxis=scale(widest(means), unit_of(named)))
    label_below(figure, across, len(panels), n_columns)
    figure.update_xaxes(dtick=_tick(means["slot"]), showgrid=False)
    figure.update_yaxes(dtick=_tick(means["layer"]), showgrid=False, zeroline=False, ticks="")
    figure.update_yaxes(title={"text": "layer", "font": {"color": MUTED}}, col=1)
    figure.update_annotations(font={"size": 12, "color": INK})
    height = int(np.clip(260 + 34 * means["layer"].nunique(), 460, 760)) + 260 * (n_rows - 1)
    dress(
        figure,
        title="Where in the latents it happens",
        subtitle=f"Mean change of the {plotly_text(named)} on patching "
        f"{plotly_text(', '.join(hooks))} at the {plotly_text(grid.at)}:<br>"
        f"{_DIRECTIONS.get(grid.direction, plotly_text(grid.direction))}",
        height=height,
    )
    return make_room(figure, height) if len(panels) > 1 else figure


def _cells(means: pd.DataFrame, named: str) -> go.Heatmap:
    """Return one hook's heatmap from its mean effects."""
    effect = means.pivot(index="layer", columns="slot", values="effect")
    share = means.pivot(index="layer", columns="slot", values="share")
    spoken = np.stack(
        [effect.map(lambda value: written(value, named)).to_numpy(), share.map(percent).to_numpy()],
        axis=-1,
    )
    return go.Heatmap(
        z=effect.to_numpy().tolist(),
        x=effect.columns.to_list(),
        y=effect.index.to_list(),
        customdata=spoken.tolist(),
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        text=effect.map(lambda value: nats(value, digits=digits_of(named))).to_numpy().tolist(),
        texttemplate="%{text}" if effect.size <= MOST_WRITTEN else None,
        textfont={"size": 11},
        hovertemplate=_HOVER,
    )


def _tick(places: pd.Series) -> int:
    """Return a distance of ticks that leaves room for their numbers."""
    return max(1, -(-places.nunique() // 16))
