"""Pairs of runs of tiny random models, in double precision, as experiments begin with them."""

from __future__ import annotations

import functools

import pytest
import torch

import mindseye as me
from mindseye.engine import Contrast, Twins
from mindseye.readouts import logit_difference
from mindseye.reasoners import Replay, Trace
from tests.engine.branches_strategy import prompt, reasoner
from tests.tiny import FIRST_WORD

VARIED = ("llama", "qwen2_5_vl", "gemma3", "gpt2")
"""Text and images, grouped and fused heads, sliding windows and learned positions."""


@functools.cache
def twins(model_type: str, forced: tuple[int, ...] = ()) -> Twins:
    """Two prompts of one length, run until the answer, with a segment of three slots each."""
    ours = reasoner(model_type, segments="one")
    prompts = (prompt(model_type, seed) for seed in (3, 4))
    said = tuple(
        ours.run(each, max_new_tokens=8, force_start=True, past_key_values=not forced)
        for each in prompts
    )
    pair = me.Pair(*(me.Sample((), "which?", answer) for answer in ("one", "other")), id=model_type)
    cut = (trace.until_answer(forced) for trace in said)
    return Twins(pair, Contrast(forced, FIRST_WORD, FIRST_WORD + 1), said, *cut)


def serve(monkeypatch: pytest.MonkeyPatch, *given: Twins) -> list[me.Pair]:
    """Let experiments find these runs made already; returns the pairs to ask for."""
    for room in ("twins", "arms"):
        monkeypatch.setattr(f"mindseye.engine.{room}.twin_runs", lambda *_: iter(given))
    return [each.pair for each in given]


def recorded(run: Trace, *names: str) -> dict[str, torch.Tensor]:
    """Activations of a run as it was, one row per position."""
    kept = run.reasoner.replay(run, record=names).activations
    return {name: each[0] for name, each in kept.items()}


def differences(replay: Replay, parting: Contrast) -> torch.Tensor:
    """The outcome of every branch of a replay."""
    return logit_difference(replay.logits[:, -1], parting)


@functools.cache
def in_double(name: str) -> me.Reasoner:
    """An organism in double precision, where what is nothing differs from it by no rounding."""
    return me.load(f"organism:{name}", dtype=torch.float64)
