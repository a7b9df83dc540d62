"""Our own way, as `mindseye.sweep` does it for one pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.sweep.methods import Cell, Method
from mindseye import Edit
from mindseye.engine import Branch, compute, snapshot

__all__ = ["Ours"]


class Ours(Method):
    """Branches over two snapshots."""

    name = "mindseye"

    def prepare(self) -> None:
        """Run both prompts with their keys and values kept, and take both snapshots."""
        clean = self.setting.run(self.setting.clean, keep=True)
        reference = self.setting.run(self.setting.reference, keep=True)
        self.slots = reference.latent_positions
        start = int(self.slots[0])
        n_layers = self.setting.sizes.layers
        names = [f"blocks.{layer}.{hook}" for layer in range(n_layers) for hook in self.hooks]
        self.donor = snapshot(clean, start, record=names)
        self.held = snapshot(reference, start)

    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Compute all cells together."""
        branches = []
        for cell in cells:
            spot = self.slots[cell.slot, None]
            branches.append(Branch([Edit(cell.name, spot, self.donor.at(cell.name, spot))]))
        return compute(self.held, branches).logits[:, 0]

    def unpatched(self) -> Tensor:
        """Return the reference run's own logits, computed again from its first latent on."""
        trace = self.held.trace
        tail = torch.arange(self.held.start, len(trace.labels), device=trace.labels.device)
        again = Branch([Edit("hook_embed", tail, trace.embeds[tail])])
        return compute(self.held, [again]).logits[0, 0]
