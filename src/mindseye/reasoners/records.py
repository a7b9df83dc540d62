"""From what a batch of runs left in its stream to one trace per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.reasoners.answers import parse_answer
from mindseye.reasoners.decoding import Decoding, Opened
from mindseye.reasoners.generation import Row
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import SPANS
from mindseye.reasoners.stream import Stream, held
from mindseye.reasoners.trace import KeysValues, Segment, Settings, Trace
from mindseye.samples import Sample

if TYPE_CHECKING:
    from mindseye.reasoners.reasoner import Reasoner

__all__ = ["Asked", "trace_of"]

Asked = tuple[Sample, Prompt, Settings]
"""A sample, its prompt alone and unpadded, and what the run was asked for."""


def trace_of(
    reasoner: Reasoner, asked: Asked, row: Row, index: int, stream: Stream, *, keep: bool = False
) -> Trace:
    """Cut one row out of a finished batch.

    Args:
        reasoner: What ran.
        asked: What it was asked.
        row: The row's own records.
        index: Its place in the batch.
        stream: The finished stream.
        keep: Whether the trace holds keys and values.
    """
    sample, prompt, settings = asked
    decoding, n_prompt = row.decoding, prompt.input_ids.shape[1]
    n_fed = len(decoding.ids) - 1  # the last token is never fed
    n_pad = stream.prompt.embeds.shape[1] - n_prompt
    kept = slice(n_pad, n_pad + n_prompt + n_fed)
    embeds, device = stream.embeds[index, kept], stream.embeds.device
    labels = stream.labels[index, kept].clone()
    # Which words were an answer mark's shows only when it is complete, after they were fed.
    for step, span in enumerate(decoding.spans[:n_fed]):
        labels[n_prompt + step] = SPANS.index(span)
    text, closing = _said(reasoner, decoding)
    answer = parse_answer(
        closing,
        reasoner.protocol.answers,
        sample.options,
        sample.answer,
    )
    return Trace(
        reasoner=reasoner,
        sample=sample,
        prompt=prompt,
        token_ids=torch.tensor(decoding.ids, device=device),
        sampled_ids=torch.tensor(decoding.sampled, device=device),
        labels=labels,
        embeds=embeds,
        position_ids=stream.position_ids[:, index, kept],
        fed_is_latent=torch.tensor(
            [span == "latents" for span in decoding.spans[:n_fed]], dtype=torch.bool, device=device
        ),
        logits=torch.stack(row.logits),
        segments=_segments(row, embeds, n_prompt, n_fed),
        text=text,
        answer=answer or "",
        parsed=answer is not None,
        stop="eos" if row.stop == "eos" else "length",
        settings=settings,
        deepstack=_deepstack(stream, index),
        past_key_values=_key_values(stream, index, kept) if keep else None,
    )


def _segments(
    row: Row, embeds: Float[Tensor, "seq d_model"], n_prompt: int, n_fed: int
) -> tuple[Segment, ...]:
    """Give the segments of a run their positions and vectors; what was never fed is left out."""
    found, used = [], 0
    for opened in row.decoding.segments:
        slots = [n_prompt + slot for slot in opened.slots if slot < n_fed]
        if not slots and (opened.start is None or opened.start >= n_fed):
            continue
        fed = embeds[slots]
        raw = row.latents[used : used + len(slots)]
        used += len(raw)
        latents = torch.stack(raw) if raw else fed
        found.append(_segment(opened, slots, latents, fed, row.decoding, n_prompt))
    return tuple(found)


def _segment(
    opened: Opened, slots: list[int], latents: Tensor, fed: Tensor, decoding: Decoding, n: int
) -> Segment:
    cut = opened.end is not None and opened.end >= len(decoding.ids) - 1  # before its end was fed
    return Segment(
        start=None if opened.start is None else n + opened.start,
        slots=tuple(slots),
        sources=tuple(slot - 1 for slot in slots),
        end=None if opened.end is None or cut else n + opened.end,
        latents=latents,
        fed=fed,
        visible_ids=tuple(decoding.ids[slot - n] for slot in slots),
        stop=opened.stop,
        complete=opened.stop != "length" and not cut,
    )


def _said(reasoner: Reasoner, decoding: Decoding) -> tuple[str, str]:
    """Return what the model said in words, and the part in which its answer is looked for."""
    if reasoner.tokenizer is None:
        return "", ""
    in_words = decoding.protocol.in_words  # then the latents are words too
    spoken = [
        (place, token)
        for place, (token, span) in enumerate(zip(decoding.ids, decoding.spans, strict=True))
        if in_words or span in ("text", "answer")
    ]
    begins = 0
    if decoding.segments and not in_words:
        last = decoding.segments[-1]
        begins = max([last.start or 0, *last.slots, last.end or 0])
    text = reasoner.read([token for _, token in spoken], special=False).strip()
    closing = [token for place, token in spoken if place >= begins]
    return text, reasoner.read(closing, special=False).strip()


def _key_values(stream: Stream, index: int, kept: slice) -> KeysValues:
    """Return the row's keys and values, as tensors of their own if the batch has other rows."""
    row = slice(index, index + 1)
    mine = [(k[row, :, kept], v[row, :, kept]) for k, v in held(stream.cache)]
    alone = len(stream.labels) == 1
    return tuple(mine if alone else [(k.clone(), v.clone()) for k, v in mine])


def _deepstack(stream: Stream, index: int) -> tuple[Tensor, ...]:
    """Return the row's share of the features that the first blocks add at image positions."""
    counts = stream.prompt.image_mask.sum(dim=1).tolist()
    begin = sum(counts[:index])
    return tuple(layer[begin : begin + counts[index]] for layer in stream.prompt.deepstack)
