"""From rows per pair to means with intervals, as tidy frames.

Every interval of a summary draws the same resamples of clusters, so that effects, levels and
outcomes may be compared with each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mindseye.causal.answers import compare_answers
from mindseye.causal.effects import EFFECTS, NAMES
from mindseye.causal.equivalence import smallest_detectable
from mindseye.causal.intervals import Interval, interval, ratio_interval
from mindseye.causal.permutation import sign_flip

__all__ = [
    "answers_frame",
    "contrasts_frame",
    "effects_frame",
    "means",
    "pinned_frame",
    "shares_frame",
]

_BETWEEN = {
    "te": ("00", "11"),
    "pde": ("00", "10"),
    "tde": ("01", "11"),
    "pie": ("00", "01"),
    "tie": ("10", "11"),
}
"""The cells that an effect goes between; an interaction goes between none."""

CONTRASTS = {"relay": ("embedding", "kv"), "marker": ("kv", "span")}
"""What a wider level adds: slots as scratch space, and the markers."""

_SHARES = {"pure": "pie", "total": "tie"}


def effects_frame(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return one row per level, outcome and effect.

    Columns: `level outcome effect name mean low high` (95 %), `p_value` (sign flips of whole
    clusters, held over all levels and effects of an outcome), `abs_mean q05 q50 q95` of single
    pairs, `flip_rate` (share of pairs that say another token, or answer, in the one cell than in
    the other), `detectable` (the mean that as many clusters would show with 80 % power), `n` pairs
    and `clusters`.
    """
    found = []
    for outcome, mine in rows.groupby("outcome", sort=False):
        p_values = _p_values(mine, seed)
        for level, held in mine.groupby("level", sort=False):
            clusters = held["cluster"].tolist()
            for effect in EFFECTS:
                values = held[effect].to_numpy(dtype=float)
                found.append(
                    {"level": level, "outcome": outcome, "effect": effect, "name": NAMES[effect]}
                    | _ends(_mean(values, clusters, seed))
                    | {"p_value": p_values.get((str(level), effect), np.nan)}
                    | _spread(values)
                    | {"flip_rate": _flip_rate(held, effect)}
                    | {"detectable": smallest_detectable(values, clusters)}
                    | {"n": len(held), "clusters": len(set(clusters))}
                )
    return pd.DataFrame(found)


