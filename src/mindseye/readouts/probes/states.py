"""From runs to representations: latents, and what stands beside them at the same layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.readouts.geometry.populations import LATENTS
from mindseye.readouts.geometry.positions import stack
from mindseye.reasoners import Reasoner, Trace
from mindseye.reasoners.prepared import PREPARED
from mindseye.reasoners.spans import positions

__all__ = ["BASELINES", "FED", "TWIN", "states_of", "twin_runs"]

FED = -1
"""The layer before the first: what the decoder was fed."""

TWIN = "twin's latents"

BASELINES = ("image", "question", "markers", "last prefix token", "answer position")
"""What stands beside latents: the means of image, question and marker positions, the last position
before the segment opens, and the one from which the first word after the last segment is read."""


def states_of(
    traces: Sequence[Trace],
    layers: Sequence[int],
    *,
    baselines: bool = True,
    twins: Sequence[Trace] = (),
) -> dict[int, dict[str, np.ndarray]]:
    """Read runs at some layers, keeping no more than the positions that are asked for.

    Args:
        traces: Runs with equally many latents; each is replayed once.
        layers: Blocks whose output is read (`hook_resid_post`), or `FED`.
        baselines: Whether to read those of `BASELINES` that every run has.
        twins: Runs of another reasoner on the same samples, whose latents stand beside.

    Returns:
        Arrays by layer and name: runs x slots x d_model of latents, runs x d_model of others.

    Raises:
        SampleError: No runs, a run without latents, or runs that differ in their number.
        EditError: There is no such layer.
    """
    short = [i for i, trace in enumerate([*traces, *twins]) if not len(trace.latent_positions)]
    if not traces or short:
        raise SampleError(
            f"Probes got {len(traces)} runs"
            + (f", of which run {short[0]} has no latents" if short else "")
            + ". Pass runs that imagined, such as [t for t in traces if t.emitted]."
        )
    found = [_read(trace, _places(trace, baselines), layers) for trace in traces]
    beside = [_read(trace, {TWIN: trace.latent_positions}, layers) for trace in twins]
    n_slots = len(traces[0].latent_positions)
    states: dict[int, dict[str, np.ndarray]] = {}
    for layer in layers:
        held = {LATENTS: stack([each[layer][LATENTS] for each in found])}
        shared = [name for name in BASELINES if all(name in each[layer] for each in found)]
        held |= {
            name: np.stack([each[layer][name].mean(axis=0) for each in found]) for name in shared
        }
        if beside:
            held[TWIN] = stack([each[layer][TWIN][:n_slots] for each in beside])
        states[layer] = {name: array.astype(np.float32) for name, array in held.items()}
    return states


def twin_runs(twin: Reasoner, traces: Sequence[Trace]) -> list[Trace]:
    """Run another reasoner on the samples of runs, opening the segment where it would not.

    A model with random weights never chooses to imagine, and may not know when to stop; it goes on
    for as many tokens as the run, and of its latents as many count as the run has.

    Raises:
        SampleError: A run's inputs were prepared elsewhere, or the twin made too few latents.
    """
    runs = []
    for trace in traces:
        if trace.sample is PREPARED:
            raise SampleError(
                "A twin cannot run on inputs that were prepared elsewhere. Run it yourself, and "
                "pass twin=[its traces]."
            )
        run = twin.run(
            trace.sample,
            max_new_tokens=len(trace.token_ids),
            force_start=twin.tokens.start is not None,
        )
        if len(run.latent_positions) < len(trace.latent_positions):
            raise SampleError(
                f"The twin made {len(run.latent_positions)} latents on sample {trace.sample.id!r}, "
                f"where the run has {len(trace.latent_positions)}. Give it a protocol with a fixed "
                "number of slots, or leave it out."
            )
        runs.append(run)
    return runs


def _places(trace: Trace, baselines: bool) -> dict[str, Tensor]:
    """Return the positions of everything that this run has."""
    places = {LATENTS: trace.latent_positions}
    if not baselines:
        return places
    first = trace.segments[0]
    opens = first.slots[0] if first.start is None else first.start
    last = len(trace.until_answer().labels) - 1
    places |= {name: positions(trace.labels, name) for name in ("image", "question", "markers")}
    places |= {
        name: torch.tensor([place], device=trace.labels.device)
        for name, place in (("last prefix token", opens - 1), ("answer position", last))
        if place >= 0
    }
    return {name: each for name, each in places.items() if len(each)}


def _read(
    trace: Trace, places: Mapping[str, Tensor], layers: Sequence[int]
) -> dict[int, dict[str, np.ndarray]]:
    """Return a run's states at some positions of some layers, from one replay."""
    hooks = {layer: f"blocks.{layer}.hook_resid_post" for layer in layers if layer != FED}
    n_layers = len(trace.reasoner.architecture.blocks(trace.reasoner.model))
    wrong = [layer for layer in layers if not FED <= layer < n_layers]
    if wrong:
        raise EditError(
            f"No layer {wrong[0]} to probe; this model has layers 0 to {n_layers - 1}, and {FED} "
            "is what it was fed. Name some of these."
        )
    kept = trace.reasoner.replay(trace, record=list(hooks.values())).activations if hooks else {}
    found = {}
    for layer in layers:
        whole = trace.embeds if layer == FED else kept[hooks[layer]][0]
        found[layer] = {
            name: whole[each].detach().float().cpu().numpy() for name, each in places.items()
        }
    return found
