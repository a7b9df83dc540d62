"""LatentLens: the words in context whose states lie nearest to a vector.

The published package is not used: it loads its indices by unpickling, which runs whatever code is
in them, and asks for torchvision. This is the published method on an index of your own texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mindseye.errors import EditError, ModelError, SampleError
from mindseye.readouts.lenses.states import LATENT, States, n_layers
from mindseye.readouts.lenses.stored import read_folder, write_folder, wrong
from mindseye.readouts.lenses.vocabulary import Reading
from mindseye.reasoners import Reasoner

__all__ = ["Found", "Index", "build_index", "read_neighbours"]

_KIND = "latentlens_index"
_ENTRIES = 16384
"""Entries that are compared at once."""


class Found(NamedTuple):
    """Nearest entries, best first.

    Attributes:
        cosines: With the query.
        layers: In which layer of the index each lies.
        entries: Which entry it is.
    """

    cosines: Float[Tensor, "queries top"]
    layers: Int[Tensor, "queries top"]
    entries: Int[Tensor, "queries top"]


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """States of tokens of ordinary texts, by layer.

    Attributes:
        model: Whose states.
        layers: A block stands for its output, and one more than the last block for the post-norm
            states, which is where latents of most families lie; -1 for the embeddings.
        states: Of length one, so that inner products are cosines.
        tokens: The token of every entry.
        sources: Which text it stands in.
        places: Its place there, in tokens.
        texts: The texts, as token ids.
    """

    model: str
    layers: tuple[int, ...]
    states: Float[Tensor, "layers entries d_model"]
    tokens: tuple[int, ...]
    sources: tuple[int, ...]
    places: tuple[int, ...]
    texts: tuple[tuple[int, ...], ...]

    def search(self, queries: Float[Tensor, "queries d_model"], top: int = 10) -> Found:
        """Find the nearest entries of all layers by cosine, exactly; memory grows with a chunk.

        Args:
            queries: Vectors of the same model.
            top: How many.
        """
        length = min(top, self.states.shape[0] * self.states.shape[1])
        wanted = normalize(queries.to(torch.promote_types(queries.dtype, torch.float32)), dim=-1)
        best = wanted.new_full((len(queries), 0), 0.0)
        layers = torch.zeros(best.shape, dtype=torch.long, device=best.device)
        entries = layers
        for i, layer in enumerate(self.layers):
            for begin in range(0, self.states.shape[1], _ENTRIES):
                chunk = self.states[i, begin : begin + _ENTRIES].to(wanted)
                cosines = wanted @ chunk.T
                here = torch.arange(len(chunk), device=best.device) + begin
                best = torch.cat([best, cosines], dim=1)
                layers = torch.cat([layers, torch.full_like(cosines, layer).long()], dim=1)
                entries = torch.cat([entries, here.expand(len(cosines), -1)], dim=1)
                best, order = best.topk(min(length, best.shape[1]), dim=1)
                layers, entries = layers.gather(1, order), entries.gather(1, order)
        return Found(best, layers, entries)

    def vectors(self, found: Found) -> Float[Tensor, "queries top d_model"]:
        """Return the states that a search found."""
        rows = torch.searchsorted(torch.tensor(self.layers), found.layers.cpu())
        return self.states[rows, found.entries.cpu()].to(found.cosines)

    def context(self, reasoner: Reasoner, entry: int, reach: int = 8) -> str:
        """Return an entry's token, between brackets, with the tokens around it."""
        ids, place = self.texts[self.sources[entry]], self.places[entry]
        before = reasoner.read(ids[max(place - reach, 0) : place])
        after = reasoner.read(ids[place + 1 : place + 1 + reach])
        return f"{before}⟦{reasoner.read([ids[place]])}⟧{after}"

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, as safetensors and JSON.

        Raises:
            OutputError: The folder cannot be written.
        """
        facts = {
            name: list(getattr(self, name))
            for name in ("layers", "tokens", "sources", "places", "texts")
        }
        write_folder(Path(folder), _KIND, {"states": self.states}, {"model": self.model, **facts})

    @classmethod
    def load(cls, folder: str | Path) -> Index:
        """Read what `save` wrote.

        Raises:
            ModelError: The folder holds something else.
        """
        lists = ("layers", "tokens", "sources", "places", "texts")
        held, said = read_folder(
            Path(folder), _KIND, {"states": 3}, {"model": str, **dict.fromkeys(lists, list)}
        )
        states = held["states"]
        entries = [said["tokens"], said["sources"], said["places"]]
        sizes = [len(said["layers"]), *map(len, entries)]
        if sizes != [states.shape[0], *[states.shape[1]] * 3]:
            raise wrong(Path(folder), _KIND, f"states {tuple(states.shape)} beside {sizes}")
        ids = (*entries, *said["texts"])
        if not _whole(said["layers"], LATENT) or not all(_whole(each, 0) for each in ids):
            raise wrong(Path(folder), _KIND, "ids, places and layers are lists of whole numbers")
        lengths = [len(text) for text in said["texts"]]
        if not all(
            0 <= source < len(lengths) and 0 <= place < lengths[source]
            for source, place in zip(said["sources"], said["places"], strict=True)
        ):
            raise wrong(Path(folder), _KIND, "an entry stands outside its text")
        if said["layers"] != sorted(set(said["layers"])):
            raise wrong(Path(folder), _KIND, "layers do not rise")
        return cls(
            model=said["model"],
            layers=tuple(said["layers"]),
            states=states,
            tokens=tuple(said["tokens"]),
            sources=tuple(said["sources"]),
            places=tuple(said["places"]),
            texts=tuple(map(tuple, said["texts"])),
        )

    def check(self, reasoner: Reasoner) -> None:
        """Refuse an index of a model of another shape.

        Raises:
            ModelError: The width differs, or a token lies beyond the vocabulary.
        """
        n_tokens, width = reasoner.model.get_output_embeddings().weight.shape
        known = max(max(self.tokens), *(max(text) for text in self.texts)) < n_tokens
        if self.states.shape[-1] != width or not known:
            raise ModelError(
                f"An index of {self.model!r}, {self.states.shape[-1]} wide, was given to "
                f"{reasoner.name!r}, which is {width} wide and knows {n_tokens} tokens. Build one "
                "with this model."
            )


@torch.no_grad()
def build_index(
    reasoner: Reasoner,
    texts: Sequence[str],
    layers: Sequence[int] | None = None,
    *,
    skip: int = 2,
    per_token: int = 50,
    longest: int = 512,
    dtype: torch.dtype = torch.float32,
) -> Index:
    """Collect the states of tokens of your texts, one forward pass per text.

    An entry's state depends on what stands before it, so equal beginnings are kept once.

    Args:
        reasoner: Whose states; it reads the texts as they are, without a chat template.
        texts: In the language and of the kind that latents might speak of.
        layers: See `Index`; if left out the outputs of blocks 0, 1, 3, 7 and every eighth further
            on, of the last but one, and the post-norm states.
        skip: Tokens left out at the beginning of each text, where attention sinks are.
        per_token: Most entries of one token.
        longest: Tokens read of a text.
        dtype: Of the stored states; float16 halves a large index.

    Raises:
        SampleError: Nothing is left to be stored.
        EditError: The model lacks a layer.
        ModelError: The reasoner has no tokenizer.

    Source: LatentLens, 2026, arXiv 2602.00462, on layers 1, 2, 4, 8, 16, 24, 26 and 27 of 28 as
        transformers counts them, from 1; the post-norm states are our addition.
    """
    reasoner.read([])  # speaks up if there is no tokenizer
    wanted = _layers(reasoner, layers)
    hooks = [_hook(layer, n_layers(reasoner)) for layer in wanted]
    seen: set[tuple[int, ...]] = set()
    counts: Counter[int] = Counter()
    held: list[Tensor] = []
    kept: list[tuple[int, ...]] = []
    entries: list[tuple[int, int, int]] = []
    for text in texts:
        ids = tuple(reasoner.tokenizer(text)["input_ids"][:longest])
        places = []
        for place in range(skip, len(ids)):
            if ids[: place + 1] in seen or counts[ids[place]] >= per_token:
                continue
            seen.add(ids[: place + 1])
            counts[ids[place]] += 1
            places.append(place)
        if not places:
            continue
        given = torch.tensor([ids])
        prepared = {"input_ids": given, "attention_mask": torch.ones_like(given)}
        run = reasoner.run(prepared, max_new_tokens=1, imagine=False)
        found = reasoner.replay(run, record=hooks).activations
        states = torch.stack([found[hook][0, places].float().cpu() for hook in hooks])
        held.append(normalize(states, dim=-1).to(dtype))
        entries += [(ids[place], len(kept), place) for place in places]
        kept.append(ids)
    if not entries:
        raise SampleError(
            f"build_index got {len(texts)} texts, of which no token is left after the first {skip} "
            "of each. Pass longer texts, or a smaller skip."
        )
    tokens, sources, places = zip(*entries, strict=True)
    states = torch.cat(held, dim=1)
    return Index(reasoner.name, tuple(wanted), states, tokens, sources, places, tuple(kept))


@torch.no_grad()
def read_neighbours(
    reasoner: Reasoner,
    states: States,
    index: Index,
    top: int,
    shuffled: Float[Tensor, "rows d_model"] | None,
) -> Reading:
    """Show the nearest entries of every row beside its two floors.

    Args:
        reasoner: Reads tokens as text.
        states: What is looked up.
        index: Where.
        top: How many entries.
        shuffled: The rows' vectors with permuted entries; without them there are no floors.
    """
    found = index.search(states.vectors, top)
    tokens = np.array(index.tokens)
    nothing = np.full(tuple(found.cosines.shape), np.nan)
    others, cosines, own = nothing, nothing, np.full(nothing.shape, -1)
    if shuffled is not None:
        near = index.vectors(found)
        others = _others(states, near)
        unit = normalize(shuffled.to(near), dim=-1)
        cosines = torch.einsum("rkd,rd->rk", near, unit).double().numpy()
        own = tokens[index.search(shuffled, top).entries.numpy()]
    context = [[index.context(reasoner, e) for e in row] for row in found.entries.tolist()]
    return Reading(
        ids=tokens[found.entries.numpy()],
        scores=found.cosines.double().numpy(),
        others=others,
        permuted=cosines,
        permuted_ids=own,
        more={"context": np.array(context, object), "found_layer": found.layers.numpy()},
    )


def _others(
    states: States, near: Float[Tensor, "rows top d_model"]
) -> Float[np.ndarray, "rows top"]:
    """Return the mean cosine of other runs' vectors, at the same slot, with the same entries."""
    unit = normalize(states.vectors.to(near), dim=-1)
    means = torch.full_like(unit, torch.nan)
    for slot in np.unique(states.slots).tolist():
        mine = torch.from_numpy(states.slots == slot)
        n = int(mine.sum())
        if n > 1:
            means[mine] = (unit[mine].sum(dim=0) - unit[mine]) / (n - 1)
    return torch.einsum("rkd,rd->rk", near, means).double().numpy()


def _layers(reasoner: Reasoner, layers: Sequence[int] | None) -> list[int]:
    n = n_layers(reasoner)
    if layers is None:
        blocks = {0, 1, 3, *range(7, n, 8), n - 2}
        return [*sorted(layer for layer in blocks if 0 <= layer < n - 1), n]
    wanted = sorted(set(layers))
    if not wanted or wanted[0] < LATENT or wanted[-1] > n:
        raise EditError(
            f"build_index got layers {list(layers)}; this model has blocks 0 to {n - 1}, its "
            f"post-norm states are layer {n} and its embeddings layer {LATENT}."
        )
    return wanted


def _hook(layer: int, n: int) -> str:
    if layer == LATENT:
        return "hook_embed"
    return "ln_final.hook_normalized" if layer == n else f"blocks.{layer}.hook_resid_post"


def _whole(values: Any, least: int) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(type(value) is int and value >= least for value in values)
    )
