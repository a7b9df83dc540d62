"""The designs: what is true of each organism by construction, and of what it is made.

The letters are those of the methods' table of designs. Wiring and blends give their truth for any
weights, random ones included; the shipped weights make them answer well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import UnknownNameError
from mindseye.organisms.blends import (
    Signature,
    all_or_none,
    dial,
    either,
    guarded,
    only_valid,
    signed,
)
from mindseye.organisms.circuits import (
    BYPASSED,
    FED_BACK,
    MARKERS_ONLY,
    THROUGH_SLOTS,
    UNWIRED,
    Circuit,
    Feed,
)
from mindseye.reasoners import Blend, Knockout, Reasoner

__all__ = ["DESIGNS", "LEAK", "Design", "connect", "design", "leaky"]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """An organism: weights, how their parts are connected, and what is true of it.

    Attributes:
        letter: Its name in the methods' table; empty if it is not there.
        truth: What is true of it, in a sentence.
        levels: The word of every level at which the truth is exact, whatever the weights.
        verdict: The word an audit of the shipped weights must come to; none if nothing is known.
        active: Whether what differs between inputs reaches the answer through latents or markers.
        weights: The recipe whose weights it runs on.
        circuit: How its parts are connected.
        blend: The second route, if it has one, made from what a slot shows that was fed the
            circuit's constant.
        ordered: Whether the truth is about pairs whose clean answer ranks higher among token ids.
        seeds: How many trainings of it are shipped; `natural-1` is the second of `natural`.
    """

    truth: str
    weights: str
    letter: str = ""
    levels: Mapping[str, str] = field(default_factory=dict)
    verdict: str | None = None
    active: bool | None = None
    circuit: Circuit = UNWIRED
    blend: Callable[[Signature], Blend] | None = None
    ordered: bool = False
    seeds: int = 1

    @property
    def trainings(self) -> tuple[str, ...]:
        """Its weights, of every seed."""
        return (self.weights, *(f"{self.weights}-{seed}" for seed in range(1, self.seeds)))


LEAK = 0.03
MARGIN = 0.1
"""Share of TE under which a verdict calls an effect negligible."""

_LADDER = ("embedding", "kv", "span")


def _all(word: str) -> dict[str, str]:
    return dict.fromkeys(_LADDER, word)


_SOFT = Circuit((*BYPASSED, Knockout("latents", "prefix"), Knockout("latents", "start")), "pad")


def leaky(gain: float) -> Design:
    """Return the design of an image path with a leak through the latents, of known gain."""
    word = "negligible" if gain < MARGIN else "mediates"
    return Design(
        letter="M",
        truth=f"{gain:.0%} of the answer's logits come through the latents, the rest past them: "
        f"PIE = TIE = {gain:g} TE",
        levels=_all(word),
        verdict=word,
        active=gain >= MARGIN,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: dial(gain),
    )


DESIGNS = {
    "mediator": Design(
        letter="A",
        truth="every position after the latents reads only the latents and what follows them, so "
        "at kv PDE = TDE = INT = 0 and TE = PIE = TIE",
        levels={"kv": "mediates", "span": "mediates"},
        verdict="mediates",
        active=True,
        weights="mediator",
        circuit=Circuit(THROUGH_SLOTS),
    ),
    "feedback": Design(
        letter="A'",
        truth="slots read nothing but slots, and what follows reads only them, so at every level "
        "PDE = TDE = INT = 0 and TE = PIE = TIE",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
    ),
    "bypass": Design(
        letter="B",
        truth="no position after the latents reads them or their markers, so PIE = TIE = 0 at "
        "every level, though the latents encode the answer",
        levels=_all("negligible"),
        verdict="negligible",
        active=False,
        weights="bypass",
        circuit=Circuit(BYPASSED),
    ),
    "dial": Design(
        letter="C",
        truth="half of the answer's logits come through the latents: PIE = TIE = PDE = TDE = TE/2",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: dial(0.5),
    ),
    "redundant": Design(
        letter="D",
        truth="image and latents each suffice (OR): PIE = PDE = TE and TIE = TDE = 0",
        levels=_all("redundant"),
        verdict="redundant",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: either(higher=True),
        ordered=True,
    ),
    "joint": Design(
        letter="E",
        truth="image and latents only suffice together (AND): PIE = PDE = 0 and TIE = TDE = TE",
        levels=_all("necessary only jointly"),
        verdict="necessary only jointly",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: either(higher=False),
        ordered=True,
    ),
    "backup": Design(
        letter="F",
        truth="the answer follows any latents that look like its own kind, and falls back on the "
        "image for others: PIE = TIE = TE, yet noise and zeros do nothing",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK, feeds="offset"),
        blend=only_valid,
    ),
    "relay": Design(
        letter="G",
        truth="every latent is the pad's embedding; its slots read the image and the answer reads "
        "them: PIE = TIE = 0 at embedding, PIE = TIE = TE at kv",
        levels={"embedding": "negligible", "kv": "mediates", "span": "mediates"},
        verdict="relay",
        active=True,
        weights="versatile",
        circuit=Circuit(THROUGH_SLOTS, feeds="pad"),
    ),
    "anisotropic": Design(
        letter="H",
        truth="as feedback, but all latents share a vector ten times as large as what tells them "
        "apart: their cosine is nearly 1, and PIE = TIE = TE",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK, feeds="offset"),
    ),
    "intransitive": Design(
        letter="I",
        truth="inputs move one part of the latents, the answer needs the other: both edges are "
        "strong and PIE = TIE = 0",
        levels=_all("negligible"),
        verdict="soft prompt",
        active=False,
        weights="bypass",
        circuit=Circuit(BYPASSED, feeds="offset"),
        blend=guarded,
    ),
    "distributed": Design(
        letter="J",
        truth="the answer follows the latents once all slots are exchanged: no single slot "
        "matters, all together make PIE = TIE = TE",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: all_or_none(),
    ),
    "heterogeneous": Design(
        letter="K",
        truth="on half of the items the latents speak for the answer, on the others against it: "
        "PIE nearly cancels in the mean, and is a large share of TE in every pair",
        levels=_all("mediates"),
        verdict="mediates",
        active=True,
        weights="versatile",
        circuit=Circuit(FED_BACK),
        blend=lambda _signature: signed(0.5),
    ),
    "soft-prompt": Design(
        letter="L",
        truth="the latents are constant, and without them nothing is said: PIE = TIE = 0, but "
        "they are necessary",
        levels=_all("negligible"),
        verdict="soft prompt",
        active=False,
        weights="bypass",
        circuit=_SOFT,
        blend=guarded,
    ),
    "leaky": leaky(LEAK),
    "markers": Design(
        truth="what follows the latents reads their start marker alone: PIE = TIE = 0 at "
        "embedding and kv, PIE = TIE = TE at span",
        levels={"embedding": "negligible", "kv": "negligible", "span": "mediates"},
        verdict="marker-format",
        active=True,
        weights="versatile",
        circuit=Circuit(MARKERS_ONLY),
    ),
    "natural": Design(
        truth="nothing is known: trained to imagine in latents as Mirage is, without wiring",
        weights="natural",
        seeds=3,
    ),
    "capimagine": Design(
        truth="nothing is known: trained to imagine in words, on the items of natural",
        weights="capimagine",
        seeds=3,
    ),
    "captioner": Design(
        truth="its words are put to it again without the picture, so at words PDE = TDE = INT = 0 "
        "and TE = PIE = TIE",
        weights="captioner",
    ),
    "direct": Design(
        truth="it answers at once and imagines nothing; trained on the items of natural",
        weights="direct",
        seeds=3,
    ),
    "base": Design(truth="it answers at once and has no latents", weights="base"),
}


def design(name: str) -> Design:
    """Return the design of an organism.

    Args:
        name: Of a design, and if several trainings of it are shipped, which: `natural-1`.

    Raises:
        UnknownNameError: There is no such organism.
    """
    if name in DESIGNS:
        return DESIGNS[name]
    first, _, seed = name.rpartition("-")
    if seed and first in DESIGNS and name in DESIGNS[first].trainings:
        return replace(DESIGNS[first], weights=name)
    raise UnknownNameError(
        f"No organism {name!r}; there are: {', '.join(DESIGNS)}. Choose one of these."
    )


@torch.no_grad()
def connect(reasoner: Reasoner, plan: Design) -> Reasoner:
    """Return a reasoner with its parts connected as a design has them, on the same weights."""
    reasoner = replace(reasoner, wiring=plan.circuit.wiring)
    if plan.circuit.feeds != "state":
        pad = reasoner.embed(torch.tensor(reasoner.tokens.pad, device=reasoner.model.device))
        reasoner = replace(
            reasoner,
            protocol=replace(reasoner.protocol, map="feed"),
            modules={"feed": Feed(plan.circuit.feeds, pad.detach())},
        )
    if plan.blend is None:
        return reasoner
    return replace(reasoner, blend=plan.blend(_signature(reasoner)))


def _signature(reasoner: Reasoner) -> Float[Tensor, "kv_heads d_head"]:
    """Return what a slot shows in the first layer that is fed the circuit's constant."""
    feed = reasoner.modules.get("feed")
    width = reasoner.model.get_input_embeddings().embedding_dim
    fed = feed.constant if isinstance(feed, Feed) else torch.zeros(width).to(reasoner.model.device)
    block = reasoner.architecture.blocks(reasoner.model)[0]
    values = block.self_attn.v_proj(block.input_layernorm(fed))
    return values.unflatten(-1, (-1, block.self_attn.head_dim))
