"""What a lens makes of one run: the likeliest token by layer and slot, beside its floors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.errors import UnknownNameError
from mindseye.plugins import register
from mindseye.readouts.lenses import LATENT, Lens
from mindseye.report.escaping import plotly_text, visible
from mindseye.report.figures.panels import make_room
from mindseye.report.figures.theme import COLOURS, INK, LEGEND_BELOW, LINE, MUTED, dress
from mindseye.report.numbers import nats, percent

__all__ = ["draw_lens"]

_LONGEST = 12
_ACROSS = 84
"""Characters that fit side by side in a row of cells."""
_IN_HOVER = 5
_LONGEST_CONTEXT = 70
_SEQUENTIAL = [(0.0, "#f8f9fb"), (0.35, "#c3d5f5"), (0.7, "#5583db"), (1.0, "#14398f")]
_DARK = 0.62
"""Share of the scale from which text is white."""

_NAMES = {
    "logit": "Logit lens",
    "tuned": "Tuned lens",
    "latentlens": "LatentLens: nearest words in context",
    "patchscopes": "Patchscopes: what the model says of it",
}
_CURVES = (
    ("share", COLOURS[0], "own latents"),
    ("others", COLOURS[1], "other runs' latents"),
    ("permuted", COLOURS[7], "entries permuted"),
)


@register("figure", "lens")
def draw_lens(lens: Lens, run: int = 0) -> go.Figure:
    """Draw a run's best token in every layer and slot and, with targets, how often all runs hit.

    Colour is how much more the token scores here than in other runs' latents at the same slot (than
    in permuted entries, if there is one run only); a confident lens of latents that are alike in
    all runs stays pale. Hovering shows further tokens with both floors.

    Args:
        lens: What `lens` found.
        run: Which run.

    Raises:
        UnknownNameError: There is no such run.
    """
    if not 0 <= run < len(lens.samples):
        raise UnknownNameError(
            f"No run {run} in this result; there are 0 to {len(lens.samples) - 1}. Draw one of "
            "these."
        )
    rows = lens.rows[lens.rows["run"] == run]
    layers = sorted(set(rows["layer"]), reverse=True)
    slots = sorted(set(rows["slot"]))
    scored = not lens.shown.empty
    figure = make_subplots(
        rows=1,
        cols=2 if scored else 1,
        column_widths=[0.7, 0.3] if scored else None,
        horizontal_spacing=0.09,
        subplot_titles=["", f"target in the top {lens.top}, all runs"] if scored else None,
        shared_yaxes=scored,
    )
    figure.add_trace(_tokens(lens, rows, layers, slots), row=1, col=1)
    names = [_named(layer) for layer in layers]
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=names[::-1],
        range=[-0.5, len(names) - 0.5],
        showgrid=False,
        automargin=True,
        row=1,
        col=1,
    )
    figure.update_xaxes(
        title={"text": "latent slot", "font": {"size": 12, "color": MUTED}},
        showgrid=False,
        dtick=1,
        row=1,
        col=1,
    )
    if scored:
        _add_agreement(figure, lens, layers)
    for note in _written(rows, layers, slots, _floored(rows)):
        figure.add_annotation(note, row=1, col=1)
    figure.update_annotations(selector={"yref": "paper"}, font={"size": 12, "color": INK})
    height = (240 if scored else 200) + 30 * max(len(layers), 5 if scored else 2)
    floor = {"others": "than in other runs", "permuted": "than in permuted entries", "": ""}
    dress(
        figure,
        title=f"{_NAMES[lens.kind]}: sample {plotly_text(visible(lens.samples[run]))}",
        subtitle=f"Best token by layer and slot; blue: scores more {floor[_floored(rows)]}<br>"
        f"latent: {plotly_text(lens.note)}",
        height=height,
    )
    return make_room(figure, height).update_layout(
        showlegend=scored,
        margin={"b": 90 if scored else 56},
        legend=LEGEND_BELOW | {"x": 1, "xanchor": "right"},
    )


def _floored(rows: pd.DataFrame) -> str:
    """Return the name of the floor that colours are told by; empty if there is none."""
    for name in ("others", "permuted"):
        if rows[name].notna().any():
            return name
    return ""


def _excess(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the best tokens with what they score above the floor."""
    best = rows[rows["rank"] == 0]
    floor = _floored(rows)
    beyond = best["score"] - (best[floor] if floor else 0.0)
    return best.assign(excess=beyond.clip(lower=0))


