"""The benchmark's figures, as plain SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["bars", "curves"]

_OURS, _THEIRS, _BOUND, _INK, _GRID = "#0b6e6e", "#9aa5b1", "#c8553d", "#222222", "#e3e6ea"
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def bars(rows: Sequence[dict[str, Any]]) -> str:
    """Draw seconds per method on a logarithmic axis, one block per number of sites."""
    left, wide, line, top = 250, 420, 24, 34
    counts = list(dict.fromkeys(row["sites"] for row in rows))
    every = [row["seconds"] for row in rows]
    low = 10 ** math.floor(math.log10(min(every)))
    high = 10 ** math.ceil(math.log10(max(every)))

    def along(value: float) -> float:
        return wide * math.log10(value / low) / math.log10(high / low)

    parts: list[str] = []
    y = top
    for count in counts:
        parts.append(_text(8, y, f"{count} sites", weight="bold"))
        y += line
        for row in (each for each in rows if each["sites"] == count):
            color = _OURS if row["method"] == "mindseye" else _THEIRS
            length = max(along(row["seconds"]), 1)
            parts.append(_text(left - 8, y, row["method"], anchor="end"))
            parts.append(
                f'<rect x="{left}" y="{y - 13}" width="{length:.1f}" height="17" fill="{color}"/>'
            )
            times = "" if row["ratio"] == 1 else f", {row['ratio']:.3g}×"
            parts.append(_text(left + length + 6, y, f"{row['seconds']:.3g} s{times}"))
            y += line
        y += line // 2
    decades = round(math.log10(high / low))
    ticks = [low * 10**power for power in range(decades + 1)]
    grid = [_line(left + along(t), top - 12, left + along(t), y - 8, _GRID) for t in ticks]
    names = [_text(left + along(t), y + 8, f"{t:g} s", anchor="middle") for t in ticks]
    return _svg(left + wide + 150, y + 20, [*grid, *parts, *names])


def curves(panels: Sequence[tuple[str, str, Sequence[dict[str, Any]]]]) -> str:
    """Draw seconds of the edited part, and the bound, against several things.

    Args:
        panels: Title, key of the horizontal axis, and its points.
    """
    wide, tall, gap, top = 230, 150, 80, 60
    parts = [
        _text(70, 20, "edited part", color=_OURS, weight="bold"),
        _text(170, 20, "bound", color=_BOUND, weight="bold"),
    ]
    for index, (title, key, points) in enumerate(panels):
        x0 = 70 + index * (wide + gap)
        xs = [point[key] for point in points]
        highest = max(max(point["seconds"], point["bound_seconds"]) for point in points)
        spread = (max(xs) - min(xs)) or 1

        def place(
            point: dict[str, Any],
            of: str,
            x0: int = x0,
            xs: Any = xs,
            spread: Any = spread,
            key: str = key,
            highest: float = highest,
        ) -> str:
            x = x0 + wide * (point[key] - min(xs)) / spread
            return f"{x:.1f},{top + tall * (1 - point[of] / highest):.1f}"

        parts.append(_text(x0, top - 14, title))
        parts.append(_line(x0, top + tall, x0 + wide, top + tall, _INK))
        parts.append(_line(x0, top, x0, top + tall, _INK))
        parts.append(_text(x0 - 6, top + 5, f"{highest:.2g} s", anchor="end"))
        parts.append(_text(x0 - 6, top + tall, "0", anchor="end"))
        parts.append(_text(x0, top + tall + 18, f"{min(xs)}", anchor="middle"))
        parts.append(_text(x0 + wide, top + tall + 18, f"{max(xs)}", anchor="middle"))
        for of, color in (("bound_seconds", _BOUND), ("seconds", _OURS)):
            drawn = " ".join(place(point, of) for point in points)
            parts.append(
                f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="2"/>'
            )
    return _svg(70 + len(panels) * (wide + gap), top + tall + 30, parts)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" {_FONT}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def _text(
    x: float, y: float, words: str, anchor: str = "start", color: str = _INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'
