"""Activation patching over layers and slots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome, contrast, find_outcome, outcome_name
from mindseye.engine.levels import aligned
from mindseye.errors import EditError, SampleError
from mindseye.plugins import find
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.reasoners.spans import positions
from mindseye.samples import Pair

__all__ = ["Grid", "sweep"]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """What patching each site did.

    Attributes:
        rows: One row per pair and site: `pair hook layer slot value clean reference effect`.
            `effect` is how far the patch moved the outcome away from the unpatched run, in the
            outcome's unit.
        at: The span whose positions were patched.
        direction: Which way.
        outcome: What was measured.
    """

    rows: pd.DataFrame
    at: str
    direction: str
    outcome: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair and site."""
        return self.rows

    def mean(self) -> pd.DataFrame:
        """Return the mean effect per site, and its ratio to the mean whole difference."""
        sites = self.rows.groupby(["hook", "layer", "slot"], sort=False)
        means = sites[["effect", "clean", "reference"]].mean().reset_index()
        means["share"] = means["effect"] / (means["clean"] - means["reference"])
        return means

    def heatmap(self) -> Any:
        """Draw layers by slots, in units of the outcome."""
        return find("figure", "sweep")(self)


def sweep(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    at: str = "latents",
    hooks: Sequence[str] = ("hook_resid_pre",),
    layers: Sequence[int] | None = None,
    direction: Literal["denoising", "noising"] = "denoising",
    outcome: str | Outcome = "logit_difference",
    track: Callable[[Sequence[Pair]], Iterable[Pair]] = iter,
) -> Grid:
    """Patch one activation at a time between the two runs of each pair.

    Denoising writes the clean run's activation into the reference run and asks what that restores;
    noising does the reverse. All sites of a pair are rows of one replay (open loop: later latents
    keep the vectors they were fed).

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples.
        at: The span to patch: `latents`, `segment`, `header`, any of `SPANS` and `GROUPS`.
        hooks: Activations within a block, such as `hook_resid_pre` or `attn.hook_z`.
        layers: Which blocks; all if left out.
        direction: `denoising` or `noising`.
        outcome: Name of a registered outcome, or a function.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: A layer, hook, span or direction that does not exist.
        SampleError: No pair was given, or in none did both runs imagine at the same positions.

    Source: Zhang & Nanda 2023, arXiv 2309.16042; Heimersheim & Nanda 2024, arXiv 2404.15255.
    """
    if direction not in ("denoising", "noising"):
        raise EditError(f"No direction {direction!r}; there are 'denoising' and 'noising'.")
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    chosen = range(n_layers) if layers is None else layers
    sites = [(hook, layer, f"blocks.{layer}.{hook}") for layer in chosen for hook in hooks]
    measure = find_outcome(outcome)
    rows: list[dict[str, Any]] = []
    for pair in track(pairs):
        parting = contrast(reasoner, pair)
        clean, reference = (
            reasoner.run(sample).until_answer(parting.forced)
            for sample in (pair.clean, pair.reference)
        )
        if not (clean.emitted and reference.emitted and aligned(clean, reference)):
            continue
        source, target = (clean, reference) if direction == "denoising" else (reference, clean)
        logits = _patched_logits(reasoner, source, target, at, [name for *_, name in sites])
        rows += _rows(pair, sites, measure(logits, parting).tolist(), direction)
    if not rows:
        raise SampleError(
            f"None of {len(pairs)} pairs gave two runs with segments at the same positions to "
            f"patch at {at!r}. Check the emission rate with reasoner.run(sample).emitted, and that "
            "segments are of one length."
        )
    return Grid(pd.DataFrame(rows), at, direction, outcome_name(outcome))


def _patched_logits(
    reasoner: Reasoner, source: Trace, target: Trace, at: str, names: list[str]
) -> Float[Tensor, "arms vocab"]:
    """Return the readout of the source, of the target, and of the target patched at each site."""
    donor = reasoner.replay(source, record=names)
    where = positions(target.labels, at)
    branches: list[list[Edit]] = [[]]
    for name in names:
        for position in where:
            spot = position[None]
            branches.append([Edit(name, spot, donor.activations[name][0, spot])])
    patched = reasoner.replay(target, branches)
    return torch.cat([donor.logits[:, -1], patched.logits[:, -1]])


def _rows(
    pair: Pair, sites: list[tuple[str, int, str]], values: list[float], direction: str
) -> list[dict[str, Any]]:
    """Lay a pair's outcomes out as one row per site; the first two are source and target."""
    source, target, *patched = values
    clean, reference = (source, target) if direction == "denoising" else (target, source)
    n_slots = len(patched) // len(sites)
    return [
        {
            "pair": pair.id,
            "hook": hook,
            "layer": layer,
            "slot": slot,
            "value": patched[i * n_slots + slot],
            "clean": clean,
            "reference": reference,
            "effect": patched[i * n_slots + slot] - target,
        }
        for i, (hook, layer, _) in enumerate(sites)
        for slot in range(n_slots)
    ]
