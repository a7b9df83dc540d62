"""What latents say, were they words: four lenses, each beside what shuffled latents say."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError, UnknownNameError
from mindseye.plugins import find
from mindseye.readouts.lenses.agreement import agreement, hits, target_ids
from mindseye.readouts.lenses.latentlens import Index, read_neighbours
from mindseye.readouts.lenses.logit import reading_of_latents, unembedded
from mindseye.readouts.lenses.patchscopes import Scope, patchscope
from mindseye.readouts.lenses.runs import one_each, traced
from mindseye.readouts.lenses.states import (
    LATENT,
    States,
    checked_layers,
    gather,
    n_layers,
    permuted,
)
from mindseye.readouts.lenses.tuned import TunedLens
from mindseye.readouts.lenses.vocabulary import Reading, read_vocabulary
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample

__all__ = ["Kind", "Lens", "lens"]

Kind = Literal["logit", "tuned", "latentlens", "patchscopes"]

_Look = Callable[[States, Float[Tensor, "rows d_model"] | None], Reading]


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """What a lens shows.

    Attributes:
        kind: Which lens.
        rows: One per run, slot, layer and rank, as `to_frame` says.
        shown: One per run, slot and layer: whether the run's target is among the top tokens; empty
            without targets.
        top: How many tokens.
        samples: Ids of the runs' samples.
        clusters: What each run belongs to.
        note: What stands for the latent itself in this model, and how it is read.
    """

    kind: Kind
    rows: pd.DataFrame
    shown: pd.DataFrame
    top: int
    samples: tuple[str, ...]
    clusters: tuple[Hashable, ...]
    note: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run, slot, layer and rank.

        Columns: `run sample slot layer rank token text score others permuted`. Layer -1 is the
        latent itself; others are outputs of blocks at its slot. `score` is a probability, or a
        cosine (`latentlens`). `others` is the mean score of the same token in other runs at the
        same slot, `permuted` its score in the same vector with entries in random order: a lens
        that says something of this run scores above both. `context` is the text around a neighbour
        (`latentlens`, whose `found_layer` says where it lies) or what was decoded (`patchscopes`).
        Tokens and texts come from the model and its data; escape them before they are shown.
        """
        return self.rows.copy()

    def agreement(self, *, by: Sequence[str] = ("layer",), seed: int = 0) -> pd.DataFrame:
        """Return how often the top tokens hold the target, beside both floors.

        Args:
            by: Any of `layer` and `slot`.
            seed: Draws the bootstrap.

        Returns:
            Columns `*by share low high others permuted excess excess_low excess_high n`. `excess`
            is the share less that of other runs' latents, with a 95 % interval over clusters. Slots
            of a run are one observation each but are resampled with their cluster.

        Raises:
            UnknownNameError: There were no targets, or `by` names another column.
        """
        if self.shown.empty or not by or not set(by) <= {"layer", "slot"}:
            raise UnknownNameError(
                f"agreement(by={tuple(by)}) was asked of a lens with "
                f"{'no' if self.shown.empty else 'known'} targets; it groups by layer, slot or "
                "both, and takes lens(..., targets=[...])."
            )
        return agreement(self.shown, self.clusters, tuple(by), np.random.default_rng(seed))

    def plot(self, run: int = 0) -> Any:
        """Draw the likeliest tokens of one run by layer and slot, as a plotly figure."""
        return find("figure", "lens")(self, run)


def lens(
    reasoner: Reasoner,
    given: Sequence[Sample | Trace],
    *,
    kind: Kind = "logit",
    layers: Sequence[int] | None = None,
    top: int = 10,
    floor: bool = True,
    targets: Sequence[str] | None = None,
    clusters: Sequence[Hashable] | None = None,
    tuned: TunedLens | None = None,
    index: Index | None = None,
    scope: Scope | None = None,
    seed: int = 0,
) -> Lens:
    """Read latents, and what blocks make of them at their slots, as words.

    A word is a description of a vector. Whether the model reads the same out of it, or anything, is
    for interventions to say.

    Args:
        reasoner: What runs the samples, and reads.
        given: Samples, or traces of this model.
        kind: `logit`, the model's own head; `tuned`, an affine map before it; `latentlens`, the
            nearest words in context; `patchscopes`, the model's continuation of another prompt.
        layers: Blocks whose outputs are read, and -1 for latents themselves. If left out, all,
            with `tuned` those that have a translator, with `patchscopes` latents alone.
        top: How many tokens.
        floor: Whether shuffled latents are read too; twice the cost.
        targets: A word per run that a lens might show, such as its answer.
        clusters: What each run belongs to, such as its image; each is its own if left out.
        tuned: From `fit_tuned_lens`.
        index: From `build_index`.
        scope: Where `patchscopes` puts vectors; the identity prompt if left out.
        seed: Draws the permutations.

    Returns:
        The readings. With one run only there are no other runs, and that floor is not a number.

    Raises:
        SampleError: Nothing was given, fewer than one token is asked for, or targets or clusters
            are not one per run.
        EditError: A run has no latents, a trace is of another model, or a layer does not exist.
        ModelError: A tuned lens or an index is of another model, or there is no tokenizer.
        UnknownNameError: A kind lacks what it needs.

    Source: each lens names its own; the floors are shuffled controls in the sense of Hewitt &
        Liang 2019, arXiv 1909.03368.
    """
    if top < 1:
        raise SampleError(f"lens got top={top}; expected at least one token.")
    traces = traced(reasoner, given)
    look = _looking(reasoner, kind, top, tuned, index, scope or Scope())
    for what, each in (("targets", targets), ("clusters", clusters)):
        if each is not None:
            one_each(what, each, len(traces))
    ids = None if targets is None else [target_ids(reasoner, word) for word in targets]
    generator = torch.Generator().manual_seed(seed)
    frames, shown = [], []
    for states in gather(reasoner, traces, _layers(reasoner, kind, layers, tuned)):
        if kind == "patchscopes" and states.layer == LATENT:
            states = replace(states, vectors=states.fed)
        shuffled = permuted(states.vectors, generator) if floor else None
        reading = look(states, shuffled)
        frames.append(_tidy(reasoner, reading, states, traces))
        if ids is not None:
            shown.append(hits(reading, states, ids, floor=floor))
    rows = pd.concat(frames, ignore_index=True)
    return Lens(
        kind=kind,
        rows=rows.sort_values(["run", "slot", "layer", "rank"], ignore_index=True),
        shown=pd.concat(shown, ignore_index=True) if shown else pd.DataFrame(),
        top=top,
        samples=tuple(trace.sample.id for trace in traces),
        clusters=tuple(range(len(traces)) if clusters is None else clusters),
        note=_note(reasoner, kind),
    )