def _tokens(lens: Lens, rows: pd.DataFrame, layers: list[int], slots: list[int]) -> go.Heatmap:
    best = _excess(rows).pivot(index="layer", columns="slot", values="excess")
    hovers = {key: _hover(lens, held) for key, held in rows.groupby(["layer", "slot"], sort=False)}
    return go.Heatmap(
        z=best.reindex(index=layers, columns=slots).to_numpy().tolist(),
        x=slots,
        y=[_named(layer) for layer in layers],
        customdata=[[hovers.get((layer, slot), "") for slot in slots] for layer in layers],
        hovertemplate="<b>slot %{x}, %{y}</b><br>%{customdata}<extra></extra>",
        colorscale=_SEQUENTIAL,
        zmin=0,
        zmax=_widest(best),
        showscale=False,
        xgap=2,
        ygap=2,
    )


def _written(
    rows: pd.DataFrame, layers: list[int], slots: list[int], floor: str
) -> list[dict[str, object]]:
    """Return the tokens as annotations; a heatmap's own text has one colour for all cells."""
    best = _excess(rows)
    widest = _widest(best.pivot(index="layer", columns="slot", values="excess"))
    longest = int(np.clip(_ACROSS // len(slots), 2, _LONGEST))
    size = 12 if longest == _LONGEST else 9
    return [
        {
            "text": _token(text, longest),
            "x": int(slot),
            "y": _named(int(layer)),
            "showarrow": False,
            "font": {"size": size, "color": "#ffffff" if more > _DARK * widest else INK},
        }
        for layer, slot, text, more in best[["layer", "slot", "text", "excess"]].itertuples(
            index=False
        )
    ]


def _widest(best: pd.DataFrame) -> float:
    values = best.to_numpy(dtype=float)
    return max(float(np.nanmax(values)), 0.1)


def _hover(lens: Lens, held: pd.DataFrame) -> str:
    """Return the likeliest tokens of a cell with their scores and floors, escaped."""
    lines = []
    write = percent if lens.kind != "latentlens" else nats
    for row in held.head(_IN_HOVER).to_dict(orient="records"):
        floors = [
            f"{name} {write(row[key])}"
            for key, name in (("others", "other runs"), ("permuted", "permuted"))
            if not np.isnan(row[key])
        ]
        beside = f" ({', '.join(floors)})" if floors else ""
        lines.append(f"<b>{_token(row['text'])}</b>  {write(row['score'])}{beside}")
        if lens.kind == "latentlens":
            lines.append(f"   {_context(row['context'])}")
    if lens.kind == "patchscopes":
        lines.append(f"decoded: {_context(held['context'].iloc[0])}")
    return "<br>".join(lines)


def _add_agreement(figure: go.Figure, lens: Lens, layers: list[int]) -> None:
    """Add, layer by layer, how often targets are among the top tokens, beside the floors."""
    found = lens.agreement().set_index("layer").reindex(layers)
    for name, colour, label in _CURVES:
        if found[name].isna().all():
            continue
        own = name == "share"
        bars = {
            "type": "data",
            "symmetric": False,
            "array": (found["high"] - found["share"]).tolist(),
            "arrayminus": (found["share"] - found["low"]).tolist(),
            "thickness": 1.2,
            "width": 0,
        }
        figure.add_trace(
            go.Scatter(
                x=found[name].tolist(),
                y=[_named(layer) for layer in layers],
                error_x=bars if own else None,
                mode="markers" if own else "lines+markers",
                name=label,
                marker={"color": colour, "size": 8 if own else 5},
                line={"color": colour, "width": 1.5, "dash": "dot"},
                hovertemplate=f"<b>%{{y}}</b><br>{label}: %{{x:.0%}}<extra></extra>",
            ),
            row=1,
            col=2,
        )
    figure.update_xaxes(
        range=[-0.03, 1.05],
        tickformat=".0%",
        gridcolor=LINE,
        zeroline=False,
        title={"text": "share of slots", "font": {"size": 12, "color": MUTED}},
        row=1,
        col=2,
    )
    figure.update_yaxes(showgrid=False, showticklabels=False, row=1, col=2)


def _named(layer: int) -> str:
    return "latent" if layer == LATENT else f"layer {layer}"


def _token(text: str, longest: int = _LONGEST) -> str:
    shown = visible(text).replace(" ", "\N{OPEN BOX}") or "·"
    return plotly_text(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")


def _context(text: str) -> str:
    shown = visible(text)
    return plotly_text(
        shown if len(shown) <= _LONGEST_CONTEXT else f"{shown[: _LONGEST_CONTEXT - 1]}…"
    )
