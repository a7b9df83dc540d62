"""How little an exact method may compute: floating-point operations, counted from shapes.

Both the bound and the plain decoder, whose measured rate turns the bound into seconds, are counted
with the same few formulas: matrix products, and attention scores and values over the keys that each
query reads. Norms, rotations and activations count nothing on either side.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.sweep.methods import Cell
from benchmarks.sweep.sizes import Sizes

__all__ = ["bound", "decoder"]

_MLP_ONLY = ("hook_attn_out", "hook_resid_mid")
_AFTER_LAYER = ("hook_mlp_out", "hook_resid_post")


class _Costs:
    """What one position costs, by part of a layer."""

    def __init__(self, sizes: Sizes) -> None:
        d_head = sizes.width // sizes.heads
        self.query = 2 * sizes.width * sizes.heads * d_head
        self.key_value = 4 * sizes.width * sizes.kv_heads * d_head
        self.per_key = 4 * sizes.heads * d_head  # a score, and its part of the weighted mean
        self.out = 2 * sizes.heads * d_head * sizes.width
        self.mlp = 6 * sizes.width * sizes.inner
        self.logits = 2 * sizes.width * sizes.vocab
        self.rest = self.out + self.mlp
        self.all = self.query + self.key_value + self.rest


def decoder(sizes: Sizes, length: int) -> int:
    """Count a plain forward pass of the text decoder, without logits."""
    costs = _Costs(sizes)
    return sizes.layers * (length * costs.all + costs.per_key * length * (length + 1) // 2)


def bound(sizes: Sizes, cells: Iterable[Cell], first_slot: int, length: int) -> int:
    """Count what the logits at the last position take at least, for all cells.

    In the layer of its edit a cell computes only what the edit can change: after an edited key,
    later queries take one key out of their sums and put another in (counted as reading one), and
    their output projection and MLP follow; after an edited output, nothing but what comes after it
    at that position. In every layer above, all positions from the slot on are computed, over all
    keys they read. The last layer computes keys and values of these positions and the rest at the
    last one alone. A cell that cannot reach the last position costs nothing.

    Args:
        sizes: The model.
        cells: What is patched.
        first_slot: Where the first latent stands.
        length: Positions of the run.
    """
    costs = _Costs(sizes)
    return sum(_cell(sizes, costs, cell, first_slot + cell.slot, length) for cell in cells)


def _cell(sizes: Sizes, costs: _Costs, cell: Cell, place: int, length: int) -> int:
    last, after = sizes.layers - 1, length - 1 - place
    if not after:
        raise ValueError("the bound is counted for slots before the position that is read")
    spreads = cell.hook == "hook_resid_pre"
    if cell.layer == last and not spreads:
        return 0
    keys_read = sum(range(place + 1, length + 1))
    whole = (after + 1) * costs.all + costs.per_key * keys_read
    at_last = (after + 1) * costs.key_value + costs.query + costs.per_key * length + costs.rest
    if cell.layer == last:
        return costs.key_value + costs.per_key + costs.rest + costs.logits
    own = _own_layer(costs, cell.hook, place, after)
    return own + (last - 1 - cell.layer) * whole + at_last + costs.logits


def _own_layer(costs: _Costs, hook: str, place: int, after: int) -> int:
    """Count the layer of the edit, below the last one."""
    if hook == "hook_resid_pre":
        later = after * (costs.per_key + costs.rest)
        return costs.all + costs.per_key * (place + 1) + later
    if hook == "attn.hook_z":
        return costs.rest
    if hook in _MLP_ONLY:
        return costs.mlp
    if hook in _AFTER_LAYER:
        return 0
    raise ValueError(f"no bound is known for {hook!r}")
