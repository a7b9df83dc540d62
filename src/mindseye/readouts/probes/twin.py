"""The random twin: the same architecture on the same inputs, with weights that learned nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from mindseye.reasoners import Reasoner

__all__ = ["random_twin"]


def random_twin(reasoner: Reasoner, seed: int = 0) -> Reasoner:
    """Return a reasoner with the same configuration and newly drawn weights.

    Weights are drawn by the stock model's own initialisation. Extra modules of the protocol, such
    as an LVR head, are drawn anew where their layers know how (`reset_parameters`); an end vector,
    which is no module, stays.

    Args:
        reasoner: Whose twin; it is not changed.
        seed: Of the weights; the global generator is left as it was.
    """
    model = reasoner.model
    kept = next(model.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = type(model)._from_config(copy.deepcopy(model.config), dtype=kept.dtype)
        modules = {name: _redrawn(module) for name, module in reasoner.modules.items()}
    return replace(
        reasoner,
        name=f"random twin of {reasoner.name}",
        model=drawn.to(kept.device).eval(),
        modules=modules,
        report=None,
    )


def _redrawn(module: nn.Module | torch.Tensor) -> nn.Module | torch.Tensor:
    drawn = copy.deepcopy(module)
    for part in drawn.modules() if isinstance(drawn, nn.Module) else ():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return drawn
