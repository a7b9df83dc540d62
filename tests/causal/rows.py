"""Made-up rows of a mediation, as `measure_pair` would give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mindseye.causal import controlled, effects

LEVELS = ("embedding", "kv", "span")
CELLS = ("00", "01", "10", "11")


def rows(
    n: int = 12,
    levels: Sequence[str] = LEVELS,
    outcomes: Sequence[str] = ("logit difference", "probability"),
    *,
    per_cluster: int = 1,
    share: float = 0.3,
    te: float = 4.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows of pairs of which a share of the total effect is mediated, with noise."""
    draw, found = np.random.default_rng(seed), []
    for outcome in outcomes:
        ends = np.stack([np.zeros(n), te + draw.normal(size=n)], axis=1)
        for place, level in enumerate(levels):
            y = np.empty((n, 2, 2))
            y[:, 0, 0], y[:, 1, 1] = ends.T
            y[:, 0, 1] = (share + 0.1 * place) * te + draw.normal(size=n)
            y[:, 1, 0] = (1 - share) * te + draw.normal(size=n)
            every = effects(y)
            found += [
                {"pair": f"pair {i}", "cluster": f"scene {i // per_cluster}", "level": level}
                | {"outcome": outcome}
                | {f"y{cell}": y[i, int(cell[0]), int(cell[1])] for cell in CELLS}
                | {name: each[i] for name, each in every.items()}
                | {f"said_{cell}": int(draw.integers(3)) for cell in CELLS}
                for i in range(n)
            ]
    return pd.DataFrame(found)


def pinned(table: pd.DataFrame, pins: Sequence[str] = ("zero", "noise")) -> pd.DataFrame:
    """Rows of the same pairs under pins."""
    draw, found = np.random.default_rng(1), []
    for pin in pins:
        for row in table.to_dict("records"):
            y = np.array([row[f"y{cell}"] for cell in CELLS]).reshape(1, 2, 2)
            under = draw.normal(size=(1, 2))
            found.append(
                {key: row[key] for key in ("pair", "cluster", "level", "outcome")}
                | {"pin": pin, "y0": under[0, 0], "y1": under[0, 1]}
                | {name: each[0] for name, each in controlled(y, under).items()}
            )
    return pd.DataFrame(found)
