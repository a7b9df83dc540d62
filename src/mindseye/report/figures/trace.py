"""One run: its image, where each latent looks, and the words nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from mindseye.plugins import register
from mindseye.readouts.attending import slot_patterns
from mindseye.readouts.lenses import LATENT, unembedded
from mindseye.readouts.lenses.states import gather
from mindseye.reasoners import Trace
from mindseye.reasoners.grids import token_grid
from mindseye.report.escaping import plotly_text, visible
from mindseye.report.figures.theme import INK, MUTED, dress
from mindseye.report.figures.veils import bare, veil
from mindseye.report.numbers import percent
from mindseye.report.pictures import data_uri, shrink

__all__ = ["draw_trace"]

_LONGEST = 256
_N_TOKENS = 3
_LONGEST_TOKEN = 10
_FEW = 3
"""With this many columns or fewer, the place is taken to be narrow."""


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
    maximum. Beneath each panel stand the tokens that the output head makes of the latent, as the
    logit lens of `readouts.lenses` reads it. Costs one replay.

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
            figure.add_trace(veil(looks[i - 1].shares, picture.size), row=row, col=column)
            figure.update_xaxes(title=_caption(looks[i - 1]), row=row, col=column)
    bare(figure)
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
    if not len(trace.latent_positions):
        return []
    grid = token_grid(trace)
    mean = slot_patterns(trace).weights.float().mean(dim=(0, 1))
    attention = mean[:, grid.positions.cpu()].reshape(-1, grid.rows, grid.columns)
    words = _decoded(trace)
    return [_Look(shares, said) for shares, said in zip(attention, words, strict=True)]


def _decoded(trace: Trace) -> list[tuple[tuple[str, float], ...]]:
    """Return the likeliest tokens of each latent with their probabilities."""
    reasoner = trace.reasoner
    (states,) = gather(reasoner, [trace], [LATENT])
    logits = unembedded(reasoner, states.vectors, normed=states.normed, at_slots=states.at_slots)
    likely = logits.softmax(dim=-1).topk(_N_TOKENS)
    decode = reasoner.tokenizer.decode
    return [
        tuple((decode([token]), chance) for token, chance in zip(tokens, chances, strict=True))
        for tokens, chances in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]


def _caption(look: _Look) -> dict[str, object]:
    """Return an axis title: how much attention the image gets, and the nearest tokens."""
    lines = [f"{percent(float(look.shares.sum()))} on the image"]
    for token, chance in look.words:
        shown = plotly_text(_short(visible(token).replace(" ", "\N{OPEN BOX}")))
        lines.append(f"<b>{shown}</b>  {percent(chance)}")
    return {"text": "<br>".join(lines), "font": {"size": 11, "color": MUTED}, "standoff": 6}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TOKEN else f"{text[: _LONGEST_TOKEN - 1]}…"
