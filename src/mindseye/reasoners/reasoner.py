"""The thing that runs a sample: a stock model, its processor and its latent protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.errors import EditError
from mindseye.reasoners.architectures import Architecture
from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.hooks import Edit, Visit, hooked
from mindseye.reasoners.prompt import Prompt, encode
from mindseye.reasoners.protocol import LatentProtocol, LatentTokens
from mindseye.reasoners.spans import positions
from mindseye.reasoners.stream import Stream
from mindseye.reasoners.trace import Replay, Segment, Trace
from mindseye.reasoners.wiring import Knockout, attention_bias
from mindseye.samples import Sample

__all__ = ["Reasoner"]


@dataclass(frozen=True, slots=True, eq=False)
class Reasoner:
    """A model that imagines, ready to run.

    Attributes:
        name: What it was loaded as.
        model: The stock transformers model.
        processor: Its processor.
        architecture: Where the model's parts are.
        protocol: How it emits latents.
        tokens: The protocol's markers as ids of this tokenizer.
        wiring: Attention edges that do not exist in this model.
    """

    name: str
    model: Any
    processor: Any
    architecture: Architecture
    protocol: LatentProtocol
    tokens: LatentTokens
    wiring: tuple[Knockout, ...] = ()

    @torch.no_grad()
    def run(
        self,
        sample: Sample,
        *,
        max_new_tokens: int = 64,
        imagine: bool = True,
        cache: Sequence[str] = (),
    ) -> Trace:
        """Run a sample greedily and return everything it left.

        Args:
            sample: What to ask.
            max_new_tokens: Most tokens to generate, latents included.
            imagine: Whether the start marker may be chosen; without it the run is ordinary text.
            cache: Hook names or patterns to compute at once, instead of when first looked at.

        Raises:
            SampleError: The sample cannot be read.
            EditError: `cache` names a hook that the model does not have.
        """
        prompt = encode(self.processor, [sample]).to(self.model.device)
        stream = Stream.open(self.model, self.architecture, prompt, self.wiring)
        decoding = Decoding(self.protocol, self.tokens, self._eos(), imagine)
        while True:
            state = stream.states[:, -1:]
            step = decoding.advance(self.model.lm_head(state)[0, -1])
            if decoding.stopped or len(decoding.ids) >= max_new_tokens:
                break
            token = torch.tensor([[step.token]], device=state.device)
            stream.feed(state if step.span == "latents" else self.embed(token), [step.span])
        trace = self._trace(sample, prompt, stream, decoding)
        if cache:
            trace.cache.fetch(*cache)
        return trace

    @torch.no_grad()
    def replay(
        self,
        trace: Trace,
        branches: Sequence[Sequence[Edit]] = ((),),
        *,
        record: Sequence[str] = (),
        knockouts: Sequence[Knockout] = (),
    ) -> Replay:
        """Recompute a run in one forward pass with every fed vector pinned (open loop).

        Args:
            trace: The run to recompute.
            branches: Sets of edits, one row of the result each; an empty set changes nothing.
            record: Hook names to keep, from all branches.
            knockouts: Attention edges to cut on top of the model's wiring.

        Raises:
            EditError: A hook or position that the run does not have, or a value of another shape.
        """
        n_rows, n_seq = len(branches), len(trace.labels)
        kept: dict[str, Tensor] = {}
        visits = _visits(branches, record, kept, n_seq)
        labels = trace.labels.expand(n_rows, -1)
        wiring = (*self.wiring, *knockouts)
        with hooked(self.model, self.architecture, visits):
            states = self.architecture.text_decoder(self.model)(
                inputs_embeds=trace.embeds.expand(n_rows, -1, -1),
                attention_mask=attention_bias(labels, n_seq, wiring, trace.embeds.dtype),
                position_ids=trace.rotary[:, None].expand(-1, n_rows, -1),
                use_cache=False,
            ).last_hidden_state
        return Replay(states, self.model.lm_head(states[:, trace.n_prompt - 1 :]), kept)

    def embed(self, ids: Int[Tensor, "*dims"]) -> Float[Tensor, "*dims d_model"]:
        """Return the input embeddings of token ids."""
        return self.model.get_input_embeddings()(ids)

    def _trace(self, sample: Sample, prompt: Prompt, stream: Stream, decoding: Decoding) -> Trace:
        labels, embeds = stream.labels[0], stream.embeds[0]
        segments = _segments(labels, embeds, self.protocol.n_slots)
        spoken = _spoken(decoding)
        read = self.processor.tokenizer.decode
        answer = spoken["answer"] if segments else spoken["text"]
        return Trace(
            reasoner=self,
            sample=sample,
            token_ids=torch.cat([prompt.input_ids[0], torch.tensor(decoding.ids).to(labels)]),
            n_prompt=prompt.labels.shape[1],
            labels=labels,
            embeds=embeds,
            rotary=stream.rotary[:, 0],
            logits=torch.stack(decoding.logits),
            segments=segments,
            text=read(spoken["text"] + spoken["answer"], skip_special_tokens=True).strip(),
            answer=read(answer, skip_special_tokens=True).strip(),
            stop="eos" if decoding.stopped else "length",
        )

    def _eos(self) -> frozenset[int]:
        given = self.model.generation_config.eos_token_id
        if given is None:
            given = self.processor.tokenizer.eos_token_id
        return frozenset(given if isinstance(given, list) else [given])


def _segments(
    labels: Int[Tensor, " seq"], embeds: Float[Tensor, "seq d_model"], n_slots: int
) -> tuple[Segment, ...]:
    """Find the latent segment of a run, if it has one.

    Latents are fed as they are produced, so both records hold the same vectors here.
    """
    start, slots, end = (positions(labels, span) for span in ("start", "latents", "end"))
    if not len(start):
        return ()
    return (
        Segment(
            start=int(start[0]),
            slots=tuple(slots.tolist()),
            end=int(end[0]) if len(end) else None,
            latents=embeds[slots],
            fed=embeds[slots],
            stop="count" if len(slots) == n_slots else "length",
        ),
    )


def _spoken(decoding: Decoding) -> dict[str, list[int]]:
    """Sort the generated ids into text before the latents and answer after them."""
    spoken: dict[str, list[int]] = {"text": [], "answer": []}
    for token, span in zip(decoding.ids, decoding.spans, strict=True):
        if span in spoken:
            spoken[span].append(token)
    return spoken


def _visits(
    branches: Sequence[Sequence[Edit]], record: Sequence[str], kept: dict[str, Tensor], n_seq: int
) -> dict[str, Visit]:
    """Turn edits and recordings into one function per hook name; it edits first, then keeps."""
    edits: dict[str, list[tuple[int, Edit]]] = {name: [] for name in record}
    for row, branch in enumerate(branches):
        for edit in branch:
            edits.setdefault(edit.hook, []).append((row, edit))
    return {name: _visit(name, rows, name in record, kept, n_seq) for name, rows in edits.items()}


def _visit(
    name: str, edits: list[tuple[int, Edit]], keep: bool, kept: dict[str, Tensor], n_seq: int
) -> Visit:
    for _, edit in edits:
        if name.endswith("hook_pattern"):
            raise EditError(f"{name!r} can be read but not edited. Cut edges with a Knockout.")
        if (
            len(edit.positions)
            and not 0 <= int(edit.positions.min()) <= int(edit.positions.max()) < n_seq
        ):
            raise EditError(
                f"An edit of {name!r} at positions {edit.positions.tolist()} lies outside this run "
                f"of {n_seq} positions. Pass positions of the run that is replayed."
            )

    def visit(activation: Tensor) -> Tensor | None:
        if edits:
            activation = activation.clone()
        for row, edit in edits:
            target = activation[row, edit.positions]
            if target.shape != edit.value.shape:
                raise EditError(
                    f"An edit of {name!r} brings a value of shape {tuple(edit.value.shape)}; there "
                    f"it takes {tuple(target.shape)}. Patch between runs of equal segments."
                )
            activation[row, edit.positions] = edit.value.to(activation)
        if keep:
            kept[name] = activation
        return activation if edits else None

    return visit
