"""A picture under a veil that is lifted where attention goes."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

__all__ = ["bare", "veil"]

_VEIL = "16,22,38"
_CLEAREST, _DARKEST = 0.0, 0.86


def veil(shares: Float[np.ndarray | Tensor, "rows columns"], size: tuple[int, int]) -> go.Heatmap:
    """Return what darkens an image where little attention goes, relative to its own maximum.

    Args:
        shares: Of all attention, by image token.
        size: Width and height of the image as it is drawn.
    """
    rows, columns = shares.shape
    width, height = size
    return go.Heatmap(
        z=shares.tolist(),
        x0=width / columns / 2 - 0.5,
        dx=width / columns,
        y0=height / rows / 2 - 0.5,
        dy=height / rows,
        zmin=0,
        zmax=float(shares.max()) or 1.0,
        colorscale=[(0, f"rgba({_VEIL},{_DARKEST})"), (1, f"rgba({_VEIL},{_CLEAREST})")],
        showscale=False,
        hovertemplate="%{z:.2%} of this slot's attention<extra></extra>",
    )


def bare(figure: go.Figure) -> go.Figure:
    """Take ticks and grids from a figure's axes, and keep its images at the top of their panels."""
    figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, ticks="", showgrid=False, zeroline=False)
    figure.update_yaxes(constrain="domain", constraintoward="top")
    return figure
