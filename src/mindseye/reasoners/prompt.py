"""From samples to what the model reads: ids, pixels, and the span of every position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners.spans import PAD, SPANS
from mindseye.samples import Sample, read_image

__all__ = ["Prompt", "encode"]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A left-padded batch of prompts, ready for the model.

    Attributes:
        input_ids: Token ids, each image expanded to one placeholder per merged patch.
        attention_mask: 0 at padding.
        mm_token_type_ids: 1 at image placeholders.
        labels: The span of every position, as an index into `SPANS`, or `PAD`.
        pixel_values: All images' patches, one after another.
        image_grid_thw: Time, height and width of each image in patches.
    """

    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    mm_token_type_ids: Int[Tensor, "batch seq"]
    labels: Int[Tensor, "batch seq"]
    pixel_values: Float[Tensor, "patches patch_dim"]
    image_grid_thw: Int[Tensor, "images 3"]

    def to(self, device: torch.device | str) -> Prompt:
        """Return the same prompts on another device."""
        return Prompt(**{name: getattr(self, name).to(device) for name in self.__slots__})


def encode(processor: Any, samples: Sequence[Sample]) -> Prompt:
    """Render samples through the chat template and the image processor.

    Args:
        processor: The checkpoint's processor; its template is used as it is.
        samples: What to ask; rows come out in this order.

    Raises:
        SampleError: An image cannot be read or has an impossible shape, or the template drops the
            question.
    """
    texts = [_render(processor, sample, sample.question) for sample in samples]
    images = [[Image.fromarray(read_image(s)) for s in sample.images] for sample in samples]
    try:
        batch = processor(
            text=texts,
            images=images,
            padding=True,
            padding_side="left",
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
            return_mm_token_type_ids=True,
            return_tensors="pt",
        )
    except ValueError as fault:
        raise SampleError(
            f"The image processor refused a batch of {len(samples)} samples "
            f"({samples[0].id!r} first): {fault}"
        ) from fault
    rows = zip(
        samples,
        texts,
        [_render(processor, sample, _SENTINEL).find(_SENTINEL) for sample in samples],
        batch["offset_mapping"],
        batch["text_replacement_offsets"],
        batch["attention_mask"],
        batch["mm_token_type_ids"],
        strict=True,
    )
    return Prompt(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        mm_token_type_ids=batch["mm_token_type_ids"],
        labels=torch.stack([_label(*row) for row in rows]),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
    )


_SENTINEL = "\ue000question\ue001"


def _render(processor: Any, sample: Sample, question: str) -> str:
    content: list[dict[str, str]] = [{"type": "image"} for _ in sample.images]
    content.append({"type": "text", "text": question})
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )


def _label(
    sample: Sample,
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
    if begin < 0 or not text.startswith(sample.question, begin):
        raise SampleError(
            f"The chat template does not show the question {sample.question!r} as it is; "
            "expected to find it in the prompt. Remove what the template strips or escapes."
        )
    # Image placeholders were expanded after rendering, which moved whatever follows them.
    shift = sum(
        (r["new_span"][1] - r["new_span"][0]) - (r["span"][1] - r["span"][0])
        for r in replacements
        if r["span"][0] < begin
    )
    first, last = begin + shift, begin + shift + len(sample.question)
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
