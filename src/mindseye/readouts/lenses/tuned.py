"""The tuned lens: one affine map per block, fitted so that the head reads its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import ModelError, SampleError
from mindseye.readouts.lenses.logit import unembedded
from mindseye.readouts.lenses.runs import traced
from mindseye.readouts.lenses.states import checked_layers, n_layers
from mindseye.readouts.lenses.stored import read_folder, write_folder, wrong
from mindseye.reasoners import Reasoner, Trace
from mindseye.reasoners.spans import SPANS
from mindseye.samples import Sample

__all__ = ["TunedLens", "fit_tuned_lens"]

_KIND = "tuned_lens"
_TEXT = ("system", "question", "header", "text", "answer")
_ROWS = 128
"""Positions whose logits are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class TunedLens:
    """Translators, by block: `h + weight h + bias` goes through the final norm and the head.

    Attributes:
        model: What it was fitted on.
        layers: Blocks that have a translator. The last one needs none: its logit lens is exact.
        weight: The part beside the identity.
        bias: What is added.
        fit: A row per layer: `layer logit tuned n_fit n_held_out`, with mean KL(model || lens) in
            nats on runs that no translator saw.
    """

    model: str
    layers: tuple[int, ...]
    weight: Float[Tensor, "layers d_model d_model"]
    bias: Float[Tensor, "layers d_model"]
    fit: pd.DataFrame

    def translate(
        self, vectors: Float[Tensor, "rows d_model"], layer: int
    ) -> Float[Tensor, "rows d_model"]:
        """Return states of a block as its last block would have them; others as they are."""
        if layer not in self.layers:
            return vectors
        i = self.layers.index(layer)
        weight, bias = self.weight[i].to(vectors), self.bias[i].to(vectors)
        return vectors + vectors @ weight.T + bias

    def save(self, folder: str | Path) -> None:
        """Write the lens into a folder, as safetensors and JSON.

        Raises:
            OutputError: The folder cannot be written.
        """
        write_folder(
            Path(folder),
            _KIND,
            {"weight": self.weight, "bias": self.bias},
            {
                "model": self.model,
                "layers": list(self.layers),
                "fit": self.fit.to_dict(orient="records"),
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> TunedLens:
        """Read what `save` wrote.

        Raises:
            ModelError: The folder holds something else.
        """
        held, said = read_folder(
            Path(folder),
            _KIND,
            {"weight": 3, "bias": 2},
            {"model": str, "layers": list, "fit": list},
        )
        weight, bias, layers = held["weight"], held["bias"], said["layers"]
        n, width = bias.shape
        if weight.shape != (n, width, width) or len(layers) != n:
            raise wrong(Path(folder), _KIND, f"shapes {tuple(weight.shape)} and {(n, width)}")
        if not all(type(layer) is int for layer in layers):
            raise wrong(Path(folder), _KIND, "layers are no numbers")
        return cls(said["model"], tuple(layers), weight, bias, pd.DataFrame(said["fit"]))

    def check(self, reasoner: Reasoner) -> None:
        """Refuse a lens of a model of another shape.

        Raises:
            ModelError: Width or layers differ.
        """
        width = reasoner.model.get_output_embeddings().weight.shape[-1]
        if self.bias.shape[-1] != width or max(self.layers) >= n_layers(reasoner):
            raise ModelError(
                f"A tuned lens of {self.model!r}, {self.bias.shape[-1]} wide and with layers up to "
                f"{max(self.layers)}, was given to {reasoner.name!r}, which is {width} wide and "
                f"has {n_layers(reasoner)} layers. Fit one on this model."
            )


def fit_tuned_lens(
    reasoner: Reasoner,
    given: Sequence[Sample | Trace],
    *,
    layers: Sequence[int] | None = None,
    held_out: float = 0.25,
    steps: int = 400,
    batch: int = 128,
    rate: float = 1e-3,
    ridge: float = 1e-4,
    generator: torch.Generator,
) -> TunedLens:
    """Fit a translator per block on the ordinary text of some runs.

    Images, markers and latents are left out, so that nothing is fitted to what is to be read. Each
    translator starts as the identity, where it equals the logit lens, and minimises
    KL(model || lens) with Adam, its rate falling to zero. Whole runs are held out; none of them
    decides when to stop.

    Args:
        reasoner: Whose states are translated.
        given: Samples to run, or traces; at least two.
        layers: Blocks; all but the last if left out.
        held_out: Share of the runs that measures the fit.
        steps: Batches per block.
        batch: Positions per batch.
        rate: Adam's, at the beginning.
        ridge: Weight of the translator's sum of squares, the identity left out. With fewer text
            positions than the model is wide, this is what holds it back.
        generator: Draws which runs are held out, and the batches.

    Returns:
        The lens; read its `fit` first, since little text can make it worse than the logit lens.

    Raises:
        SampleError: Fewer than two runs, or a share that leaves no run on one side.
        EditError: The model lacks a layer.

    Source: Belrose et al. 2023, arXiv 2303.08112; with Adam instead of SGD and a ridge penalty.
    """
    traces = traced(reasoner, given, latents=False)
    n_held = round(held_out * len(traces))
    if not 0 < n_held < len(traces):
        raise SampleError(
            f"fit_tuned_lens got {len(traces)} runs and held_out={held_out}, which holds out "
            f"{n_held}; expected at least one run to fit and one to measure on. Pass more runs."
        )
    every = range(n_layers(reasoner) - 1) if layers is None else layers
    wanted = checked_layers(reasoner, list(every), least=0)
    order = torch.randperm(len(traces), generator=generator).tolist()
    held = _text_states(reasoner, [traces[i] for i in order[:n_held]], wanted)
    seen = _text_states(reasoner, [traces[i] for i in order[n_held:]], wanted)
    found, rows = [], []
    for layer in wanted:
        weight, bias = _fit(reasoner, seen, layer, steps, batch, rate, ridge, generator)
        found.append((weight, bias))
        none = torch.zeros_like(weight), torch.zeros_like(bias)
        rows.append(
            {
                "layer": layer,
                "logit": _divergence(reasoner, held, layer, *none),
                "tuned": _divergence(reasoner, held, layer, weight, bias),
                "n_fit": len(seen[0]),
                "n_held_out": len(held[0]),
            }
        )
    weights, biases = (torch.stack(side) for side in zip(*found, strict=True))
    return TunedLens(reasoner.name, tuple(wanted), weights, biases, pd.DataFrame(rows))


_Text = tuple[Float[Tensor, "rows d_model"], dict[int, Float[Tensor, "rows d_model"]]]
"""Post-norm states of text positions, and the same positions' states by block."""


def _text_states(reasoner: Reasoner, traces: Sequence[Trace], layers: Sequence[int]) -> _Text:
    """Collect the states of ordinary text, in single precision or better."""
    kinds = torch.tensor([SPANS.index(span) for span in _TEXT])
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    last, inner = [], [[] for _ in layers]
    for trace in traces:
        here = torch.isin(trace.labels, kinds.to(trace.labels))
        replay = reasoner.replay(trace, record=hooks)
        last.append(_exact(replay.states[0][here]))
        for held, hook in zip(inner, hooks, strict=True):
            held.append(_exact(replay.activations[hook][0][here]))
    return torch.cat(last), {
        layer: torch.cat(held) for layer, held in zip(layers, inner, strict=True)
    }


def _exact(states: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _fit(
    reasoner: Reasoner,
    text: _Text,
    layer: int,
    steps: int,
    batch: int,
    rate: float,
    ridge: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "d_model d_model"], Float[Tensor, " d_model"]]:
    """Fit one translator."""
    last, states = text[0], text[1][layer]
    width = states.shape[-1]
    weight = states.new_zeros(width, width).requires_grad_()
    bias = states.new_zeros(width).requires_grad_()
    adam = torch.optim.Adam([weight, bias], lr=rate)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        rows = torch.randint(len(states), (min(batch, len(states)),), generator=generator)
        rows = rows.to(states.device)
        with torch.enable_grad():
            divergence = _kl(reasoner, last[rows], states[rows], weight, bias).mean()
            loss = divergence + ridge * (weight.square().sum() + bias.square().sum())
            # Not loss.backward(): the model's own weights would gather gradients as well.
            weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
        adam.step()
        fall.step()
    return weight.detach(), bias.detach()


@torch.no_grad()
def _divergence(reasoner: Reasoner, text: _Text, layer: int, weight: Tensor, bias: Tensor) -> float:
    """Return the mean KL(model || lens) over positions, in nats."""
    last, states = text[0], text[1][layer]
    parts = [
        _kl(reasoner, last[i : i + _ROWS], states[i : i + _ROWS], weight, bias)
        for i in range(0, len(states), _ROWS)
    ]
    return float(torch.cat(parts).mean())


def _kl(
    reasoner: Reasoner,
    last: Float[Tensor, "rows d_model"],
    states: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "d_model d_model"],
    bias: Float[Tensor, " d_model"],
) -> Float[Tensor, " rows"]:
    """Return KL(model || lens) of every position, in nats."""
    nowhere = torch.zeros(len(states), dtype=torch.bool, device=states.device)
    with torch.no_grad():
        own = unembedded(reasoner, last, normed=True, at_slots=nowhere).log_softmax(dim=-1)
    translated = states + states @ weight.T + bias
    lens = unembedded(reasoner, translated, normed=False, at_slots=nowhere).log_softmax(dim=-1)
    return (own.exp() * (own - lens.to(own))).sum(dim=-1)
