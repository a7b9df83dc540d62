"""A reasoner's model in the hands of nnsight and of TransformerLens, on the very same weights.

Each function returns the other library's own object. Latents are vectors, not ids, so a run is
shown to either as what its decoder received: `inputs_embeds` with explicit positions.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from mindseye.errors import ModelError
from mindseye.reasoners.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from mindseye.reasoners.reasoner import Reasoner

__all__ = ["as_nnsight", "as_transformer_lens"]


def as_nnsight(reasoner: Reasoner) -> Any:
    """Return nnsight's wrapper around a reasoner's model.

    With a processor or a tokenizer it is a `TransformersModel`, which traces text and images as
    well; without, a plain `NNsight`. nnsight marks the modules themselves, in place, and the marks
    sleep outside a trace: the reasoner runs as before, and the call may be repeated. The processor
    is a copy, because nnsight sets the padding of the one it is given.

    A child module traces anything that runs the model, with its masks and its latents: for a child
    `blocks`, `blocks.trace(sample, fn=reasoner.run)` watches a run while it imagines, and
    `blocks.trace(trace, fn=reasoner.replay)` the one forward pass of a replay.

    Args:
        reasoner: Whose model to wrap.

    Raises:
        ModelError: nnsight is not installed.
    """
    try:
        from nnsight import NNsight
        from nnsight.modeling.transformers import TransformersModel
    except ImportError as fault:
        raise ModelError(
            f"nnsight cannot be imported ({fault}), so it cannot wrap {reasoner.name!r}. Install "
            "it with `pip install nnsight`."
        ) from fault
    if reasoner.processor is None:
        return NNsight(reasoner.model)
    processor = copy.deepcopy(reasoner.processor)
    if hasattr(processor, "tokenizer"):
        given = {"task": "image-text-to-text", "processor": processor}
    else:
        given = {"task": "text-generation", "tokenizer": processor}
    if not getattr(reasoner.model, "hf_device_map", None):
        # Left to itself it would move the model, which is the reasoner's too, to the first GPU.
        given["device"] = reasoner.model.device
    return TransformersModel(reasoner.model, **given)


def as_transformer_lens(reasoner: Reasoner) -> Any:
    """Return a `TransformerBridge` around a reasoner's weights.

    A bridge puts its own modules in the place of the model's and asks for eager attention. It is
    therefore built on a second tree of modules that holds the same tensors, and the reasoner's own
    model stays as it is. Only what rewrites tensors in place is felt by both: `.to(...)`,
    `load_state_dict`, an optimiser, and weight processing of a mixture of experts.

    `bridge(trace.embeds[None], position_ids=...)` takes a run as what was fed. It knows nothing of
    a reasoner's wiring: that goes in as `attention_mask`.

    Nothing is downloaded or installed, because TransformerLens' own `boot` is not asked: it fetches
    a processor, and runs pip if that needs torchvision.

    Args:
        reasoner: Whose weights to bridge.

    Raises:
        ModelError: TransformerLens has no adapter for this architecture, or the adapter needs a
            package that is not installed.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.sources import build_bridge_config_from_hf
    from transformer_lens.utilities.multi_gpu import count_unique_devices, find_embedding_device

    name, adapter_class = _adapter_class(reasoner.model)
    model = _second_tree(reasoner.model)
    config = build_bridge_config_from_hf(model.config, name, reasoner.name, model.dtype)
    try:
        adapter = adapter_class(config)
        adapter.cfg.device = str(find_embedding_device(model) or model.device)
        adapter.cfg.n_devices = count_unique_devices(model)
        adapter.prepare_model(model)
        processor = copy.deepcopy(reasoner.processor)
        tokenizer = _tokenizer(processor, adapter.cfg)
        bridge = TransformerBridge(model, adapter, tokenizer)
    except ImportError as fault:
        raise ModelError(
            f"TransformerLens needs a package for {name} that cannot be imported ({fault}). It was "
            "not installed for you. Install it, then ask again."
        ) from fault
    bridge.processor = processor if hasattr(processor, "tokenizer") else None
    return bridge


def _adapter_class(model: nn.Module) -> tuple[str, Any]:
    """Find TransformerLens' adapter by the name of the model's class or of one it extends.

    Raises:
        ModelError: There is none.
    """
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    for cls in type(model).__mro__:
        if cls.__name__ in SUPPORTED_ARCHITECTURES:
            adapter: Any = SUPPORTED_ARCHITECTURES[cls.__name__]
            # What an adapter requires is for loading a checkpoint, such as torchvision for a
            # processor's video part; here everything is loaded.
            return cls.__name__, type(adapter.__name__, (adapter,), {"required_libraries": []})
    ours = {row.auto_class for row in ARCHITECTURES.values()}
    raise ModelError(
        f"TransformerLens has no adapter for {type(model).__name__}. Of the architectures mindseye "
        f"runs it has {', '.join(sorted(ours & set(SUPPORTED_ARCHITECTURES)))}. Use nnsight or "
        "mindseye's own cache and edits, which work on every architecture."
    )


def _second_tree(model: nn.Module) -> Any:
    """Copy a model's modules and configuration, but none of its tensors.

    Accelerate's hooks are shared as well: they hold the weights of an offloaded model.
    """
    hooks = [getattr(module, "_hf_hook", None) for module in model.modules()]
    kept = [*model.parameters(), *model.buffers(), *filter(None, hooks)]
    return copy.deepcopy(model, {id(thing): thing for thing in kept})


def _tokenizer(processor: Any, config: Any) -> Any:
    """Return a processor's tokenizer, and note in a bridge's config what it adds to a text.

    TransformerLens' own preparation loads the tokenizer again by name to make it add BOS; this one
    stays the reasoner's.
    """
    from transformer_lens.model_bridge.sources import detect_tokenizer_bos_eos

    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer is None:
        return None
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    config.tokenizer_prepends_bos, config.tokenizer_appends_eos = detect_tokenizer_bos_eos(
        tokenizer
    )
    return tokenizer
