"""What probes read from latents, beside what they read from everything else."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.plugins import register
from mindseye.readouts.geometry import JOINED
from mindseye.readouts.probes import FED, Probe, ProbeBars
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.panels import make_room
from mindseye.report.figures.theme import COLOURS, DIRECT, INDIRECT, INK, LINE, MUTED, dress
from mindseye.report.numbers import nats, percent

__all__ = ["draw_probes"]

_MOST_PANELS = 4
"""Layers drawn as bars, a panel each; of more, curves over the layers are drawn."""

_HOVER = (
    "<b>%{customdata[0]}</b><br>read correctly: %{customdata[1]} (95%: %{customdata[2]})<br>"
    "shuffled labels: %{customdata[3]}; commonest label: %{customdata[4]}<br>"
    "selectivity: %{customdata[5]}; p = %{customdata[6]}<br>"
    "V-information: %{customdata[7]} bits; compression: %{customdata[8]}<extra></extra>"
)


@register("figure", "probes")
def draw_probes(bars: ProbeBars) -> go.Figure:
    """Draw how often probes read the target: latents, then their baselines.

    Up to four layers are drawn as bars, a panel each; more are drawn as curves over the layers,
    without single slots if there is anything else. Intervals are those over groups; open circles
    are shuffled labels, and the dotted line is the commonest label.

    Args:
        bars: What `probe_runs` found.
    """
    few = len(bars.layers) <= _MOST_PANELS
    figure = _panels(bars) if few else _curves(bars)
    majority = next(iter(bars.probes.values())).majority
    figure.add_hline(y=majority, line={"color": INK, "width": 1.2, "dash": "dot"})
    figure.update_yaxes(
        range=[0, 1.03], tickformat=".0%", gridcolor=LINE, zeroline=False, automargin=True
    )
    figure.update_annotations(font={"size": 12, "color": INK})
    height = 170 + 270 * len(bars.layers) if few else 480
    how = "open circles: shuffled labels" if few else "means of all slots, or all slots end to end"
    dress(
        figure,
        title="What probes read, and from what",
        subtitle="Accuracy on held-out images with 95% intervals; dotted: the commonest label; "
        f"{how}.<br>Being read by a probe is not being read by the model",
        height=height,
    )
    make_room(figure, height)
    return figure if few else figure.update_layout(showlegend=True, margin={"b": 60})


def _panels(bars: ProbeBars) -> go.Figure:
    """Return a panel of bars per layer; names stand below the last."""
    figure = make_subplots(
        rows=len(bars.layers),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.14 / len(bars.layers),
        subplot_titles=[_layer(layer) for layer in bars.layers],
    )
    for row, layer in enumerate(bars.layers):
        held = {key: found for key, found in bars.probes.items() if key[0] == layer}
        names = [_name(name, slot) for _, name, slot in held]
        figure.add_trace(_bars(bars, held, names), row=row + 1, col=1)
        figure.add_trace(_circles(held, names), row=row + 1, col=1)
    figure.update_xaxes(showgrid=False, tickangle=-40, automargin=True)
    return figure


def _bars(bars: ProbeBars, held: dict[tuple[int, str, int], Probe], names: list[str]) -> go.Bar:
    colours = [MUTED if name in bars.baselines else INDIRECT for _, name, _ in held]
    return go.Bar(
        x=names,
        y=[found.accuracy for found in held.values()],
        marker={"color": colours, "opacity": 0.85},
        error_y=_ends(list(held.values()), INK),
        customdata=[_said(name, found) for name, found in zip(names, held.values(), strict=True)],
        hovertemplate=_HOVER,
    )


def _circles(held: dict[tuple[int, str, int], Probe], names: list[str]) -> go.Scatter:
    return go.Scatter(
        x=names,
        y=[found.shuffled for found in held.values()],
        mode="markers",
        marker={"symbol": "circle-open", "size": 7, "color": DIRECT, "line": {"width": 1.6}},
        customdata=[percent(found.shuffled) for found in held.values()],
        hovertemplate="<b>%{x}</b><br>shuffled labels: %{customdata}<extra></extra>",
    )


def _curves(bars: ProbeBars) -> go.Figure:
    """Return a curve over the layers per representation that has no single slots."""
    figure = go.Figure()
    for k, (name, slot) in enumerate(_drawn(bars)):
        held = {layer: found for (layer, *own), found in bars.probes.items() if own == [name, slot]}
        colour = COLOURS[k % len(COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=list(held),
                y=[found.accuracy for found in held.values()],
                name=_name(name, slot),
                mode="lines+markers",
                line={"color": colour, "width": 1.4 if name in bars.baselines else 2.4},
                marker={"size": 5},
                error_y=_ends(list(held.values()), colour),
                customdata=[
                    _said(f"{_name(name, slot)}, {_layer(layer)}", found)
                    for layer, found in held.items()
                ],
                hovertemplate=_HOVER,
            )
        )
    title = {"text": f"layer ({FED}: what was fed)", "font": {"color": MUTED}}
    return figure.update_xaxes(title=title, showgrid=False, zeroline=False)


def _drawn(bars: ProbeBars) -> list[tuple[str, int]]:
    """Return whose curves are drawn: single slots only if nothing else is known of latents."""
    every = list(dict.fromkeys((name, slot) for _, name, slot in bars.probes))
    joined = [(name, slot) for name, slot in every if slot == JOINED]
    return joined if any(name not in bars.baselines for name, _ in joined) else every


def _said(name: str, found: Probe) -> list[str]:
    """Return what the hover shows."""
    return [
        name,
        percent(found.accuracy),
        f"{percent(found.low)} to {percent(found.high)}",
        percent(found.shuffled),
        percent(found.majority),
        nats(found.selectivity),
        nats(found.p_value, digits=3),
        nats(found.v_information),
        nats(found.compression),
    ]


def _ends(found: list[Probe], colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.accuracy for each in found],
        "arrayminus": [each.accuracy - each.low for each in found],
        "color": colour,
        "thickness": 1,
        "width": 2,
    }


def _name(name: str, slot: int) -> str:
    return plotly_text(name if slot == JOINED else f"{name}, slot {slot}")


def _layer(layer: int) -> str:
    return "as fed to the decoder" if layer == FED else f"after layer {layer}"
