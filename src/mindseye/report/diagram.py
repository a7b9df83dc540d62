"""The drawing of a verdict: image X, latents Z, answer Y, and what travels along each arrow."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from mindseye.causal import Mediation
from mindseye.report.figures.outcomes import digits_of, unit_of
from mindseye.report.numbers import nats, percent

__all__ = ["Arrow", "Block", "Diagram", "Node", "draw_diagram"]

WIDTH, HEIGHT = 360, 216
RADIUS = 25
_PLACES = {"x": (46, 152), "z": (180, 46), "y": (314, 152)}
_GAP = 7
_THINNEST, _THICKEST = 2.0, 11.0
_LONG = 100
"""Numbers from here on are written without decimals, for which there is no room."""


@dataclass(frozen=True, slots=True)
class Node:
    """A variable: its letter, what it stands for, its centre and where its caption goes."""

    letter: str
    meaning: str
    x: int
    y: int
    caption_y: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """A drawn arrow: a shaft, a head as polygon points, and the CSS class of its colour."""

    kind: str
    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    head: str


@dataclass(frozen=True, slots=True)
class Block:
    """An effect's name, number and interval, and where they stand."""

    kind: str
    name: str
    role: str
    mean: str
    interval: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Diagram:
    """All a template needs to draw one level.

    Attributes:
        level: What counts as the mediator.
        word: The verdict.
        reasons: Its reasons.
        description: The same in one sentence, for those who cannot see the drawing.
        nodes: X, Z and Y.
        arrows: X to Z, Z to Y, X to Y.
        blocks: The four path effects.
        total: The total effect.
        unit: Of all numbers; empty if they have none.
    """

    level: str
    word: str
    reasons: tuple[str, ...]
    description: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    blocks: tuple[Block, ...]
    total: str
    unit: str


def draw_diagram(mediation: Mediation, level: str) -> Diagram:
    """Lay out one level of a mediation.

    An arrow is as thick as its path's share of the total effect, taken as the mean of the pure and
    the total effect of that path: so taken, the direct and the indirect share add up to one. A
    path is grey if it is negligible, and both are if there is no total effect to share.
    """
    bound = mediation.margin_size
    rows = mediation.effects[mediation.effects["outcome"] == mediation.outcome]
    rows = rows[rows["level"] == level].set_index("effect")
    effects = {
        str(name): {end: float(row[end]) for end in ("mean", "low", "high")}
        for name, row in rows.iterrows()
    }
    verdict = mediation.verdicts[level]
    te = effects["te"]
    unit, digits = unit_of(mediation.outcome), digits_of(mediation.outcome)
    shares = _shares(effects)
    grey = {
        "direct": not shares or _is_small(effects, ("pde", "tde"), bound),
        "indirect": not shares or verdict.word == "negligible",
    }
    widths = {
        kind: _THINNEST + (_THICKEST - _THINNEST) * min(abs(shares.get(kind, 0.0)), 1.0)
        for kind in grey
    }
    kinds = {kind: "negligible" if is_grey else kind for kind, is_grey in grey.items()}
    block = functools.partial(_block, effects, bound, digits)
    return Diagram(
        level=level,
        word=verdict.word,
        reasons=verdict.reasons,
        description=_describe(
            f"Level {level}, verdict {verdict.word}",
            {name: nats(found["mean"], digits=digits) for name, found in effects.items()},
            shares,
        ),
        nodes=(
            Node("X", "image", *_PLACES["x"], caption_y=_PLACES["x"][1] + RADIUS + 16),
            Node("Z", "latents", *_PLACES["z"], caption_y=_PLACES["z"][1] - RADIUS - 8),
            Node("Y", "answer", *_PLACES["y"], caption_y=_PLACES["y"][1] + RADIUS + 16),
        ),
        arrows=(
            _arrow(kinds["indirect"], "x", "z", widths["indirect"]),
            _arrow(kinds["indirect"], "z", "y", widths["indirect"]),
            _arrow(kinds["direct"], "x", "y", widths["direct"]),
        ),
        blocks=(
            block("pie", "sufficiency", kinds["indirect"], (62, 30)),
            block("tie", "necessity", kinds["indirect"], (298, 30)),
            block("pde", "direct, pure", kinds["direct"], (120, 178)),
            block("tde", "direct, total", kinds["direct"], (240, 178)),
        ),
        total=nats(te["mean"], digits=digits),
        unit=unit,
    )


def _shares(effects: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return each path's share of the total effect; none if its interval covers zero."""
    te = effects["te"]
    if not (te["low"] > 0 or te["high"] < 0):
        return {}
    return {
        kind: (effects[pure]["mean"] + effects[total]["mean"]) / 2 / te["mean"]
        for kind, pure, total in (("direct", "pde", "tde"), ("indirect", "pie", "tie"))
    }


def _is_small(effects: dict[str, dict[str, float]], names: tuple[str, ...], bound: float) -> bool:
    return all(-bound < effects[n]["low"] and effects[n]["high"] < bound for n in names)


def _arrow(kind: str, start: str, end: str, width: float) -> Arrow:
    (x1, y1), (x2, y2) = _PLACES[start], _PLACES[end]
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    depth, half = 8 + width, 4 + 0.75 * width
    tip_x, tip_y = x2 - ux * (RADIUS + _GAP), y2 - uy * (RADIUS + _GAP)
    base_x, base_y = tip_x - ux * depth, tip_y - uy * depth
    corners = (
        (tip_x, tip_y),
        (base_x - uy * half, base_y + ux * half),
        (base_x + uy * half, base_y - ux * half),
    )
    return Arrow(
        kind,
        round(x1 + ux * (RADIUS + _GAP), 1),
        round(y1 + uy * (RADIUS + _GAP), 1),
        round(base_x + ux, 1),
        round(base_y + uy, 1),
        round(width, 1),
        " ".join(f"{x:.1f},{y:.1f}" for x, y in corners),
    )


def _block(
    effects: dict[str, dict[str, float]],
    bound: float,
    digits: int,
    name: str,
    role: str,
    kind: str,
    place: tuple[int, int],
) -> Block:
    found = effects[name]
    if _is_small(effects, (name,), bound):
        kind = "negligible"
    if max(abs(found["low"]), abs(found["high"])) >= _LONG:
        digits = 0
    ends = [nats(found[end], digits=digits) for end in ("low", "high")]
    return Block(
        kind, name.upper(), role, nats(found["mean"], digits=digits), " … ".join(ends), *place
    )


def _describe(head: str, means: dict[str, str], shares: dict[str, float]) -> str:
    numbers = ", ".join(f"{name.upper()} {mean}" for name, mean in means.items())
    split = (
        f"{percent(shares['indirect'])} of the total effect runs through the latents and "
        f"{percent(shares['direct'])} past them"
        if shares
        else "there is no total effect to split"
    )
    return f"{head}: {split}. {numbers}."
