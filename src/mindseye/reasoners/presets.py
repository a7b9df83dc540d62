"""The published families, each as one protocol.

Read from the official decode loops, quirks included; `docs/families/` says which published numbers
used which. `protocol` returns one by name, with fields changed if wanted.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from mindseye.errors import ProtocolError
from mindseye.plugins import find, register
from mindseye.reasoners.prompt import PromptStyle
from mindseye.reasoners.protocols import EndVector, LatentProtocol

__all__ = ["PRESETS", "protocol"]

_BOXED = ("boxed", "final_answer")
_TAGGED = ("answer_tag",)

_MONET = LatentProtocol(
    "<abs_vis_token>",
    "<abs_vis_token_pad>",
    "</abs_vis_token>",
    n_slots=8,
    segments="many",
    prompt=PromptStyle(
        system="You are a helpful multimodal assistant. You are required to answer the question "
        "based on the image provided. Put your final answer in \\boxed{}."
    ),
    answers=_BOXED,
)
_LVR = LatentProtocol(
    "<|lvr_start|>",
    "<|lvr|>",
    "<|lvr_end|>",
    n_slots=8,
    prompt_start=True,
    at_stop="use_sampled",
    visible="sampled",
    length_inside="ignore",
    segments="many",
    prompt=PromptStyle(
        instruction="\nAnswer with the option's letter from the given choices directly."
    ),
    answers=(*_TAGGED, "letter"),
)
_MIRAGE = LatentProtocol(
    "<|latent_start|>",
    "<|latent_pad|>",
    "<|latent_end|>",
    n_slots=8,
    end_by_token=True,
    segments="many",
    answers=_BOXED,
)
_SKETCH = LatentProtocol(
    "<|sketch_start|>",
    "<|skila|>",
    "<|sketch_end|>",
    n_slots=54,
    prompt_start=True,
    end_by_token=True,
    segments="many",
    answers=("boxed", *_TAGGED),
)

_FAMILIES = {
    "monet_vllm": dataclasses.replace(
        _MONET,
        n_slots=10,
        start_slot="replace",
        end_by_token=True,
        visible="sampled",
        eos_inside="stop",
    ),
    "monet_train": _MONET,
    "lvr_steps": _LVR,
    # Published without a limit, which may never return; the cap is ours.
    "lvr_free": dataclasses.replace(_LVR, n_slots=256, end_by_token=True),
    "lvr_vector": dataclasses.replace(
        _LVR, end_by_vector=EndVector("lvr_latent_end_emb"), start_inside="recount"
    ),
    "mirage": dataclasses.replace(
        _MIRAGE,
        start_inside="embed",
        flags="run",
        prompt=PromptStyle(header="<|im_start|>assistant"),
    ),
    "ilvr": dataclasses.replace(_MIRAGE, start_inside="restart"),
    "skila": _SKETCH,
    "swimbird": dataclasses.replace(
        _SKETCH,
        start="<|latent_start|>",
        pad="<|latent|>",
        end="<|latent_end|>",
        n_slots=64,
        answers=_TAGGED,
    ),
    "laser": LatentProtocol(
        "<|laser_start|>",
        "<|laser|>",
        "<|laser_end|>",
        n_slots=16,
        trigger="forced",
        prompt_start=True,
        end_by_token=True,
        after_forced_end="<answer>",
        visible="sampled",
        length_inside="ignore",
        segments="many",
        answers=_TAGGED,
    ),
    "covt": LatentProtocol(
        pad=("<|sam_pad|>", "<|depth_pad|>", "<|dino_pad|>", "<|pidinet_pad|>"),
        source="token_embedding",
        visible="sampled",
        segments="many",
        answers=(*_TAGGED, "letter", "whole"),
    ),
    "lavit": LatentProtocol(
        pad=("<lvr1>", "<lvr2>", "<lvr3>", "<lvr4>"),
        source="token_embedding",
        visible="sampled",
        segments="many",
        answers=(*_TAGGED, "letter", "whole"),
    ),
    "mull": LatentProtocol(
        pad="<|latent_pad|>",
        source="token_embedding",
        n_slots=20,
        trigger="forced",
        prompt=PromptStyle(header="<|im_start|>assistant\n<think>"),
        answers=(*_TAGGED, "letter"),
    ),
    "coconut": LatentProtocol(
        "<|start-latent|>",
        "<|latent|>",
        "<|end-latent|>",
        n_slots=6,
        trigger="forced",
        prompt_start=True,
        prompt=PromptStyle(instruction="\n"),
        answers=("after_hash",),
    ),
    # The last three rows of the matrix, in this order: pad, start, end.
    "codi": LatentProtocol(
        -2,
        -3,
        -1,
        n_slots=6,
        trigger="forced",
        prompt_start=True,
        bans_end=True,
        map="prj",
        answers=("last_number",),
    ),
    "text": LatentProtocol(
        source="token_embedding",
        visible="sampled",
        trigger="forced",
        answer_marks=("<answer>", "\\boxed{"),
        answers=("boxed", *_TAGGED, "final_answer"),
    ),
}

PRESETS = {name: dataclasses.replace(p, name=name) for name, p in _FAMILIES.items()}
"""By name: what each family's own decode loop does."""

for _name, _preset in PRESETS.items():
    register("protocol", _name)(partial(dataclasses.replace, _preset))


def protocol(name: str, /, **changes: Any) -> LatentProtocol:
    """Return a preset, or the protocol that a plug-in offers under this name.

    Args:
        name: Of a preset, or of something registered under the kind `protocol`: a `LatentProtocol`
            or a function without arguments that returns one.
        changes: Fields to replace, such as `n_slots=4`, or markers as ids.

    Raises:
        ProtocolError: A field that does not exist or contradicts the others, or a plug-in that
            offers no protocol.
        UnknownNameError: Nobody offers this name.
    """
    offer: Any = find("protocol", name)
    found = offer if isinstance(offer, LatentProtocol) else offer()
    if not isinstance(found, LatentProtocol):
        raise ProtocolError(
            f"The plug-in behind protocol {name!r} offers {type(found).__name__}; expected a "
            "LatentProtocol or a function that returns one."
        )
    known = {field.name for field in dataclasses.fields(LatentProtocol)}
    if not set(changes) <= known:
        raise ProtocolError(
            f"protocol({name!r}) got {', '.join(sorted(set(changes) - known))}; a latent protocol "
            f"has the fields {', '.join(sorted(known))}."
        )
    return dataclasses.replace(found, **changes)
