"""From samples to what the model reads: ids, pixels, and the span of every position."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners.spans import PAD, SPANS
from mindseye.samples import Sample, read_image

__all__ = ["Prompt", "PromptStyle", "encode", "join"]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How a family puts a question, on top of the checkpoint's own chat template.

    Attributes:
        system: The system turn; none leaves it to the template.
        images: Whether images stand before the question or after it.
        instruction: Text that follows the question in its turn.
        header: What opens the model's turn, if not the template's own generation prompt.
        prefix: Text before everything else.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    system: str | None = None
    images: Literal["first", "last"] = "first"
    instruction: str = ""
    header: str | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A left-padded batch of prompts, ready for the model.

    Attributes:
        input_ids: Token ids, each image expanded to one placeholder per feature.
        attention_mask: 0 at padding.
        labels: The span of every position, as an index into `SPANS`, or `PAD`.
        features: What else the stock forward takes, such as `pixel_values` and `image_grid_thw`,
            all images of the batch one after another.
    """

    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    labels: Int[Tensor, "batch seq"]
    features: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def to(self, device: torch.device | str) -> Prompt:
        """Return the same prompts on another device."""
        return Prompt(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.labels.to(device),
            {name: value.to(device) for name, value in self.features.items()},
        )


def encode(processor: Any, samples: Sequence[Sample], style: PromptStyle | None = None) -> Prompt:
    """Render samples through the chat template and the image processor.

    Args:
        processor: The checkpoint's processor, or its tokenizer if it reads text only. Without a
            chat template the question stands alone.
        samples: What to ask; rows come out in this order.
        style: How the family puts a question.

    Raises:
        SampleError: An image cannot be read or has an impossible shape, a text model is shown one,
            or the template drops the question.
    """
    style = style or PromptStyle()
    asked = [sample.question + style.instruction for sample in samples]
    texts = [_render(processor, s, a, style) for s, a in zip(samples, asked, strict=True)]
    places = [_render(processor, s, _SENTINEL, style).find(_SENTINEL) for s in samples]
    batch = _process(processor, samples, texts)
    nothing = torch.zeros_like(batch["input_ids"])
    rows = zip(
        asked,
        texts,
        places,
        batch.pop("offset_mapping"),
        batch.pop("text_replacement_offsets", [()] * len(samples)),
        batch["attention_mask"],
        # Gemma 3's processor knows the same thing under an older name.
        batch.get("mm_token_type_ids", batch.get("token_type_ids", nothing)),
        strict=True,
    )
    labels = torch.stack([_label(*row) for row in rows])
    return Prompt(batch.pop("input_ids"), batch.pop("attention_mask"), labels, dict(batch))


def join(prompts: Sequence[Prompt]) -> Prompt:
    """Join prompts of one row each into a left-padded batch.

    What stands along the sequence is padded; everything else is laid end to end.

    Raises:
        SampleError: They hold different features, or features of shapes that cannot be joined.
    """
    if len(prompts) == 1:
        return prompts[0]
    fields = [sorted(prompt.features) for prompt in prompts]
    n_seq = max(prompt.input_ids.shape[1] for prompt in prompts)
    try:
        if any(field != fields[0] for field in fields):
            raise RuntimeError(f"{fields[0]} beside {next(f for f in fields if f != fields[0])}")
        features = {name: _join_feature(name, prompts, n_seq) for name in fields[0]}
    except RuntimeError as fault:
        raise SampleError(
            f"{len(prompts)} prompts hold features that make no batch ({fault}); expected the "
            "same features in the same shapes. Run them one by one."
        ) from fault
    return Prompt(
        # Padding repeats a text token, so that no image placeholder is counted twice.
        torch.cat([_left_pad(p.input_ids, n_seq, int(p.input_ids[0, -1])) for p in prompts]),
        torch.cat([_left_pad(p.attention_mask, n_seq, 0) for p in prompts]),
        torch.cat([_left_pad(p.labels, n_seq, PAD) for p in prompts]),
        features,
    )


