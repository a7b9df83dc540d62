"""A snapshot: one run, cut into a prefix that edits cannot disturb and a tail that they may."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindseye.errors import EditError, EngineError
from mindseye.reasoners import Trace
from mindseye.reasoners.attention import Rectangle, intercepted, tried
from mindseye.reasoners.edits import Branches
from mindseye.reasoners.hooks import hook_point, hooked
from mindseye.reasoners.shared import key_values

__all__ = ["Snapshot", "check_exact", "check_record", "snapshot"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What branches of a run start from.

    Attributes:
        trace: The run.
        start: The first position of the tail.
        prefix: Keys and values before it, by layer, with a batch axis of one.
        tail: Keys and values from it on.
        residuals: What each block received in the tail; last, what the final norm did.
        given: What else each block was called with.
        states: Post-norm states of the tail.
        activations: What was asked for, by hook name, of the tail, with a batch axis of one.
        exact: Whether the attention layers could be intercepted. If not, branches are whole runs,
            and everything by layer is empty.
    """

    trace: Trace
    start: int
    prefix: list[tuple[Float[Tensor, "1 kv prefix d_head"], Float[Tensor, "1 kv prefix d_head"]]]
    tail: list[tuple[Float[Tensor, "kv tail d_head"], Float[Tensor, "kv tail d_head"]]]
    residuals: list[Float[Tensor, "tail d_model"]]
    given: list[dict[str, Any]]
    states: Float[Tensor, "tail d_model"]
    activations: dict[str, Tensor]
    exact: bool = True

    @property
    def n_tail(self) -> int:
        """How many positions the tail has."""
        return len(self.states)

    def columns(self, positions: Int[Tensor, " found"]) -> Int[Tensor, " found"]:
        """Return positions of the run as places in the tail."""
        return positions.to(self.states.device) - self.start

    def options(self, layer: int, columns: Int[Tensor, " rows"]) -> dict[str, Any]:
        """Return what a block is called with besides hidden states, for rows at some columns."""
        options = dict(self.given[layer])
        if options.get("position_embeddings") is not None:
            options["position_embeddings"] = tuple(
                each.index_select(-2, columns.to(each.device))
                for each in options["position_embeddings"]
            )
        if options.get("position_ids") is not None:
            ids = options["position_ids"]
            options["position_ids"] = ids.index_select(-1, columns.to(ids.device))
        return options

    def at(self, name: str, positions: Int[Tensor, " found"]) -> Float[Tensor, "found *dims"]:
        """Return a recorded activation at some positions of the run."""
        return self.activations[name][0, self.columns(positions)]


@torch.no_grad()
def snapshot(trace: Trace, start: int, *, record: Sequence[str] = ()) -> Snapshot:
    """Take a run's snapshot.

    If the trace kept its keys and values (`run(..., past_key_values=True)`), only the tail is
    computed; else the prefix is, once.

    Args:
        trace: The run.
        start: The first position that branches may disturb.
        record: Hook names to keep, of the tail.

    Raises:
        EditError: The model has no such hook, it is an attention pattern, or the run has no such
            position.
    """
    check_record(trace, record)
    if not 0 <= start < len(trace.labels):
        raise EditError(
            f"A snapshot cannot start at position {start}: this run has positions 0 to "
            f"{len(trace.labels) - 1}. Pass one of them."
        )
    reasoner = trace.reasoner
    model, architecture = reasoner.model, reasoner.architecture
    fed = trace.prefill()
    if trace.past_key_values is not None:  # what was fed after them is computed anew
        start = min(start, trace.past_key_values[0][0].shape[2])
    start = trace.reached_from(start)
    n_seq = len(trace.labels)
    prefix = key_values(trace, start)
    kept = Branches([()], record)
    reading = Rectangle(prefix)
    bias = architecture.bias(
        model, trace.labels[None], fed.image_mask, n_seq - start, reasoner.wiring, fed.embeds.dtype
    )
    blocks = architecture.blocks(model)
    norm = architecture.text_decoder(model).get_submodule(architecture.norm)
    states = fed.embeds[:, :0]
    with (
        tried(reading, len(blocks)),
        intercepted(model),
        hooked(model, architecture, kept.visits(0, n_seq - start)),
        _overheard([*blocks, norm]) as calls,
    ):
        states = architecture.decode(model, fed.part(start, n_seq), bias, reading=reading)
    if len(reading.own) < len(blocks):
        return _plain_snapshot(trace, start, record)
    return Snapshot(
        trace=trace,
        start=start,
        prefix=prefix,
        tail=[(k[0], v[0]) for _, (k, v) in sorted(reading.own.items())],
        residuals=[hidden[0] for hidden, _ in calls],
        given=[options for _, options in calls[:-1]],
        states=states[0],
        activations=kept.kept,
    )


def _plain_snapshot(trace: Trace, start: int, record: Sequence[str]) -> Snapshot:
    """Return a snapshot of which every branch is a whole run, and say so."""
    reasoner = trace.reasoner
    warnings.warn(
        f"The attention of {type(reasoner.model).__name__} cannot be intercepted, so every branch "
        f"of {reasoner.name!r} is computed as a whole run: right, but slow. Use a model whose "
        "attention calls transformers' attention interface.",
        stacklevel=3,
    )
    replay = reasoner.replay(trace, record=record)
    return Snapshot(
        trace=trace,
        start=start,
        prefix=[],
        tail=[],
        residuals=[],
        given=[],
        states=replay.states[0, start:],
        activations={name: each[:, start:] for name, each in replay.activations.items()},
        exact=False,
    )


def check_exact(held: Snapshot) -> None:
    """Refuse what takes a model whose attention can be intercepted, and one route to its answer.

    Raises:
        EngineError: It cannot, or has two.
    """
    if held.trace.reasoner.blend is not None:
        raise EngineError(
            f"{held.trace.reasoner.name!r} answers from two routes, along which neither paths nor "
            "gradients are followed. Use sweep, mediate or knock_out."
        )
    if not held.exact:
        raise EngineError(
            f"The attention of {held.trace.reasoner.name!r} cannot be intercepted, so neither "
            "paths nor gradients can be followed in it. Use sweep, mediate or knock_out, or a "
            "model whose attention calls transformers' attention interface."
        )


def check_record(trace: Trace, record: Sequence[str]) -> None:
    """Refuse to record what the engine does not compute.

    Raises:
        EditError: The model has no such hook, or it is an attention pattern.
    """
    for name in record:
        hook_point(name, trace.reasoner.model, trace.reasoner.architecture)
        if name.endswith("hook_pattern"):
            raise EditError(
                f"{name!r} cannot be recorded here: patterns over a shared prefix are never laid "
                "out. Look them up in trace.cache, or use Reasoner.replay(record=...)."
            )


@contextlib.contextmanager
def _overheard(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Tensor, dict[str, Any]]]]:
    """Note what modules are called with: the hidden states, and what branches need again."""
    calls: list[tuple[Tensor, dict[str, Any]]] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        ours = ("hidden_states", "attention_mask", "past_key_values", "use_cache", "reading")
        # A copy, because some models add to the tensor afterwards.
        calls.append((hidden.clone(), {k: v for k, v in kwargs.items() if k not in ours}))

    handles = [each.register_forward_pre_hook(note, with_kwargs=True) for each in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
