"""Runs of tiny models, and random branches of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import mindseye as me
from mindseye.engine import Branch
from mindseye.reasoners import Edges, Knockout
from mindseye.reasoners.hooks import hook_names
from mindseye.reasoners.spans import positions
from tests.tiny import MARKERS, WIDTH, Tiny, tiny

ARCHITECTURES = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava_onevision",
    "internvl",
    "smolvlm",
    "gemma3",
    "llama",
    "qwen2",
    "gpt2",
)
EXACT = {"atol": 1e-9, "rtol": 1e-9}
N_SLOTS = 3
SPAN_NAMES = ("image", "question", "start", "latents", "end", "answer", "prefix", "post")

_MARKS: dict[str, dict[str, Any]] = {"mull": {"pad": MARKERS[1], "n_slots": N_SLOTS}}


@functools.cache
def model(model_type: str, dtype: torch.dtype = torch.float64) -> Tiny:
    made = tiny(model_type, seed=1, vocab=24)
    made.model.to(dtype)
    return made


@functools.cache
def modules() -> dict[str, Any]:
    """Maps of families, a linear one for CODI and one with a bend for LVR, and its end vector."""
    draw = torch.Generator().manual_seed(2)
    prj, head = nn.Linear(WIDTH, WIDTH), nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())
    with torch.no_grad():
        for weight in (prj.weight, head[0].weight):
            weight.copy_(2 * torch.randn(WIDTH, WIDTH, generator=draw) / WIDTH**0.5)
    end = torch.randn(WIDTH, generator=draw).double()
    return {"prj": prj.double(), "lvr_head": head.double(), "lvr_latent_end_emb": end}


def reasoner(
    model_type: str,
    family: str = "monet_train",
    dtype: torch.dtype = torch.float64,
    **changes: Any,
) -> me.Reasoner:
    start, pad, end = MARKERS
    marks = _MARKS.get(family, {"start": start, "pad": pad, "end": end, "n_slots": N_SLOTS})
    chosen = me.protocol(family, **marks | changes)
    return me.wrap(model(model_type, dtype).model, protocol=chosen, modules=modules())


def prompt(
    model_type: str,
    seed: int = 0,
    n_images: int = 1,
    n_text: int = 5,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    inputs = model(model_type, dtype).inputs(seed, n_text, n_images)
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}


@functools.cache
def said(
    model_type: str, n_images: int = 1, dtype: torch.dtype = torch.float64, *, kept: bool = True
) -> me.Trace:
    """A run with one segment and two words after it."""
    ours = reasoner(model_type, dtype=dtype, segments="one")
    given = prompt(model_type, seed=3, n_images=n_images, dtype=dtype)
    trace = ours.run(given, max_new_tokens=8, force_start=True, past_key_values=kept)
    assert trace.emitted
    return trace


def shapes(trace: me.Trace) -> dict[str, tuple[int, ...]]:
    """What an activation is like at one position, by the names of those that can be edited."""
    return dict(_shapes(trace.reasoner.model, trace.reasoner.architecture, trace))


_KNOWN: dict[int, dict[str, tuple[int, ...]]] = {}


def _shapes(model: Any, architecture: Any, trace: me.Trace) -> dict[str, tuple[int, ...]]:
    if id(model) not in _KNOWN:
        names = [n for n in hook_names(model, architecture) if not n.endswith("pattern")]
        seen = trace.reasoner.replay(trace, record=names).activations
        _KNOWN[id(model)] = {name: tuple(seen[name].shape[2:]) for name in names}
    return _KNOWN[id(model)]


def noise(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass(frozen=True, repr=False)
class Ground:
    """A run to draw branches of; Hypothesis would print all of a bare one."""

    trace: me.Trace


@st.composite
def edits(draw: st.DrawFn, ground: Ground, places: Sequence[int]) -> me.Edit:
    """Any activation, whole or one head of it, at up to three of the given places."""
    trace = ground.trace
    known = shapes(trace)
    hook = draw(st.sampled_from(sorted(known)))
    where = draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True))
    shape, head = known[hook], None
    if len(shape) == 2 and draw(st.booleans()):
        head, shape = draw(st.integers(0, shape[0] - 1)), shape[1:]
    value = noise((len(where), *shape), draw(st.integers(0, 99)), trace.embeds.dtype)
    return me.Edit(hook, torch.tensor(where), value, head)


@st.composite
def cuts(draw: st.DrawFn, ground: Ground) -> Knockout | Edges:
    """Edges between spans or single ones, in every layer or in some."""
    trace = ground.trace
    n_layers = len(trace.reasoner.architecture.blocks(trace.reasoner.model))
    layers = draw(
        st.none() | st.sets(st.integers(0, n_layers - 1), min_size=1).map(sorted).map(tuple)
    )
    if draw(st.booleans()):
        there = [name for name in SPAN_NAMES if len(positions(trace.labels, name))]
        pair = draw(st.lists(st.sampled_from(there), min_size=2, max_size=2))
        return Knockout(*pair, layers=layers)
    place = st.integers(0, len(trace.labels) - 1)
    edges = draw(st.lists(st.tuples(place, place), min_size=1, max_size=6, unique=True))
    targets, sources = zip(*[(max(edge), min(edge)) for edge in edges], strict=True)
    return Edges(torch.tensor(targets), torch.tensor(sources), layers)


@st.composite
def branches(draw: st.DrawFn, ground: Ground, read: Sequence[int] = (), since: int = 0) -> Branch:
    """Edits, cuts and removals, and mixes of these; what is read stays."""
    trace, n_seq = ground.trace, len(ground.trace.labels)
    fed = [place for place in range(max(since, trace.n_prompt), n_seq) if place not in read]
    removed: list[int] = []
    if fed and draw(st.integers(0, 3)) == 0:
        removed = draw(st.lists(st.sampled_from(fed), min_size=1, max_size=4, unique=True))
    left = [place for place in range(since, n_seq) if place not in removed]
    chosen: list[me.Edit] = []
    for edit in draw(st.lists(edits(ground, left), max_size=3)):
        if not any(overlap(edit, other) for other in chosen):
            chosen.append(edit)
    knockouts = [] if since else draw(st.lists(cuts(ground), max_size=2))
    if removed:  # single edges beside removals have a test of their own
        knockouts = [cut for cut in knockouts if isinstance(cut, Knockout)]
    gone = torch.tensor(removed) if removed else None
    return Branch(edits=chosen, knockouts=tuple(knockouts), removed=gone)


def overlap(one: me.Edit, other: me.Edit) -> bool:
    shared = set(one.positions.tolist()) & set(other.positions.tolist())
    heads = {one.head, other.head}
    return one.hook == other.hook and bool(shared) and (len(heads) == 1 or None in heads)


@contextlib.contextmanager
def counted(reasoner: me.Reasoner) -> Iterator[list[int]]:
    """How many positions every block received, summed over its calls."""
    blocks = reasoner.architecture.blocks(reasoner.model)
    rows = [0] * len(blocks)

    def count(layer: int) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            rows[layer] += hidden.shape[0] * hidden.shape[1]

        return hook

    handles = [
        block.register_forward_pre_hook(count(layer), with_kwargs=True)
        for layer, block in enumerate(blocks)
    ]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()
