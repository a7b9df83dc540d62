"""Forward hooks on the stock model, written by hand: one forward pass per cell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.sweep.methods import Cell, Method, fed

__all__ = ["DecoderHooks", "RawHooks"]


class RawHooks(Method):
    """The whole model, once per cell."""

    name = "raw hooks"

    @torch.no_grad()
    def prepare(self) -> None:
        """Run both prompts, then the clean one once more with hooks that read."""
        clean = self.setting.run(self.setting.clean)
        self.reference = self.setting.run(self.setting.reference)
        self.slots = self.reference.latent_positions
        self.inputs = fed(self.reference, self.setting.reference)
        self.latents = self.reference.embeds[self.slots]
        self.donor: dict[str, Tensor] = {}
        with contextlib.ExitStack() as stack:
            for layer in range(self.setting.sizes.layers):
                for hook in self.hooks:
                    name = Cell(layer, hook, 0).name
                    stack.enter_context(self._visiting(layer, hook, self._reader(name)))
            with self._embedding(clean.embeds[self.slots]):
                self.model(**fed(clean, self.setting.clean), logits_to_keep=1, use_cache=False)

    @torch.no_grad()
    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Run the model once per cell."""
        found = []
        for cell in cells:
            with self._visiting(cell.layer, cell.hook, self._writer(cell)):
                found.append(self._forward())
        return torch.stack(found)

    @torch.no_grad()
    def unpatched(self) -> Tensor:
        """Return the reference run's own logits."""
        return self._forward()

    def _forward(self) -> Tensor:
        with self._embedding(self.latents):
            out = self.model(**self.inputs, logits_to_keep=1, use_cache=False)
        return out.logits[0, -1]

    def _reader(self, name: str) -> Callable[[Tensor], None]:
        def read(activation: Tensor) -> None:
            self.donor[name] = activation[0, self.slots].clone()

        return read

    def _writer(self, cell: Cell) -> Callable[[Tensor], None]:
        value = self.donor[cell.name][cell.slot]

        def write(activation: Tensor) -> None:
            activation[0, self.slots[cell.slot]] = value

        return write

    @contextlib.contextmanager
    def _embedding(self, latents: Tensor) -> Iterator[None]:
        """Put latents where the pads are."""

        def put(_module: Any, _args: Any, embeds: Tensor) -> None:
            embeds[0, self.slots] = latents

        handle = self.model.get_input_embeddings().register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()

    @contextlib.contextmanager
    def _visiting(self, layer: int, hook: str, visit: Callable[[Tensor], None]) -> Iterator[None]:
        block = self.model.model.language_model.layers[layer]
        if hook == "hook_resid_pre":
            handle = block.register_forward_pre_hook(lambda _m, args: visit(args[0]))
        elif hook == "hook_attn_out":
            handle = block.self_attn.register_forward_hook(lambda _m, _a, out: visit(out[0]))
        elif hook == "hook_mlp_out":
            handle = block.mlp.register_forward_hook(lambda _m, _a, out: visit(out))
        else:
            raise ValueError(f"no raw hook for {hook!r}")
        try:
            yield
        finally:
            handle.remove()


class DecoderHooks(RawHooks):
    """The text decoder alone, once per cell: the image's features are computed once, by the run."""

    name = "raw hooks, decoder only"

    def _forward(self) -> Tensor:
        states = self.model.model.language_model(
            inputs_embeds=self.reference.embeds[None].clone(),
            position_ids=self.reference.position_ids[:, None],
            use_cache=False,
        ).last_hidden_state
        return self.model.lm_head(states[0, -1])
