"""Slots one by one, and in order: what each carries of what all carry together."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mindseye.plugins import register
from mindseye.report.escaping import plotly_text
from mindseye.report.figures.outcomes import choose, digits_of, unit_of, written
from mindseye.report.figures.theme import INDIRECT, INK, LEGEND_BELOW, LINE, MUTED, dress
from mindseye.report.numbers import span_of

__all__ = ["draw_slots"]

_SINGLES = {
    "shapley": "Shapley value",
    "frozen": "alone, others held",
    "rerolled": "alone, later re-made",
}
_PALE = "#c3d5f5"
_LEAST_SHARE = 0.1
"""Share of the total effect below which an axis never ends."""

_HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}"
    "<br>5% to 95% of %{customdata[3]} pairs: %{customdata[2]}<extra></extra>"
)


@register("figure", "slots")
def draw_slots(slots: pd.DataFrame, outcome: str | None = None, *, total: float = 0.0) -> go.Figure:
    """Draw what single slots do, and below it what the first ones do, if they were forced.

    A dotted line shows what all slots do together. Points are means over pairs.

    Args:
        slots: What `slot_effects` found.
        outcome: Which of its outcomes; the first one if left out.
        total: The pairs' total effect. The axis never ends below a tenth of it, so that slots that
            do nothing look like it.

    Raises:
        UnknownNameError: There is no such outcome.
    """
    named = choose(outcome, list(dict.fromkeys(slots["outcome"])))
    rows = slots[slots["outcome"] == named]
    means = {way: _means(held) for way, held in rows.groupby("way", sort=False)}
    joint = float(means["joint"]["mean"].iloc[0])
    titles = ["one slot at a time", "the first slots forced"][: 1 + ("prefix" in means)]
    figure = make_subplots(rows=len(titles), cols=1, vertical_spacing=0.3, subplot_titles=titles)
    _singles(figure, means, named)
    if "prefix" in means:
        _prefix(figure, means["prefix"], named)
    figure.add_hline(y=joint, line={"color": INK, "width": 1.2, "dash": "dot"})
    figure.update_annotations(font={"size": 12, "color": INK})
    _axes(figure, rows, named, _range(means, total))
    dress(
        figure,
        title="Slot by slot",
        subtitle=f"Mean change of the {plotly_text(named)} with clean slots in the reference run "
        f"({plotly_text(rows['level'].iloc[0])});<br>dotted: all together, {written(joint, named)}",
        height=220 + 160 * len(titles),
    )
    return figure.update_layout(
        showlegend=True,
        barmode="overlay",
        margin={"b": 76},
        legend=LEGEND_BELOW,
    )


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a way's mean effects by slot, with what nine pairs in ten lie between."""
    effects = rows.groupby("slot")["effect"]
    return pd.DataFrame(
        {
            "mean": effects.mean(),
            "low": effects.quantile(0.05),
            "high": effects.quantile(0.95),
            "n": effects.count(),
        }
    )


def _singles(figure: go.Figure, means: dict[Any, pd.DataFrame], named: str) -> None:
    for way, label in _SINGLES.items():
        if way not in means:
            continue
        held = means[way]
        common = {
            "x": held.index.to_list(),
            "y": held["mean"].to_list(),
            "name": label,
            "customdata": _spoken(held, [f"slot {slot}, {label}" for slot in held.index], named),
            "hovertemplate": _HOVER,
        }
        trace = (
            go.Bar(marker={"color": _PALE}, width=0.5, **common)
            if way == "shapley"
            else go.Scatter(mode="markers", marker=_marker(way), **common)
        )
        figure.add_trace(trace, row=1, col=1)


def _marker(way: str) -> dict[str, Any]:
    symbol = "circle-open" if way == "rerolled" else "circle"
    size = 12 if way == "rerolled" else 7
    return {"color": INDIRECT, "symbol": symbol, "size": size, "line": {"width": 2}}


def _prefix(figure: go.Figure, held: pd.DataFrame, named: str) -> None:
    heads = [f"first {n} forced, the rest re-made" for n in held.index]
    figure.add_trace(
        go.Scatter(
            x=held.index.to_list(),
            y=held["mean"].to_list(),
            mode="lines+markers",
            line={"color": INDIRECT, "width": 2},
            marker={"size": 7},
            customdata=_spoken(held, heads, named),
            hovertemplate=_HOVER,
            showlegend=False,
        ),
        row=2,
        col=1,
    )


def _spoken(held: pd.DataFrame, heads: list[str], named: str) -> list[list[str]]:
    """Return what hovering over each point says."""
    digits = digits_of(named)
    return [
        [
            head,
            written(row["mean"], named),
            span_of(row["low"], row["high"], digits=digits),
            f"{row['n']:.0f}",
        ]
        for head, (_, row) in zip(heads, held.iterrows(), strict=True)
    ]


def _axes(figure: go.Figure, rows: pd.DataFrame, named: str, ends: list[float]) -> None:
    n_slots = int(rows["slot"].max()) + 1
    figure.update_xaxes(dtick=max(1, -(-n_slots // 16)), showgrid=False, zeroline=False)
    figure.update_xaxes(title={"text": "latent slot", "font": {"color": MUTED}}, row=1)
    figure.update_xaxes(title={"text": "slots forced", "font": {"color": MUTED}}, row=2)
    figure.update_yaxes(
        title={"text": unit_of(named) or "effect", "font": {"color": MUTED}},
        range=ends,
        gridcolor=LINE,
        zeroline=True,
        zerolinecolor=MUTED,
        zerolinewidth=1,
        automargin=True,
    )


def _range(means: dict[Any, pd.DataFrame], total: float) -> list[float]:
    """Return the ends of the vertical axis: zero, every mean, and a tenth of the total effect."""
    drawn = pd.concat([held["mean"] for held in means.values()]).dropna()
    least = _LEAST_SHARE * total
    low, high = min(0.0, least, drawn.min()), max(0.0, least, drawn.max())
    room = 0.12 * (high - low) or 1.0
    return [low - room, high + room]
