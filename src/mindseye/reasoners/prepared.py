"""Inputs that somebody prepared already, as the prompt that everything else takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import PAD, SPANS
from mindseye.samples import Sample

__all__ = ["PREPARED", "as_prompt"]

PREPARED = Sample((), question="(prepared inputs)", answer="", id="prepared")
"""Stands where a trace would hold the sample it ran on."""


def as_prompt(inputs: Mapping[str, Any], image_token_id: int | None) -> Prompt:
    """Take the stock forward's own inputs as a prompt.

    Where the text around an image begins and ends is not known here, so all of it is labelled
    `question`.

    Args:
        inputs: What the stock forward takes, as tensors with a batch axis of one.
        image_token_id: Id of the image placeholder; none for a text model.

    Raises:
        SampleError: `input_ids` are missing or of another shape.
    """
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.shape[0] != 1 or not ids.shape[1]:
        given = f"shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise SampleError(
            f"Prepared inputs hold input_ids of {given}; expected a tensor of shape (1, seq), one "
            "prompt per mapping. Split a batch into its rows."
        )
    features = {key: value for key, value in inputs.items() if isinstance(value, Tensor)}
    attended = features.pop("attention_mask", torch.ones_like(ids))
    del features["input_ids"]
    labels = torch.full_like(ids, SPANS.index("question"))
    if image_token_id is not None:
        shows = ids == image_token_id
        features.setdefault("mm_token_type_ids", shows.to(ids.dtype))
        labels[shows] = SPANS.index("image")
    labels[attended == 0] = PAD
    return Prompt(ids, attended, labels, features)
