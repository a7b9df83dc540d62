"""The geometry of a reasoner's runs: its latents beside ordinary states of the same kind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.interventions.replacements import Given
from mindseye.interventions.replacements.oracles import Of, oracle_vectors
from mindseye.readouts.geometry.positions import stack, windows
from mindseye.readouts.geometry.similarity import Similarity, similarity
from mindseye.reasoners import Edit, Trace

__all__ = ["similarity_runs"]


def similarity_runs(
    traces: Sequence[Trace],
    *,
    placebos: Sequence[Sequence[Trace]] = (),
    groups: Sequence[Hashable] | None = None,
    oracle: Of | None = None,
    nudge: float = 0.0,
    n_permutations: int = 199,
    seed: int = 0,
) -> Similarity:
    """Measure the geometry of runs' latents beside text, image tokens and dummy tokens.

    Latents are the vectors that were fed. Baselines are what would be fed back from other positions
    of the same runs: from neighbouring ones of text and of the image, and from the slots themselves
    when they are fed the pad token's embedding (`dummy tokens`), where the protocol has one.

    Args:
        traces: Runs that imagined, with equally many latents.
        placebos: The same samples run after changes that should change nothing, such as
            `task.perturbed("jpeg")`'s references: one sequence per change, in the order of runs.
        groups: What each run belongs to; its images if left out.
        oracle: What latents ought to be, as in the replacement `oracle`; none if nobody knows.
        nudge: How far the first latent of every run is pushed, over its own length, to see whether
            the push fades along the slots (`contraction`); that takes another run each. None is, if
            this is 0.
        n_permutations: Of every test.
        seed: Draws windows, resamples and permutations.

    Raises:
        SampleError: Fewer than four runs, runs without latents or with different numbers, placebos
            that are not one per run, or what `similarity` refuses.
    """
    if not traces or any(not len(trace.latent_positions) for trace in traces):
        raise SampleError(
            f"similarity_runs got {len(traces)} runs, and every one must have latents. Pass runs "
            "that imagined, such as [t for t in traces if t.emitted]."
        )
    if any(len(each) != len(traces) for each in placebos):
        raise SampleError(
            f"similarity_runs got {len(traces)} runs and placebos of "
            f"{[len(each) for each in placebos]}; expected one per run, in the same order."
        )
    rng = np.random.default_rng(seed)
    latents = stack([_array(trace.fed_latents) for trace in traces])
    return similarity(
        latents,
        groups=[trace.sample.image_key or i for i, trace in enumerate(traces)]
        if groups is None
        else groups,
        answers=[trace.sample.answer for trace in traces],
        baselines=_baselines(traces, latents.shape[1], rng),
        placebo=np.stack([stack([_array(t.fed_latents) for t in each]) for each in placebos])
        if placebos
        else None,
        oracles=None
        if oracle is None
        else stack([_array(oracle_vectors(Given(t), oracle, "target")) for t in traces]),
        nudged=stack([_array(_nudged(t, nudge, seed)) for t in traces]) if nudge else None,
        n_permutations=n_permutations,
        rng=rng,
    )


def _baselines(
    traces: Sequence[Trace], n_slots: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return states of the same kind as latents, by what stands there, as far as runs have them."""
    found: dict[str, list[np.ndarray]] = {}
    for trace in traces:
        for name, states in _states(trace).items():
            if len(states) >= n_slots:
                found.setdefault(name, []).append(_array(states))
    return {
        name: windows(runs, n_slots, rng=rng)
        for name, runs in found.items()
        if len(runs) == len(traces)
    }


def _states(trace: Trace) -> dict[str, Tensor]:
    """Return what would be fed back from text, image and slots that are fed the pad token."""
    # A second route to the answer has no part in what is fed.
    reasoner = replace(trace.reasoner, blend=None)
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    hook = reasoner.protocol.source_hook(n_layers) or "ln_final.hook_normalized"
    slots, pad = trace.latent_positions, reasoner.tokens.pad
    feeding: list[Edit] = []
    if pad is not None:
        ids = torch.full_like(slots, pad)
        feeding = [Edit("hook_embed", slots, reasoner.embed(ids).detach())]
    states = reasoner.replay(trace, [[], feeding], record=[hook]).activations[hook]
    through = reasoner.feedback().map
    own, dummy = states if through is None else through(states)
    question, image = (trace.spans[name] for name in ("question", "image"))
    found = {"text": own[question], "image tokens": own[image]}
    return found | ({"dummy tokens": dummy[slots]} if feeding else {})


def _nudged(trace: Trace, size: float, seed: int) -> Tensor:
    """Return what a run feeds itself once its first latent was pushed in a random direction.

    Raises:
        SampleError: The push changed how many latents there are.
    """
    first = trace.fed_latents[:1]
    push = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed)).to(first)
    pushed = first + size * first.norm() * push / push.norm()
    alone = replace(trace.reasoner, blend=None)
    edit = Edit("hook_embed", trace.latent_positions[:1], pushed)
    (run,) = alone.replay(trace, [[edit]], mode="closed_loop")
    if run.fed_latents.shape != trace.fed_latents.shape:
        raise SampleError(
            f"Nudged by {size:g}, the run of sample {trace.sample.id!r} has "
            f"{len(run.fed_latents)} latents instead of {len(trace.fed_latents)}. Nudge less, or "
            "use a protocol with a fixed count."
        )
    return run.fed_latents


def _array(states: Tensor) -> np.ndarray:
    return states.detach().float().cpu().numpy()
