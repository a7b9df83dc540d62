"""LVR's heads, written from their description, to hold what is rebuilt from tensors against."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Gated", "Simple"]


class Simple(nn.Module):
    """The head of the type `simple`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_q = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, state: Tensor) -> Tensor:
        return self.mlp(self.ln_q(state))


class Gated(nn.Module):
    """The head of the type `glu`."""

    def __init__(self, width: int, inner: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)
        self.act = act or nn.SiLU()

    def forward(self, state: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_proj(state)) * self.up_proj(state))
