"""Loading a checkpoint's processor, with or without torchvision."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import PROCESSOR_MAPPING, AutoProcessor, AutoTokenizer, ProcessorMixin

__all__ = ["load_processor", "without_video"]


def without_video(stock: Any) -> Any:
    """Return a stock processor's class less its video part, which is what needs torchvision.

    It keeps the stock class's name, under which folders are saved, so that anyone can load them.
    """

    def get_attributes(_cls: type[ProcessorMixin]) -> list[str]:
        return [part for part in stock.get_attributes() if part != "video_processor"]

    return type(stock.__name__, (stock,), {"get_attributes": classmethod(get_attributes)})


def load_processor(source: str | Path, config: Any, **options: Any) -> Any:
    """Load a checkpoint's processor, or its tokenizer if it is a text model.

    Where torchvision is installed it is the stock processor, else its image and text parts.

    Args:
        source: Folder or hub id.
        config: The checkpoint's config.
        options: Passed to `from_pretrained`.
    """
    if getattr(config, "vision_config", None) is None:
        return _padding(AutoTokenizer.from_pretrained(source, **options))
    if find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(source, **options)
    return without_video(PROCESSOR_MAPPING[type(config)]).from_pretrained(source, **options)


def _padding(tokenizer: Any) -> Any:
    """Give a tokenizer without a padding token its end-of-text token for one; nothing reads it."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
