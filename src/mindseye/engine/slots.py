"""Slots one by one: frozen, re-rolled, as a prefix, and shared out by Shapley's rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, snapshot
from mindseye.engine.levels import check_level, mediator_hooks, tail_start, transplant
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.reasoners import Edit, Reasoner
from mindseye.samples import Pair

__all__ = ["slot_effects"]

_EXACT_UP_TO = 8
"""Slots; 2^8 coalitions are computed, of more slots coalitions along random orders are."""

_ORDERS = 32


def slot_effects(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    level: str = "embedding",
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Put the clean run's slots into the reference run one by one, and in order.

    A slot's effect depends on what the others do meanwhile, so every row says how it was held:
    `frozen` swaps one slot and holds the others at the reference run's values; `rerolled` swaps one
    fed vector and lets the model make the later ones again; `prefix` forces the first slots and
    lets the model make the rest (its slot counts those forced, 0 being the run as it was);
    `shapley` is a slot's mean contribution over all orders, which sums to the joint effect, and
    `joint` swaps all. `rerolled` and `prefix` exist at level `embedding` only.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        level: `embedding`, `residual:LAYER` or `kv`.
        outcome: Name of a registered outcome, or a function, or several.
        seed: Of the orders, where there are too many slots for all coalitions.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair, way, slot and outcome: `pair level way slot outcome effect`; `joint` has
        slot -1. A re-rolled run that ends its segment elsewhere is not a number.

    Raises:
        EditError: No such level, or one that is not made of slots.
        SampleError: In no pair did both runs imagine at the same positions.

    Source: Shapley 1953; frozen and re-rolled singles are different estimands, both controlled.
    """
    check_level(reasoner, level)
    if level in ("span", "suffix"):
        raise EditError(f"Level {level!r} is not made of slots. Pass embedding, residual or kv.")
    measures = find_outcomes(outcome)
    frames = [
        _rows(twins, level, measures, torch.Generator().manual_seed(seed), budget)
        for twins in comparable(reasoner, pairs, track=track)
    ]
    return pd.concat(frames, ignore_index=True)


def _rows(
    twins: Twins,
    level: str,
    measures: Mapping[str, Outcome],
    draw: torch.Generator,
    budget: int,
) -> pd.DataFrame:
    """Return one pair's rows."""
    start = tail_start(twins.clean, [level])
    hooks = mediator_hooks(twins.clean.reasoner, level)
    donor, held = (snapshot(run, start, record=hooks) for run in (twins.clean, twins.reference))
    n_slots = len(twins.clean.latent_positions)
    orders = _orders(n_slots, draw)
    coalitions = _coalitions(n_slots, orders)
    edits = transplant(level, donor, held.trace)
    branches = [Branch([_only(edit, chosen) for edit in edits]) for chosen in coalitions]
    forced = _forced(twins, n_slots) if level == "embedding" else {}
    branches += [Branch([Edit("hook_embed", edits[0].positions, fed)]) for fed in forced.values()]
    own, found = measure(held, branches, measures, twins.parting, budget)
    effects = found - own
    worth = dict(zip(coalitions, effects[: len(coalitions)], strict=True))
    worth[()] = torch.zeros_like(own)
    every = tuple(range(n_slots))
    ways: list[tuple[str, int, Float[Tensor, " outcomes"]]] = [("joint", -1, worth[every])]
    ways += [("frozen", slot, worth[slot,]) for slot in every]
    ways += [("shapley", slot, _shapley(slot, worth, n_slots, orders)) for slot in every]
    if level == "embedding":
        rolled = dict(zip(forced, effects[len(coalitions) :], strict=True))
        missing = torch.full_like(own, torch.nan)
        ways += [("rerolled", slot, rolled.get(("rerolled", slot), missing)) for slot in every]
        ways.append(("prefix", 0, torch.zeros_like(own)))
        for n_forced in range(1, n_slots + 1):
            ways.append(("prefix", n_forced, rolled.get(("prefix", n_forced), missing)))
    return pd.DataFrame(
        [
            {"pair": twins.pair.id, "level": level, "way": way, "slot": slot}
            | {"outcome": outcome, "effect": float(effect[place])}
            for way, slot, effect in ways
            for place, outcome in enumerate(measures)
        ]
    )


def _only(edit: Edit, slots: Sequence[int]) -> Edit:
    chosen = torch.tensor(slots, device=edit.positions.device)
    return replace(edit, positions=edit.positions[chosen], value=edit.value[chosen])


def _forced(twins: Twins, n_slots: int) -> dict[tuple[str, int], Float[Tensor, "slots d_model"]]:
    """Return what is fed when slots are forced and the later ones are made again."""
    clean, reference = twins.clean, twins.said[1]
    where = twins.reference.latent_positions
    ways = [("rerolled", slot, [slot]) for slot in range(n_slots)]
    ways += [("prefix", n, list(range(n))) for n in range(1, n_slots + 1)]
    branches = [[Edit("hook_embed", where[slots], clean.fed_latents[slots])] for *_, slots in ways]
    # Only what is fed matters here, which a second route to the answer has no part in.
    alone = replace(clean.reasoner, blend=None)
    runs = alone.replay(reference, branches, mode="closed_loop")
    return {
        (way, slot): run.fed_latents
        for (way, slot, _), run in zip(ways, runs, strict=True)
        if run.latent_positions.tolist() == where.tolist()
    }


def _orders(n_slots: int, draw: torch.Generator) -> list[tuple[int, ...]]:
    """Return random orders of slots, or none where all coalitions are computed."""
    if n_slots <= _EXACT_UP_TO:
        return []
    return [tuple(torch.randperm(n_slots, generator=draw).tolist()) for _ in range(_ORDERS)]


def _coalitions(n_slots: int, orders: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the sets of slots whose worth is needed, the empty one left out."""
    every = range(n_slots)
    if not orders:
        sizes = range(1, n_slots + 1)
        return [each for size in sizes for each in itertools.combinations(every, size)]
    found = {tuple(sorted(order[:n])) for order in orders for n in every[1:]}
    return sorted({*found, *((slot,) for slot in every), tuple(every)})


def _shapley(
    slot: int,
    worth: Mapping[tuple[int, ...], Float[Tensor, " outcomes"]],
    n_slots: int,
    orders: list[tuple[int, ...]],
) -> Float[Tensor, " outcomes"]:
    """Return what a slot adds on average, over all orders or over the drawn ones."""
    if orders:
        added = []
        for order in orders:
            before = order[: order.index(slot)]
            added.append(worth[tuple(sorted((*before, slot)))] - worth[tuple(sorted(before))])
        return torch.stack(added).mean(dim=0)
    others = [other for other in range(n_slots) if other != slot]
    total = torch.zeros_like(worth[()])
    for size in range(n_slots):
        share = 1 / (n_slots * math.comb(n_slots - 1, size))
        for before in itertools.combinations(others, size):
            total += share * (worth[tuple(sorted((*before, slot)))] - worth[before])
    return total
