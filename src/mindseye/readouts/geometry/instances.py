"""What is measured of single instances: whether a run is known by its oracle, or by its placebo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from mindseye.causal import Interval
from mindseye.readouts.geometry.chance import distinct
from mindseye.readouts.geometry.populations import Population, Runs, States
from mindseye.readouts.geometry.products import Products
from mindseye.readouts.geometry.retrieval import Retrieval, found
from mindseye.readouts.geometry.rows import reduced, transformed
from mindseye.readouts.geometry.scatter import Sets, compared, set_products
from mindseye.readouts.geometry.spectrum import spectrum
from mindseye.readouts.geometry.tabulating import JOINED, Row, mean_of, number, row, share_of

__all__ = ["oracle_rows", "placebo_rows"]


def oracle_rows(population: Population, oracles: States, runs: Runs) -> Iterator[tuple[int, Row]]:
    """Measure how near vectors are to their run's oracle; yields the slot with each row.

    The null of the cosine is what vectors have with other runs' oracles.

    Args:
        population: States of one kind.
        oracles: What they ought to be, in the same space.
        runs: What is known of them.
    """
    for how in ("raw", "centred"):
        parts = []
        for slot in range(oracles.shape[1]):
            mine = transformed(population.slot(slot), how)
            theirs = transformed(oracles[:, slot].astype(np.float64), how)
            parts.append(Products.of(mine, theirs))
        for slot, products in _with_joined(parts):
            every = products.cosines
            others = every[distinct(runs.groups) & np.isfinite(every)]
            null = float(others.mean()) if others.size else np.nan
            own = mean_of(np.diag(every), runs.groups, runs.rng)
            yield (
                slot,
                row("oracle cosine", own, transform=how, against="oracle", null=null),
            )
            if how == "centred":
                for each in _retrieval_rows([found(every, runs.groups)], "oracle", runs):
                    yield slot, each


def placebo_rows(population: Population, runs: Runs) -> Iterator[tuple[int, Row]]:
    """Measure whether images are told apart beyond placebos; yields the slot with each row.

    Args:
        population: States of one kind, with placebo runs.
        runs: What is known of them.
    """
    assert population.placebos is not None
    parts: list[Sets] = []
    changes: list[Float[np.ndarray, "placebos runs coordinates"]] = []
    for slot in range(population.states.shape[1]):
        sets = [population.slot(slot)]
        sets += [each[:, slot].astype(np.float64) for each in population.placebos]
        parts.append(set_products(sets))
        changes.append(np.stack([reduced(each - sets[0]) for each in sets[1:]]))
    joined = {key: Products.joined([part[key] for part in parts]) for key in parts[0]}
    for slot, sets, moved in zip(
        [*range(len(parts)), JOINED],
        [*parts, joined],
        [*changes, np.concatenate(changes, axis=2)],
        strict=True,
    ):
        held = compared(sets, runs.groups, n_permutations=runs.n_permutations, rng=runs.rng)
        yield slot, row("trS/trN", held.ratio, against="placebo", null=1.0, p_value=held.p_value)
        ratios = [number(lambda each=each: spectrum(each).participation_ratio) for each in moved]
        yield (
            slot,
            row("placebo participation ratio", float(np.mean(ratios)), against="placebo"),
        )
        queries = [found(sets[0, j].cosines.T, runs.groups) for j in range(1, 1 + len(moved))]
        for each in _retrieval_rows(queries, "placebo", runs):
            yield slot, each


def _retrieval_rows(held: Sequence[Retrieval], against: str, runs: Runs) -> Iterator[Row]:
    """Yield what was retrieved, on average over several sets of queries."""
    top_1, top_5, rank = (
        np.mean([getattr(each, name) for each in held], axis=0)
        for name in ("top_1", "top_5", "rank")
    )
    shares: tuple[tuple[str, Interval, float], ...] = (
        ("retrieval top 1", share_of(top_1, runs.groups), held[0].chance_1),
        ("retrieval top 5", share_of(top_5, runs.groups), held[0].chance_5),
        ("retrieval rank", _within(mean_of(rank, runs.groups, runs.rng), 0.0, 1.0), 0.5),
    )
    for name, value, chance in shares:
        yield row(name, value, transform="centred", against=against, null=chance)


def _within(held: Interval, low: float, high: float) -> Interval:
    """Return an interval cut to the values there can be."""
    return Interval(held.mean, max(held.low, low), min(held.high, high))


def _with_joined(parts: Sequence[Products]) -> Iterator[tuple[int, Products]]:
    """Yield every slot's products, then those of all slots joined."""
    yield from enumerate(parts)
    yield JOINED, Products.joined(parts)
