"""What a number of pairs can show, told before they are run, from a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mindseye.causal.equivalence import needed_clusters, needed_items, smallest_detectable
from mindseye.causal.intervals import clustered
from mindseye.causal.mediation import Mediation, mediate
from mindseye.engine import LEVELS
from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["PILOT", "Forecast", "forecast"]

PILOT = 8
"""Pairs of a pilot, unless somebody asks for more."""

_POINTS = (0.01, 0.02, 0.03)


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What a study can be expected to show, with 80 % power at 5 %.

    Attributes:
        n_pairs: Pairs that are planned.
        pilot: What a few of them gave.
        effects: One row per level and effect (PIE and TIE): `level effect detectable share margin
            needed`: the smallest mean that the planned pairs would show, the same as a share of the
            pilot's TE, the margin, and how many clusters it takes to show an effect of zero to lie
            within it.
        answers: One row per margin in points of accuracy: `margin needed`: how many items it takes
            to show two accuracies equal within it, at the pilot's rate of changed answers.
    """

    n_pairs: int
    pilot: Mediation
    effects: pd.DataFrame
    answers: pd.DataFrame

    def __str__(self) -> str:
        """Say it in a few lines."""
        lines = [f"{self.n_pairs} pairs planned; from a pilot of {self.pilot.n_pairs}:"]
        if self.effects["needed"].isna().any() or self.effects["share"].isna().any():
            lines.append("  nothing can be said: one image only, or no total effect")
            return "\n".join(lines)
        for row in self.effects.to_dict("records"):
            lines.append(
                f"  {row['effect'].upper()} at {row['level']}: {row['detectable']:.2g} would be "
                f"shown ({row['share']:.1%} of TE); none, within {row['margin']:.2g}, takes "
                f"{row['needed']:.0f} images"
            )
        for row in self.answers.to_dict("records"):
            lines.append(f"  accuracies equal within {row['margin']:.0%}: {row['needed']:,} items")
        return "\n".join(lines)


def forecast(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    pilot: int = PILOT,
    levels: Sequence[str] = LEVELS,
    margin: float = 0.1,
    seed: int = 0,
) -> Forecast:
    """Run a few pairs, and say what all of them could show.

    Args:
        reasoner: What will run.
        pairs: The planned pairs.
        pilot: How many of them are run now.
        levels: What counts as the mediator.
        margin: Share of the total effect below which an effect counts as none.
        seed: Of the statistics.

    Raises:
        SampleError: A pilot of fewer than two pairs, or of more than there are.
    """
    if not 2 <= pilot <= len(pairs):
        raise SampleError(
            f"A pilot of {pilot} of {len(pairs)} pairs says nothing; it takes 2 to {len(pairs)}."
        )
    found = mediate(reasoner, pairs[:pilot], levels=levels, margin=margin, seed=seed)
    more = np.sqrt(found.n_pairs / len(pairs))
    rows = []
    for level, held in found.rows.groupby("level", sort=False):
        clusters, te = held["cluster"].tolist(), abs(held["te"].mean())
        for effect in ("pie", "tie"):
            values = held[effect].to_numpy(dtype=float)
            detectable = smallest_detectable(values, clusters) * more
            sums = clustered(values, clusters)
            spread = float(np.std(sums.sums[:, 0] / sums.sizes, ddof=1)) if sums.n > 1 else np.inf
            known = np.isfinite(spread) and found.margin_size > 0
            needed = needed_clusters(spread, found.margin_size) if known else np.nan
            rows.append(
                {"level": level, "effect": effect, "detectable": detectable}
                | {"share": detectable / te if te else np.nan}
                | {"margin": found.margin_size, "needed": needed}
            )
    te = found.effects[found.effects["effect"] == "tie"]
    discordant = float(te["flip_rate"].max())
    # At no change at all a pilot of n has seen fewer than 3 in n, by the rule of three.
    discordant = discordant or 3 / max(found.n_pairs, 3)
    answers = [{"margin": m, "needed": needed_items(discordant, m)} for m in _POINTS]
    return Forecast(len(pairs), found, pd.DataFrame(rows), pd.DataFrame(answers))
