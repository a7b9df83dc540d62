"""TransformerLens' bridge: `run_with_hooks` once per cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.sweep.methods import Cell, Method, fed

__all__ = ["Lens"]

_LAST = {"logits_to_keep": 1, "use_cache": False}


class Lens(Method):
    """The bridge, once per cell."""

    name = "TransformerLens, run_with_hooks"

    @torch.no_grad()
    def prepare(self) -> None:
        """Run both prompts, then the clean one once more with the bridge, and read."""
        clean = self.setting.run(self.setting.clean)
        reference = self.setting.run(self.setting.reference)
        self.slots = reference.latent_positions
        self.inputs = fed(reference, self.setting.reference)
        self.latents = reference.embeds[self.slots]
        self.donor: dict[str, Tensor] = {}

        def read(activation: Tensor, hook: Any) -> None:
            self.donor[names[hook.name]] = activation[0, self.slots].clone()

        hooked = [
            Cell(layer, hook, 0).name
            for layer in range(self.setting.sizes.layers)
            for hook in self.hooks
        ]
        # A bridge calls its hook points by names of its own; the usual ones are other words for it.
        names = {self.bridge.hook_dict[name].name: name for name in hooked}
        self._run(fed(clean, self.setting.clean), clean.embeds[self.slots], hooked, read)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.bridge = self.setting.reasoner.transformer_lens()

    @torch.no_grad()
    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Run the bridge once per cell."""
        return torch.cat([self._patch(cell) for cell in cells])

    def _patch(self, cell: Cell) -> Tensor:
        value = self.donor[cell.name][cell.slot]

        def write(activation: Tensor, hook: Any) -> Tensor:
            activation[0, self.slots[cell.slot]] = value
            return activation

        return self._run(self.inputs, self.latents, [cell.name], write)

    def _run(
        self, inputs: dict[str, Tensor], latents: Tensor, names: list[str], visit: Any
    ) -> Tensor:
        def put(embeds: Tensor, hook: Any) -> Tensor:
            embeds[0, self.slots] = latents
            return embeds

        hooks = [("hook_embed", put), *((name, visit) for name in names)]
        rest = {name: value for name, value in inputs.items() if name != "input_ids"}
        logits = self.bridge.run_with_hooks(inputs["input_ids"], fwd_hooks=hooks, **rest, **_LAST)
        return logits[:, -1]
