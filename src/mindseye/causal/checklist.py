"""What a referee would ask of a claim about latents, item by item: done, failed or not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from mindseye.causal.mediation import Mediation

__all__ = ["ITEMS", "checklist"]

ITEMS = {
    1: "estimand named: level, direction, outcome, pairs",
    2: "all four cells, all six effects, identity residual",
    3: "TE's interval excludes 0 and exceeds the margin",
    4: "noise floor of the null patch; one code path",
    5: "both directions: sufficiency and necessity",
    6: "embedding, kv and span all measured",
    7: "in-distribution exchange first, and two other families of replacement",
    8: "self-repair: exchange crossed with a cut of the direct path",
    9: "all slots together before single ones; prefix curve or Shapley values",
    10: "the distribution over pairs, not only the mean",
    11: "equivalence test on clusters, with a margin and enough power",
    12: "positive controls at the same place",
    13: "negative controls",
    14: "structure, content and compute told apart: slots not read, zeros, noise",
    15: "positions aligned; answers not stated before the latents",
    16: "probes with selectivity, cosine beside its baseline",
    17: "multiplicity handled; exclusions and seeds recorded",
    18: "test-time absence kept apart from any benefit of training",
    19: "several models, sizes, tasks and prompts",
}
"""Our wording of the items; a study fills in what one mediation cannot know."""

Filled = tuple[str, str]
"""`done`, `failed` or `not run`, and a note."""


def checklist(found: Mediation, filled: Mapping[int, Filled] | None = None) -> pd.DataFrame:
    """Fill in the checklist from a mediation, and from what else was run beside it.

    Args:
        found: What was measured.
        filled: States and notes of items that something else settled, by number.

    Returns:
        One row per item: `item what state note`.
    """
    known = _from(found) | dict(filled or {})
    rows = [(number, what, *known.get(number, ("not run", ""))) for number, what in ITEMS.items()]
    return pd.DataFrame(rows, columns=["item", "what", "state", "note"])


def _from(found: Mediation) -> dict[int, Filled]:
    """Return what one mediation settles by itself."""
    main = found.effects[found.effects["outcome"] == found.outcome]
    te = main[main["effect"] == "te"].iloc[0]
    levels = list(found.verdicts)
    whole = {"embedding", "kv", "span"} <= set(levels)
    floor = found.guards["identity_max_abs"]
    exceeds = min(abs(te["low"]), abs(te["high"])) > found.margin_size
    excluded = bool(exceeds and (te["low"] > 0 or te["high"] < 0))
    undecided = [level for level in levels if found.verdicts[level].word == "inconclusive"]
    left_out = int(found.guards["pairs_left_out"])
    stated = float(found.runs["stated_before"].mean())
    pins = sorted(found.pinned["pin"].unique()) if len(found.pinned) else []
    others = [pin for pin in pins if pin != "cut"]
    return {
        1: (
            "done",
            f"{', '.join(levels)}; both directions; {found.outcome}; {found.n_pairs} pairs",
        ),
        2: _state(floor <= found.margin_size / 10, f"identity residual {floor:.2g}"),
        3: _state(excluded, f"{te['mean']:.3g} ({te['low']:.3g} to {te['high']:.3g})"),
        4: ("done", f"{floor:.2g}, {found.dtype}"),
        5: ("done", "PIE and TIE"),
        6: ("done", "") if whole else ("not run", f"only {', '.join(levels)}"),
        7: (
            ("done", f"interchange, {', '.join(others)}")
            if len(others) > 1
            else ("not run", "fewer than two")
        ),
        10: ("done", "quantiles, flips, mean of absolute effects"),
        11: _state(not undecided, _power_note(found, undecided)),
        12: _planted(found),
        14: _state("cut" in pins, ", ".join(pins)),
        15: _state(
            stated == 0, f"{left_out} pairs left out; {stated:.0%} of runs say the answer before"
        ),
        17: (
            "done",
            f"max-T over levels and effects; {left_out} pairs left out; seed {found.seed}",
        ),
        18: ("done", "only inference is measured; nothing is said of training"),
    }


def _state(ok: bool, note: str) -> Filled:
    return ("done" if ok else "failed", note)


def _planted(found: Mediation) -> Filled:
    if "pins_fired_min" not in found.guards:
        return ("not run", "nothing was planted")
    fires = found.guards["pins_fired_min"] > 0
    return _state(fires, "planted edits fire" if fires else "planted edits change nothing")


def _power_note(found: Mediation, undecided: list[str]) -> str:
    margin = f"margin {found.margin_size:.2g}, {found.n_clusters} clusters"
    return f"{margin}; undecided at {', '.join(undecided)}" if undecided else margin
