"""How often a lens shows a known word, beside how often it would have shown it anyway."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mindseye.causal import interval
from mindseye.errors import SampleError
from mindseye.readouts.lenses.states import States
from mindseye.readouts.lenses.vocabulary import Reading
from mindseye.reasoners import Reasoner

__all__ = ["agreement", "hits", "target_ids"]


def target_ids(reasoner: Reasoner, word: str) -> frozenset[int]:
    """Return the tokens that count as a word: its first one, after a space or not, in either case.

    A word of several tokens counts as shown by its first, which other words may begin with too; the
    floors show how much that gives away.

    Raises:
        SampleError: The word is empty.
        ModelError: The reasoner has no tokenizer.
    """
    bare = word.strip()
    reasoner.read([])  # speaks up if there is no tokenizer
    if not bare:
        raise SampleError(f"A target was given as {word!r}; expected a word. Give it one.")
    found = set()
    for spelt in {bare, bare.lower(), bare.capitalize()}:
        for lead in ("", " "):
            ids = reasoner.tokenizer(lead + spelt, add_special_tokens=False)["input_ids"]
            # Some tokenizers write a space as a token of its own.
            words = [index for index in ids if reasoner.read([index]).strip()]
            found.update(words[:1])
    return frozenset(found)


def hits(
    reading: Reading, states: States, targets: Sequence[frozenset[int]], *, floor: bool
) -> pd.DataFrame:
    """Return one row per run and slot: whether its top tokens hold the run's target.

    Args:
        reading: What a lens shows of one layer.
        states: What it was pointed at.
        targets: Of every run.
        floor: Whether to look into the floors too.

    Returns:
        Columns `run slot layer hit others permuted`; `others` is the share of other runs that show
        this run's target at the same slot.
    """
    others = np.full(len(states.runs), np.nan)
    own, permuted = np.zeros(len(others)), np.full(len(others), np.nan)
    for wanted in set(targets):
        mine = np.array([targets[run] == wanted for run in states.runs])
        shown = _holds(reading.ids, wanted)
        own[mine] = shown[mine]
        if not floor:
            continue
        permuted[mine] = _holds(reading.permuted_ids, wanted)[mine]
        for slot in np.unique(states.slots[mine]).tolist():
            here = states.slots == slot
            if here.sum() > 1:
                asking = mine & here
                others[asking] = (shown[here].sum() - shown[asking]) / (here.sum() - 1)
    return pd.DataFrame(
        {
            "run": states.runs,
            "slot": states.slots,
            "layer": states.layer,
            "hit": own,
            "others": others,
            "permuted": permuted,
        }
    )


def agreement(
    shown: pd.DataFrame,
    clusters: Sequence[Hashable],
    by: Sequence[str],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return shares of hits by layer or slot, with their excess over other runs.

    Args:
        shown: What `hits` returns.
        clusters: Of every run.
        by: Columns to group by.
        rng: Draws the bootstrap.

    Returns:
        Columns `*by share low high others permuted excess excess_low excess_high n`; intervals
        resample clusters whole, `n` counts runs.
    """
    rows = []
    for key, held in shown.groupby(list(by), sort=True):
        names = [clusters[run] for run in held["run"]]
        hit, others = (held[name].to_numpy(dtype=float) for name in ("hit", "others"))
        share, excess = (interval(values, names, rng=rng) for values in (hit, hit - others))
        rows.append(
            dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
            | {"share": share.mean, "low": max(share.low, 0.0), "high": min(share.high, 1.0)}
            | {"others": float(others.mean()), "permuted": float(held["permuted"].mean())}
            | {"excess": excess.mean}
            | {"excess_low": float(np.clip(excess.low, -1, 1))}
            | {"excess_high": float(np.clip(excess.high, -1, 1))}
            | {"n": held["run"].nunique()}
        )
    return pd.DataFrame(rows)


def _holds(ids: Int[np.ndarray, "rows top"], wanted: frozenset[int]) -> Bool[np.ndarray, " rows"]:
    return np.asarray(np.isin(ids, list(wanted)).any(axis=1))
