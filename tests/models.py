"""Tiny untrained models for tests, and the one trick that makes them imagine.

A blank model never emits the start marker. Its embeddings are tied, so the marker's row is also the
direction its logit reads; writing there the direction that tells states at prompts' ends from all
others makes the model emit the marker, once, by its own logits. Nothing is hooked or subclassed, so
the checkpoint behaves the same in stock `generate`, in nnsight and after a round trip to disk.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from mindseye.organisms.blank import PROTOCOL, blank_model, blank_processor
from mindseye.reasoners import Knockout, Reasoner, load
from mindseye.reasoners.manifest import Manifest
from mindseye.samples import Sample
from mindseye.tasks.digits import KINDS, Digits

MEDIATOR = (Knockout("post", "prefix"), Knockout("post", "start"))
"""The wiring of the mediator organism: what follows the latents reads only them."""

_RIDGE = 30.0
_LOUDNESS = 16.0


@functools.cache
def checkpoint(base: Path) -> Path:
    """Save a blank model that imagines, once per test session, and return its folder."""
    folder = base / "imagining"
    processor = blank_processor()
    model = blank_model(processor, seed=0)
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    Manifest(PROTOCOL).save(folder)
    mute = load(folder)
    samples = Digits(kinds=KINDS).samples(48, split="train")
    mute.model.get_input_embeddings().weight.data[mute.tokens.start] = _prompt_end(mute, samples)
    mute.model.save_pretrained(folder)
    return folder


def wired_copy(folder: Path, into: Path, wiring: tuple[Knockout, ...]) -> Path:
    """Copy a checkpoint and give the copy a wiring."""
    shutil.copytree(folder, into)
    Manifest(PROTOCOL, wiring).save(into)
    return into


def _prompt_end(reasoner: Reasoner, samples: Sequence[Sample]) -> torch.Tensor:
    """Fit, by ridge regression, the direction that is high at prompts' ends and low elsewhere."""
    ends, others = [], []
    for sample in samples:
        trace = reasoner.run(sample, max_new_tokens=8)
        states = reasoner.replay(trace).states[0, trace.n_prompt - 1 :]
        ends.append(states[:1])
        others.append(states[1:])
    states = torch.cat([*ends, *others])
    wanted = torch.cat([torch.ones(len(ends)), torch.zeros(len(states) - len(ends))])
    gram = states.T @ states + _RIDGE * torch.eye(states.shape[1])
    return _LOUDNESS * torch.linalg.solve(gram, states.T @ wanted)