def _join_feature(name: str, prompts: Sequence[Prompt], n_seq: int) -> Tensor:
    values = [prompt.features[name] for prompt in prompts]
    if all(v.shape == p.input_ids.shape for v, p in zip(values, prompts, strict=True)):
        values = [_left_pad(value, n_seq, 0) for value in values]
    return torch.cat(values)


def _left_pad(values: Int[Tensor, "1 seq"], n_seq: int, filler: int) -> Int[Tensor, "1 longer"]:
    return torch.nn.functional.pad(values, (n_seq - values.shape[1], 0), value=filler)


_SENTINEL = "\ue000question\ue001"


def _render(processor: Any, sample: Sample, asked: str, style: PromptStyle) -> str:
    if not getattr(processor, "chat_template", None):
        return style.prefix + asked + (style.header or "")
    images: list[dict[str, str]] = [{"type": "image"} for _ in sample.images]
    text = [{"type": "text", "text": asked}]
    content: Any = images + text if style.images == "first" else text + images
    if not hasattr(processor, "tokenizer"):  # a text model's template takes plain strings
        content = asked
    turns = [{"role": "user", "content": content}]
    if style.system is not None:
        plain = content is asked
        said = style.system if plain else [{"type": "text", "text": style.system}]
        turns.insert(0, {"role": "system", "content": said})
    rendered = processor.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=style.header is None
    )
    return style.prefix + rendered + (style.header or "")


def _process(processor: Any, samples: Sequence[Sample], texts: list[str]) -> dict[str, Any]:
    """Tokenize texts and images as one left-padded batch, with the offsets of every token."""
    images = [[Image.fromarray(read_image(s)) for s in sample.images] for sample in samples]
    options: dict[str, Any] = {
        "text": texts,
        "padding": True,
        "padding_side": "left",
        "return_offsets_mapping": True,
        "return_tensors": "pt",
    }
    if hasattr(processor, "image_processor"):
        options |= {"return_text_replacement_offsets": True, "return_mm_token_type_ids": True}
        if any(images):
            options["images"] = images
    elif any(images):
        raise SampleError(
            f"Sample {samples[0].id!r} shows an image to a model that reads text only. Take the "
            "image away, or load a model that sees."
        )
    try:
        return dict(processor(**options))
    except ValueError as fault:
        raise SampleError(
            f"The processor refused a batch of {len(samples)} samples "
            f"({samples[0].id!r} first): {fault}"
        ) from fault


def _label(
    asked: str,
    text: str,
    begin: int,
    offsets: Int[Tensor, "seq 2"],
    replacements: Sequence[Any],
    attended: Int[Tensor, " seq"],
    modality: Int[Tensor, " seq"],
) -> Int[Tensor, " seq"]:
    """Name the span of every token of one row from its place in the rendered text.

    Raises:
        SampleError: The template changed the question beyond recognition.
    """
    if begin < 0 or not text.startswith(asked, begin):
        raise SampleError(
            f"The chat template does not show the question {asked!r} as it is; "
            "expected to find it in the prompt. Remove what the template strips or escapes."
        )
    # Image placeholders were expanded after rendering, which moved whatever follows them.
    shift = sum(
        (r["new_span"][1] - r["new_span"][0]) - (r["span"][1] - r["span"][0])
        for r in replacements
        if r["span"][0] < begin
    )
    first, last = begin + shift, begin + shift + len(asked)
    image = modality == 1
    first_content = min(first, int(offsets[image, 0].min())) if image.any() else first
    starts = offsets[:, 0]
    labels = torch.full_like(starts, SPANS.index("image"))
    labels[starts < first_content] = SPANS.index("system")
    labels[(starts >= first) & (starts < last)] = SPANS.index("question")
    labels[starts >= max(last, int(offsets[image, 1].max()) if image.any() else 0)] = SPANS.index(
        "header"
    )
    labels[image] = SPANS.index("image")
    labels[attended == 0] = PAD
    return labels
