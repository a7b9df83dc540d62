"""Runs whose latents are to be replaced, and for every built-in replacement what it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import mindseye.interventions.replacements
from mindseye import Reasoner, Trace
from mindseye.interventions.replacements import Given, Pool, Replacement
from mindseye.plugins import find, names
from mindseye.tasks.digits import Digits

HOME = mindseye.interventions.replacements.__name__
N_RUNS = 8


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built_in() -> list[str]:
    """The names of our own replacements; what a test or a package registers is not among them."""
    found = {name: find("replacement", name) for name in names("replacement")}
    return [name for name, each in found.items() if is_ours(each)]


def is_ours(found: Replacement) -> bool:
    return found.function.__module__.startswith(f"{HOME}.")


def structural() -> list[str]:
    return ["forced", "markers_only", "removal", "slots", "slots_only"]


def feeding() -> list[str]:
    """Those that return vectors."""
    return [name for name in built_in() if name not in structural()]


def told(name: str, given: Given) -> dict[str, Any]:
    """What a replacement must be told, beyond its defaults."""
    width = given.latents.shape[1]
    must = {
        "constant": {"vectors": torch.ones(width)},
        "reimagined": {"after": "blank"},
        "slots": {"n": 2},
    }
    return must.get(name, {})


def runs(reasoner: Reasoner, n: int = N_RUNS) -> list[Trace]:
    """Runs of a few samples, each with latents of its own."""
    samples = Digits().samples(n)
    return reasoner.run_batch(samples, max_new_tokens=12, force_start=True)


def with_latents(trace: Trace, vectors: Tensor) -> Trace:
    """The same run, had it fed other vectors; nothing else of it is changed."""
    (segment,) = trace.segments
    return replace(trace, segments=(replace(segment, fed=vectors, latents=vectors),))


def score(vectors: Tensor) -> Tensor:
    """An outcome of vectors that no model is needed for: differentiable, and not linear."""
    weights = torch.linspace(-1, 1, vectors[0].numel(), dtype=vectors.dtype)
    return (vectors.flatten(1) @ weights.to(vectors)).tanh() + vectors.flatten(1).square().mean()


def scene(traces: list[Trace]) -> Given:
    """The first run, the second as its twin, and all of them as the pool."""
    return Given(traces[0], Pool.of(traces), traces[1], score)
