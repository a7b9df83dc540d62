"""Loading a checkpoint's processor, with or without torchvision."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, Qwen2_5_VLProcessor

__all__ = ["ImageTextProcessor", "load_processor"]


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """The stock Qwen2.5-VL processor less its video part, which is what needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Name the parts that are saved and loaded."""
        return ["image_processor", "tokenizer"]


# Folders are saved under the stock class's name, so that anyone can load them.
ImageTextProcessor.__name__ = Qwen2_5_VLProcessor.__name__


def load_processor(source: str | Path, **options: Any) -> Any:
    """Load the stock processor where torchvision is installed, else its image and text parts.

    Args:
        source: Folder or hub id.
        options: Passed to `from_pretrained`.
    """
    if find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(source, **options)
    return ImageTextProcessor.from_pretrained(source, **options)