def _layers(
    reasoner: Reasoner, kind: Kind, layers: Sequence[int] | None, tuned: TunedLens | None
) -> list[int]:
    if layers is not None:
        return checked_layers(reasoner, layers)
    if kind == "patchscopes":
        return [LATENT]
    if kind == "tuned" and tuned is not None:
        return sorted({LATENT, *tuned.layers, n_layers(reasoner) - 1})
    return list(range(LATENT, n_layers(reasoner)))


def _looking(
    reasoner: Reasoner,
    kind: Kind,
    top: int,
    tuned: TunedLens | None,
    index: Index | None,
    scope: Scope,
) -> _Look:
    """Return a lens as a function of states and of their permuted vectors.

    Raises:
        UnknownNameError: It lacks what it needs, or there is no such lens.
    """
    if kind == "logit":
        return lambda states, shuffled: _heard(reasoner, states, top, shuffled, None)
    if kind == "tuned" and tuned is not None:
        tuned.check(reasoner)
        return lambda states, shuffled: _heard(reasoner, states, top, shuffled, tuned)
    if kind == "latentlens" and index is not None:
        index.check(reasoner)
        return lambda states, shuffled: read_neighbours(reasoner, states, index, top, shuffled)
    if kind == "patchscopes":
        target = scope.run(reasoner)
        return lambda states, shuffled: read_vocabulary(
            states,
            lambda vectors, _: patchscope(reasoner, vectors, states.layer, scope, target),
            top,
            shuffled,
        )
    needs = {"tuned": "tuned=fit_tuned_lens(...)", "latentlens": "index=build_index(...)"}
    raise UnknownNameError(
        f"lens(kind={kind!r}) was asked for without {needs[kind]}. Pass it."
        if kind in needs
        else f"No lens {kind!r}; there are: logit, tuned, latentlens, patchscopes."
    )


def _heard(
    reasoner: Reasoner,
    states: States,
    top: int,
    shuffled: Float[Tensor, "rows d_model"] | None,
    tuned: TunedLens | None,
) -> Reading:
    """Read states by the model's own head, after a translator if there is one for their layer."""

    def read(
        vectors: Float[Tensor, "rows d_model"], at_slots: Tensor
    ) -> tuple[Float[Tensor, "rows vocab"], list[str]]:
        if tuned is not None:
            vectors = tuned.translate(vectors, states.layer)
        return unembedded(reasoner, vectors, normed=states.normed, at_slots=at_slots), []

    return read_vocabulary(states, read, top, shuffled)


def _tidy(
    reasoner: Reasoner, reading: Reading, states: States, traces: Sequence[Trace]
) -> pd.DataFrame:
    """Return one row per run, slot and rank of a layer."""
    n_rows, n_ranks = reading.ids.shape
    ids = reading.ids.ravel().tolist()
    known = reasoner.tokenizer is not None
    words = {index: reasoner.read([index]) if known else f"id {index}" for index in set(ids)}
    samples = np.array([trace.sample.id for trace in traces], object)
    return pd.DataFrame(
        {
            "run": states.runs.repeat(n_ranks),
            "sample": samples[states.runs].repeat(n_ranks),
            "slot": states.slots.repeat(n_ranks),
            "layer": states.layer,
            "rank": np.tile(np.arange(n_ranks), n_rows),
            "token": ids,
            "text": [words[index] for index in ids],
            "score": reading.scores.ravel(),
            "others": reading.others.ravel(),
            "permuted": reading.permuted.ravel(),
            **{name: values.ravel() for name, values in reading.more.items()},
        }
    )


def _note(reasoner: Reasoner, kind: Kind) -> str:
    if kind == "latentlens":
        return "the latent as the model produced it, whatever norm or map follows"
    if kind == "patchscopes":
        return "what the decoder was fed at the slot, after any map"
    return reading_of_latents(reasoner)
