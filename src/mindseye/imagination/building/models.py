"""Asking a Hugging Face image-text model in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mindseye.errors import ModelError, first_line
from mindseye.imagination.building.asking import Reply, Request, Unanswered
from mindseye.reasoners import Reasoner
from mindseye.reasoners.processor import load_processor
from mindseye.samples import read_image

__all__ = ["LocalModel"]


class LocalModel:
    """A stock image-text model in memory; it answers greedily, one request at a time.

    Args:
        model: A stock transformers model that generates.
        processor: Its processor with a chat template; a tokenizer does for a judge that is shown
            no pictures.
        name: What to call it.
    """

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self._model = model
        self._processor = processor
        self._name = name
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> LocalModel:
        """Load a folder or hub id with the stock classes, from safetensors.

        Args:
            source: A folder or hub id.
            device: Where to put it; a GPU if there is one.
            dtype: Of the weights.
            options: Passed to `from_pretrained`, such as `revision` or `device_map`.

        Raises:
            ModelError: It cannot be loaded.
        """
        import transformers

        try:
            model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                source, dtype=dtype, **{"use_safetensors": True, **options}
            )
            shared = {key: options[key] for key in ("revision", "token") if key in options}
            processor = load_processor(source, model.config, **shared)
        except Exception as fault:  # a broken checkpoint fails in as many ways as it has files
            raise ModelError(
                f"{str(source)!r} cannot be loaded as an image-text model ({first_line(fault)}). "
                "Expected a Hugging Face folder or hub id with config, safetensors, tokenizer and "
                "image processor."
            ) from fault
        if "device_map" not in options:
            model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        revision = getattr(model.config, "_commit_hash", None)
        return cls(model.eval(), processor, f"{source}@{revision}" if revision else str(source))

    @classmethod
    def of(cls, reasoner: Reasoner) -> LocalModel:
        """Ask a reasoner's model in words; its latent protocol is left aside.

        Raises:
            ModelError: It was wrapped without a processor.
        """
        if reasoner.processor is None:
            raise ModelError(
                f"{reasoner.name!r} was wrapped without a processor, so it can be asked nothing. "
                "Pass wrap(..., processor=...)."
            )
        return cls(reasoner.model, reasoner.processor, reasoner.name)

    @property
    def name(self) -> str:
        """What it was loaded as, with the revision where the hub has one."""
        return self._name

    @torch.no_grad()
    def ask(self, request: Request) -> Reply:
        """Generate a reply.

        Raises:
            SampleError: A picture cannot be read.
            Unanswered: The model cannot be asked so, or ran out of memory.
        """
        images = [Image.fromarray(read_image(image)) for image in request.images]
        with self._lock:
            try:
                inputs = self._inputs(request.text, images)
                ids = self._model.generate(
                    **inputs, max_new_tokens=request.max_new_tokens, do_sample=False
                )[0]
            except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as fault:
                raise Unanswered("the model failed", said=first_line(fault)) from fault
        n_prompt = inputs["input_ids"].shape[1]
        said = ids[n_prompt:].tolist()
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        return Reply(
            text=tokenizer.decode(said, skip_special_tokens=True),
            finish="stop" if said and said[-1] in self._ends() else "length",
            tokens_in=n_prompt,
            tokens_out=len(said),
        )

    def _inputs(self, text: str, images: list[Image.Image]) -> Any:
        content: Any = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
        if not hasattr(self._processor, "tokenizer"):  # a text model's template takes plain strings
            content = text
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
        )
        shown = {"images": [images]} if images else {}
        batch = self._processor(
            text=[prompt], **shown, return_tensors="pt", add_special_tokens=False
        )
        return batch.to(self._model.device)

    def _ends(self) -> set[int]:
        given = self._model.generation_config.eos_token_id
        return set(given) if isinstance(given, list) else {given} if given is not None else set()
