"""nnsight: one trace per cell, or cells stacked by hand as rows of one trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.sweep.methods import Cell, Method, fed

__all__ = ["NnsightCells", "NnsightRows"]

_LAST = {"logits_to_keep": 1, "use_cache": False}


class NnsightCells(Method):
    """One trace per cell."""

    name = "nnsight, one trace per cell"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.wrapped = self.setting.reasoner.nnsight()

    @torch.no_grad()
    def prepare(self) -> None:
        """Run both prompts, then trace the clean one once more and save what is patched."""
        clean = self.setting.run(self.setting.clean)
        reference = self.setting.run(self.setting.reference)
        self.slots = reference.latent_positions
        self.inputs = fed(reference, self.setting.reference)
        self.latents = reference.embeds[self.slots]
        given, latents, slots = fed(clean, self.setting.clean), clean.embeds[self.slots], self.slots
        decoder, hooks, n_layers = (
            self.wrapped.model.language_model,
            self.hooks,
            self.setting.sizes.layers,
        )
        donor: dict[str, Tensor] = {}
        with self.wrapped.trace(**given, **_LAST):
            decoder.embed_tokens.output[:, slots] = latents
            for i in range(n_layers):
                layer = decoder.layers[i]
                if "hook_resid_pre" in hooks:
                    donor[f"blocks.{i}.hook_resid_pre"] = layer.input[0, slots].clone().save()
                if "hook_attn_out" in hooks:
                    donor[f"blocks.{i}.hook_attn_out"] = (
                        layer.self_attn.output[0][0, slots].clone().save()
                    )
                if "hook_mlp_out" in hooks:
                    donor[f"blocks.{i}.hook_mlp_out"] = layer.mlp.output[0, slots].clone().save()
        self.donor = donor

    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Trace the model once per cell."""
        return torch.cat([self._trace([cell]) for cell in cells])

    @torch.no_grad()
    def _trace(self, cells: Sequence[Cell]) -> Tensor:
        """Trace the model once, with one cell per row; cells come in the order of computation."""
        inputs = _repeated(self.inputs, len(cells))
        decoder, slots, latents = self.wrapped.model.language_model, self.slots, self.latents
        edits = [
            (cell.layer, cell.hook, slots[cell.slot], self.donor[cell.name][cell.slot])
            for cell in cells
        ]
        with self.wrapped.trace(**inputs, **_LAST):
            decoder.embed_tokens.output[:, slots] = latents
            for row, (index, hook, place, value) in enumerate(edits):
                layer = decoder.layers[index]
                if hook == "hook_resid_pre":
                    layer.input[row, place] = value
                elif hook == "hook_attn_out":
                    layer.self_attn.output[0][row, place] = value
                else:
                    layer.mlp.output[row, place] = value
            logits = self.wrapped.lm_head.output[:, -1].save()
        return logits


class NnsightRows(NnsightCells):
    """Several cells as rows of one trace."""

    name = "nnsight, eight rows per trace"
    n_rows = 8

    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Trace the model once per batch of cells."""
        batches = [cells[i : i + self.n_rows] for i in range(0, len(cells), self.n_rows)]
        return torch.cat([self._trace(batch) for batch in batches])


def _repeated(inputs: dict[str, Tensor], n_rows: int) -> dict[str, Tensor]:
    """Return a prompt as several equal rows; those of images stand one after another."""
    return {name: value.repeat(n_rows, *[1] * (value.ndim - 1)) for name, value in inputs.items()}
