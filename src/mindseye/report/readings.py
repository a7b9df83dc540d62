"""What the second page shows of an audit: what latents say, and what replacing them does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mindseye.causal import Mediation
from mindseye.report.beyond import Cell, Row, Table
from mindseye.report.embedded import Figure, embed
from mindseye.report.figures import (
    draw_attention,
    draw_collapse,
    draw_gaze,
    draw_lens,
    draw_probes,
    draw_similarity,
)
from mindseye.report.figures.outcomes import digits_of, unit_of
from mindseye.report.numbers import nats, percent, span_of
from mindseye.studies import Audit, Latents

__all__ = ["WORDS", "LatentsView", "latents_view"]

WORDS = {
    "spread": "Vectors of different images point different ways.",
    "anisotropic": "All vectors point nearly the same way, as ordinary last-layer states do, and "
    "yet images can be told apart by what is left.",
    "collapsed": "Different images cannot be told apart by their latents, beyond what a change "
    "that should not matter does as well.",
    "collapsed-but-functional": "The latents are the same for every image, and the answer is lost "
    "without them: a soft prompt.",
    "inconclusive": "The runs do not decide.",
}
"""What is said of the latents' geometry."""


@dataclass(frozen=True, slots=True)
class LatentsView:
    """One reasoner's section of the second page.

    Attributes:
        id: Prefix of its elements' ids.
        name: Unescaped, like all texts here.
        word: What its geometry may be called.
        reasons: Why.
        n_runs: Runs that were read.
        figures: In the order they are shown.
        replacements: What feeding other things does.
    """

    id: str
    name: str
    word: str
    reasons: tuple[str, ...]
    n_runs: int
    figures: tuple[Figure, ...]
    replacements: Table


def latents_view(audit: Audit, id: str) -> LatentsView | None:
    """Return what the page shows of an audit; nothing if no latents were read.

    Args:
        audit: What was found.
        id: Prefix of the section's element ids.
    """
    found = audit.latents
    if found is None:
        return None
    return LatentsView(
        id=id,
        name=audit.name,
        word=found.degeneracy.word,
        reasons=found.degeneracy.reasons,
        n_runs=found.n_runs,
        figures=_figures(found, id),
        replacements=_replacements(found, audit.mediation),
    )


def _figures(found: Latents, id: str) -> tuple[Figure, ...]:
    """Return what is drawn, with a layout for small screens where panels stand side by side."""
    similarity = found.similarity
    drawn: dict[str, tuple[go.Figure, go.Figure | None]] = {
        "similarity": (draw_similarity(similarity), draw_similarity(similarity, columns=2)),
        "collapse": (draw_collapse(similarity), draw_collapse(similarity, columns=1)),
    }
    if found.probes is not None:
        drawn["probes"] = (draw_probes(found.probes), None)
    drawn["lens"] = (draw_lens(found.lens), None)
    if found.attention is not None:
        gaze = next(iter(found.attention.gazes.values()))
        drawn["attention"] = (draw_attention(found.attention), None)
        drawn["gaze"] = (draw_gaze(gaze), draw_gaze(gaze, columns=3))
    return tuple(embed(f"{id}-{name}", *both) for name, both in drawn.items())


def _replacements(found: Latents, mediation: Mediation) -> Table:
    rows = [
        Row(str(row["arm"]), "", _cells(row, mediation))
        for row in found.effects().to_dict("records")
    ]
    unit = unit_of(mediation.outcome)
    return Table(
        "Other things in the latents' place",
        "What the clean run loses when its slots are fed something else, "
        f"{f'in {unit}, ' if unit else ''}with 95% intervals; light where that lies within the "
        "margin. Beside it, how strange the vectors are: the share of the model's own latents that "
        "are shorter, the distance from their mean in standard deviations (1 is usual), and the "
        "cosine distance to the nearest latent of another image.",
        ("Pairs", "Effect", "Shorter", "Deviations", "Nearest"),
        tuple(rows),
    )


def _cells(row: Mapping[Any, Any], mediation: Mediation) -> tuple[Cell, ...]:
    digits, size = digits_of(mediation.outcome), mediation.margin_size
    n = Cell(str(row["n"]), "")
    effect = Cell(
        nats(row["mean"], digits=digits),
        span_of(row["low"], row["high"], digits=digits),
        is_small=-size < row["low"] and row["high"] < size,
    )
    if not np.isfinite(row["norm_percentile"]):
        return (n, effect, *[Cell("–", "")] * 3)
    return (
        n,
        effect,
        Cell(percent(row["norm_percentile"]), ""),
        Cell(f"{row['mahalanobis']:.1f}", ""),
        Cell(f"{row['nearest']:.2f}", ""),
    )