def contrasts_frame(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return what a wider level adds to a narrower one, pair by pair.

    Columns: `contrast outcome effect mean low high`; `relay` is kv - embedding, `marker` is
    span - kv. Empty if neither pair of levels was measured.
    """
    found = []
    for contrast, outcome, wide, narrow in _between_levels(rows):
        shared = wide.index.intersection(narrow.index)
        clusters = wide.loc[shared, "cluster"].tolist()
        for effect in EFFECTS[1:]:
            values = (wide.loc[shared, effect] - narrow.loc[shared, effect]).to_numpy(dtype=float)
            found.append(
                {"contrast": contrast, "outcome": outcome, "effect": effect}
                | _ends(_mean(values, clusters, seed))
            )
    columns = ["contrast", "outcome", "effect", "mean", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def shares_frame(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the proportion mediated, pure (PIE / TE) and total (TIE / TE), as ratios of means.

    Columns: `level outcome share mean low high refused`; a share is refused, and not a number,
    where TE's interval covers 0, or where its two forms have different signs beyond their
    intervals. It is not comparable between outcomes.
    """
    found = []
    for (level, outcome), held in rows.groupby(["level", "outcome"], sort=False):
        clusters = held["cluster"].tolist()
        te = held["te"].to_numpy(dtype=float)
        total = _mean(te, clusters, seed)
        ratios = {
            share: ratio_interval(held[effect].to_numpy(dtype=float), te, clusters)
            for share, effect in _SHARES.items()
        }
        refused = _refusal(total, list(ratios.values()))
        for share, ratio in ratios.items():
            shown = ratio if ratio is not None and not refused else Interval(*[np.nan] * 3)
            found.append(
                {"level": level, "outcome": outcome, "share": share}
                | _ends(shown)
                | {"refused": refused}
            )
    return pd.DataFrame(found)


def pinned_frame(pinned: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return controlled effects by level, pin and outcome.

    Columns: `level pin outcome quantity mean low high`; quantities are `cde`, `intref` and `nec`.
    """
    found = []
    for (level, pin, outcome), held in pinned.groupby(["level", "pin", "outcome"], sort=False):
        clusters = held["cluster"].tolist()
        found += [
            {"level": level, "pin": pin, "outcome": outcome, "quantity": quantity}
            | _ends(_mean(held[quantity].to_numpy(dtype=float), clusters, seed))
            for quantity in ("cde", "intref", "nec")
        ]
    return pd.DataFrame(found)


def answers_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how parsed answers differ between the cells of an effect, where runs decoded on.

    Columns: `level effect` and those of `Comparison`: items both cells answer rightly, only the
    first, only the second, neither, the flip rate with its exact interval, and McNemar's p-value.
    """
    if "answer_00" not in rows:
        return pd.DataFrame(columns=["level", "effect"])
    found = []
    for level, held in rows.dropna(subset="answer_00").groupby("level", sort=False):
        held = held.drop_duplicates("pair")
        for effect, cells in _BETWEEN.items():
            first, second = (held[f"answer_{cell}"].tolist() for cell in cells)
            same = compare_answers(first, second, held["gold"].tolist())
            found.append(
                {"level": level, "effect": effect, "both": same.both}
                | {"only_first": same.only_first, "only_second": same.only_second}
                | {"neither": same.neither, "flip_rate": same.flip_rate.mean}
                | {"low": same.flip_rate.low, "high": same.flip_rate.high}
                | {"p_value": same.p_value}
            )
    return pd.DataFrame(found)


def means(
    rows: pd.DataFrame,
    by: Sequence[str],
    *,
    value: str = "effect",
    clusters: Mapping[str, Hashable] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the means of any experiment's rows, with 95 % intervals on clusters.

    Args:
        rows: One row per pair and whatever it was measured at, with a column `pair`, such as those
            of `slot_effects`, `dose_response`, `backup_effects`, `battery` or a sweep.
        by: Columns that tell what is averaged apart: `["way", "slot"]`.
        value: The column that is averaged.
        clusters: What each pair belongs to, by its id; every pair is its own if left out.
        seed: Of the bootstrap; every group draws the same resamples.

    Returns:
        One row per group: the columns of `by`, then `mean low high n`.
    """
    found = []
    for key, held in rows.groupby(list(by), sort=False):
        pairs = held["pair"].tolist()
        of = [clusters[pair] for pair in pairs] if clusters is not None else pairs
        values = held[value].to_numpy(dtype=float)
        found.append(
            dict(zip(by, key, strict=True)) | _ends(_mean(values, of, seed)) | {"n": len(held)}
        )
    return pd.DataFrame(found)


def _mean(values: Float[np.ndarray, " pairs"], clusters: Sequence[Any], seed: int) -> Interval:
    return interval(values, clusters, rng=np.random.default_rng(seed))


def _ends(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _spread(values: Float[np.ndarray, " pairs"]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"abs_mean": float(np.abs(values).mean()), "q05": low, "q50": middle, "q95": high}


def _flip_rate(held: pd.DataFrame, effect: str) -> float:
    if effect not in _BETWEEN:
        return np.nan
    what = "answer" if "answer_00" in held and held["answer_00"].notna().all() else "said"
    before, after = (held[f"{what}_{cell}"] for cell in _BETWEEN[effect])
    return float((before != after).mean())


def _p_values(rows: pd.DataFrame, seed: int) -> dict[tuple[str, str], float]:
    """Return p-values of every level and effect of one outcome, corrected for their number."""
    if not np.isfinite(rows[list(EFFECTS)].to_numpy(dtype=float)).all():
        return {}
    # Pairs that some level leaves out are left out of the family of tests.
    wide = rows.pivot(index="pair", columns="level", values=list(EFFECTS)).dropna()
    values = wide.to_numpy(dtype=float)
    if not len(values):
        return {}
    clusters = rows.drop_duplicates("pair").set_index("pair").loc[wide.index, "cluster"].tolist()
    p = sign_flip(values, clusters, rng=np.random.default_rng(seed))
    places: list[Any] = list(wide.columns)
    return {(level, effect): float(each) for (effect, level), each in zip(places, p, strict=True)}


def _between_levels(
    rows: pd.DataFrame,
) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Yield a contrast, an outcome, and the rows of the wider and the narrower level by pair."""
    for outcome, mine in rows.groupby("outcome", sort=False):
        by_level = {level: held.set_index("pair") for level, held in mine.groupby("level")}
        for contrast, (narrow, wide) in CONTRASTS.items():
            if {narrow, wide} <= set(by_level):
                yield contrast, str(outcome), by_level[wide], by_level[narrow]


def _refusal(total: Interval, ratios: list[Interval | None]) -> str:
    """Say why no proportion is shown; empty if one is."""
    if not (total.low > 0 or total.high < 0) or None in ratios:
        return "TE's interval covers 0"
    pure, whole = (each for each in ratios if each is not None)
    if (pure.low > 0 and whole.high < 0) or (pure.high < 0 and whole.low > 0):
        return "PIE and TIE have different signs"
    return ""
