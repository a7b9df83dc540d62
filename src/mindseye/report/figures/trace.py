"""One run: its image, where each latent looks, and the words nearest to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from mindseye.plugins import register
from mindseye.reasoners import Trace
from mindseye.report.escaping import plotly_text, visible
from mindseye.report.figures.theme import INK, MUTED, dress
from mindseye.report.numbers import percent
from mindseye.report.pictures import data_uri, shrink

__all__ = ["draw_trace"]

_LONGEST = 256
_N_TOKENS = 3
_LONGEST_TOKEN = 10
_FEW = 3
"""With this many columns or fewer, the place is taken to be narrow."""

_VEIL = "16,22,38"
_CLEAREST, _DARKEST = 0.0, 0.86


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """Where one slot looks.

    Attributes:
        shares: Of its attention, by image token in reading order.
        words: The likeliest tokens if the latent were decoded at once, with probabilities.
    """

    shares: Float[Tensor, "rows columns"]
    words: tuple[tuple[str, float], ...]


@register("figure", "trace")
def draw_trace(trace: Trace, *, columns: int = 6) -> go.Figure:
    """Draw a run's image, then per latent slot the same image lit where the slot attends to it.

    Attention is averaged over heads and layers, and brightness is relative to the slot's own
    maximum. Beneath each panel stand the tokens that the output head makes of the latent (a logit
    lens without a further norm, latents being post-norm states). Costs one replay per layer, so
    that no more than one layer's attention is ever held.

    Args:
        trace: The run. If it has several images, the first is drawn.
        columns: Panels in a row.
    """
    looks = _looks(trace)
    picture = shrink(trace.sample.image, _LONGEST)
    n_columns = min(columns, 1 + len(looks))
    n_rows = -(-(1 + len(looks)) // n_columns)
    titles = ["image", *(f"slot {i}" for i in range(len(looks)))]
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=titles,
        horizontal_spacing=0.1 / n_columns,
        vertical_spacing=0.45 / n_rows,
    )
    source = data_uri(picture)
    for i in range(1 + len(looks)):
        row, column = (place + 1 for place in divmod(i, n_columns))
        figure.add_trace(go.Image(source=source, hoverinfo="skip"), row=row, col=column)
        if i:
            figure.add_trace(_veil(looks[i - 1], picture.size), row=row, col=column)
            figure.update_xaxes(title=_caption(looks[i - 1]), row=row, col=column)
    figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, ticks="", showgrid=False, zeroline=False)
    figure.update_yaxes(constrain="domain", constraintoward="top")
    figure.update_annotations(font={"size": 12, "color": INK})
    dress(
        figure,
        title="Where each latent looks",
        subtitle="Lit: attention to the image, mean over heads and layers. "
        "Below: tokens the output head makes of the latent"
        if looks
        else "This run has no latents",
        height=90 + (260 if columns > _FEW else 215) * n_rows,
    )
    figure.update_layout(plot_bgcolor="rgba(0,0,0,0)", margin={"l": 8, "r": 8})
    return figure


@torch.no_grad()
def _looks(trace: Trace) -> list[_Look]:
    slots = trace.spans["latents"]
    if not len(slots):
        return []
    is_image = trace.prefill().image_mask[0]
    keys = _first_run(is_image.nonzero().squeeze(-1))
    rows, columns = _grid(len(keys), trace.sample.image.shape[:2])
    attention = _attention(trace, slots, keys).reshape(len(slots), rows, columns)
    words = _decoded(trace)
    return [_Look(shares, said) for shares, said in zip(attention, words, strict=True)]


def _attention(trace: Trace, slots: Tensor, keys: Tensor) -> Float[Tensor, "slots tokens"]:
    """Return each slot's attention to image tokens, averaged over heads and layers."""
    reasoner = trace.reasoner
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    total = torch.zeros(len(slots), len(keys), device=slots.device)
    for layer in range(n_layers):
        name = f"blocks.{layer}.attn.hook_pattern"
        pattern = reasoner.replay(trace, record=[name]).activations[name][0]
        total += pattern[:, slots][:, :, keys].float().mean(dim=0).to(total.device)
    return (total / n_layers).cpu()


def _decoded(trace: Trace) -> list[tuple[tuple[str, float], ...]]:
    """Return the likeliest tokens of each latent with their probabilities."""
    reasoner = trace.reasoner
    likely = reasoner.unembed(trace.latents).float().softmax(dim=-1).topk(_N_TOKENS)
    decode = reasoner.tokenizer.decode
    return [
        tuple((decode([token]), chance) for token, chance in zip(tokens, chances, strict=True))
        for tokens, chances in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]


def _first_run(places: Tensor) -> Tensor:
    """Return the leading stretch of consecutive positions: the tokens of the first image."""
    breaks = (places.diff() != 1).nonzero()
    return places[: int(breaks[0]) + 1] if len(breaks) else places


def _grid(n_tokens: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns that `n_tokens` make on an image of `shape`.

    The processor keeps the aspect ratio as well as whole patches let it, so the factorisation
    nearest to it is the grid.
    """
    ratio = shape[0] / shape[1]
    heights = [rows for rows in range(1, n_tokens + 1) if n_tokens % rows == 0]
    rows = min(heights, key=lambda rows: abs(math.log(rows * rows / n_tokens / ratio)))
    return rows, n_tokens // rows


def _veil(look: _Look, size: tuple[int, int]) -> go.Heatmap:
    """Return what darkens an image of `size` (width, height) where a slot does not look."""
    rows, columns = look.shares.shape
    width, height = size
    return go.Heatmap(
        z=look.shares.tolist(),
        x0=width / columns / 2 - 0.5,
        dx=width / columns,
        y0=height / rows / 2 - 0.5,
        dy=height / rows,
        zmin=0,
        zmax=float(look.shares.max()) or 1.0,
        colorscale=[(0, f"rgba({_VEIL},{_DARKEST})"), (1, f"rgba({_VEIL},{_CLEAREST})")],
        showscale=False,
        hovertemplate="%{z:.2%} of this slot's attention<extra></extra>",
    )


def _caption(look: _Look) -> dict[str, object]:
    """Return an axis title: how much attention the image gets, and the nearest tokens."""
    lines = [f"{percent(float(look.shares.sum()))} on the image"]
    for token, chance in look.words:
        shown = plotly_text(_short(visible(token).replace(" ", "\N{OPEN BOX}")))
        lines.append(f"<b>{shown}</b>  {percent(chance)}")
    return {"text": "<br>".join(lines), "font": {"size": 11, "color": MUTED}, "standoff": 6}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TOKEN else f"{text[: _LONGEST_TOKEN - 1]}…"
