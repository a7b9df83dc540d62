"""Results as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["comparison", "growth"]


def comparison(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of one sweep."""
    first = rows[0]
    lines = [
        f"\n{first['sites']} sites; largest effect of a patch on a logit "
        f"{first['largest_effect']:.1e}; unpatched, ours and raw hooks differ by "
        f"{first['rounding']:.1e}",
        f"{'method':34}{'seconds':>9}{'runs':>8}{'cells':>9}{'ratio':>8}{'differs':>10}"
        f"{'memory':>10}  note",
    ]
    for row in rows:
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f} MiB"
        scaled = row["cells_run"] < row["sites"]
        lines.append(
            f"{row['method']:34}{row['seconds']:9.2f}{row['seconds_runs']:8.2f}"
            f"{row['seconds_cells']:9.2f}{row['ratio']:7.1f}x{row['difference']:10.1e}{peak:>10}"
            f"  {'scaled from ' + str(row['cells_run']) + ' cells' if scaled else 'all cells run'}"
        )
    lines.append(
        f"edited part alone: {first['seconds_cells']:.3f} s, {first['cells_to_bound']:.2f} times "
        f"the arithmetic bound of {first['bound_seconds']:.3f} s"
    )
    return "\n".join(lines)


def growth(name: str, points: Sequence[dict[str, Any]]) -> str:
    """Return one scaling curve."""
    lines = [f"\n{name:>8}{'sites':>8}{'seconds':>10}{'bound':>10}{'ratio':>8}"]
    for point in points:
        ratio = point["seconds"] / point["bound_seconds"] if point["bound_seconds"] else 0
        lines.append(
            f"{point[name]:8}{point['cells']:8}{point['seconds']:10.3f}"
            f"{point['bound_seconds']:10.3f}{ratio:7.2f}x"
        )
    return "\n".join(lines)
