"""What latents look like, beside what other states of the same model look like."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mindseye.causal import Interval
from mindseye.errors import UnknownNameError
from mindseye.plugins import find
from mindseye.readouts.geometry.alignment import alignment_rows
from mindseye.readouts.geometry.between import between_rows, isotropic
from mindseye.readouts.geometry.degeneracy import (
    LIMITS,
    Degeneracy,
    Limits,
    Signs,
    State,
    degeneracy,
)
from mindseye.readouts.geometry.instances import oracle_rows, placebo_rows
from mindseye.readouts.geometry.populations import LATENTS, Population, Runs, check, populations
from mindseye.readouts.geometry.rows import Cloud, Transform, cosines
from mindseye.readouts.geometry.tabulating import COLUMNS, JOINED, MEASURES, Row
from mindseye.readouts.geometry.within import within_rows

__all__ = ["Similarity", "similarity"]

_DRAWN: tuple[Transform, ...] = ("raw", "centred")


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """Measures of latents and of what stands beside them.

    Attributes:
        rows: One per measurement, as `to_frame` says.
        cosines: Between every two runs, by population and transform (raw or centred).
        answers: Of every run; empty if not given.
    """

    rows: pd.DataFrame
    cosines: Mapping[tuple[str, str], Float[np.ndarray, "slots runs runs"]]
    answers: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return one row per population, slot, measure, transform and thing it is held against.

        Columns: `population slot measure transform against value low high null p_value n`. Slot -1
        is all slots joined: their vectors put one after the other. `low` and `high` bound 95 %
        intervals over groups, where there is one; `null` is the value if there were nothing;
        `p_value` comes from permutations and is not corrected for their number; `n` counts runs.
        """
        return self.rows.copy()

    @property
    def populations(self) -> list[str]:
        """What was measured: the latents, then the baselines."""
        return list(dict.fromkeys(self.rows["population"]))

    def table(self, measure: str, *, transform: str = "", against: str = "") -> pd.DataFrame:
        """Return one measure's values, a row per slot and a column per population.

        Args:
            measure: Its name.
            transform: What was done to the vectors before; empty where a measure has no choice.
            against: What they were held against; likewise.

        Raises:
            UnknownNameError: It was not measured so; the message lists how it was.
        """
        rows = self.rows[self.rows["measure"] == measure]
        held = rows[(rows["transform"] == transform) & (rows["against"] == against)]
        if held.empty:
            ways = rows[["transform", "against"]].drop_duplicates().to_numpy().tolist()
            there = ", ".join(f"({how!r}, {to!r})" for how, to in ways) or "nothing at all"
            raise UnknownNameError(
                f"No measure {measure!r} with transform={transform!r} and against={against!r} in "
                f"this result; of it there are (transform, against): {there}. Measures are: "
                f"{', '.join(MEASURES)}."
            )
        wide = held.pivot(index="slot", columns="population", values="value")
        return wide[[name for name in self.populations if name in wide]]

    def signs(self, *, slot: int = JOINED, population: str = LATENTS) -> Signs:
        """Return the numbers that `degeneracy` decides by.

        Args:
            slot: Which one; all joined if left out, since a single one may be empty.
            population: Of what.

        Raises:
            UnknownNameError: There is no such slot or population.
        """
        held = self.rows[self.rows["slot"] == slot]
        if population not in set(held["population"]):
            raise UnknownNameError(
                f"No slot {slot} of {population!r} in this result; there are slots "
                f"{sorted(set(self.rows['slot']))} of {', '.join(self.populations)}."
            )
        mine = held[held["population"] == population]
        raw = held[(held["measure"] == "inter-instance cosine") & (held["transform"] == "raw")]
        usual = raw[(raw["against"] == "") & (raw["population"] != population)]
        return Signs(
            cosine=_only(mine, "inter-instance cosine", "raw").mean,
            between=_only(mine, "share between instances").mean,
            ratio=_found(mine, "trS/trN", against="placebo"),
            rank=_found(mine, "retrieval rank", "centred", "placebo"),
            participation=_only(mine, "participation ratio", "centred").mean,
            placebo_participation=_only(
                mine, "placebo participation ratio", against="placebo"
            ).mean,
            baselines=dict(zip(usual["population"], usual["value"], strict=True)),
        )

    def degeneracy(
        self,
        *,
        slot: int = JOINED,
        population: str = LATENTS,
        pie: State | None = None,
        tie: State | None = None,
        nec: State | None = None,
        limits: Limits = LIMITS,
    ) -> Degeneracy:
        """Name what these numbers show; see the function `degeneracy`."""
        return degeneracy(
            self.signs(slot=slot, population=population), pie=pie, tie=tie, nec=nec, limits=limits
        )

    def heatmap(self, population: str = LATENTS, transform: str = "raw") -> Any:
        """Draw the cosines between runs, a panel per slot, as a plotly figure."""
        return find("figure", "similarity")(self, population, transform)

    def plot(self) -> Any:
        """Draw what collapses along the slots and what does not, as a plotly figure."""
        return find("figure", "collapse")(self)


def similarity(
    latents: Shaped[np.ndarray, "runs slots d_model"],
    *,
    groups: Sequence[Hashable] | None = None,
    answers: Sequence[str] | None = None,
    baselines: Mapping[str, Shaped[np.ndarray, "runs slots d_model"]] | None = None,
    placebo: Shaped[np.ndarray, "*placebos runs slots d_model"]
    | Mapping[str, Shaped[np.ndarray, "*_placebos runs slots d_model"]]
    | None = None,
    oracles: Shaped[np.ndarray, "runs slots d_model"] | None = None,
    nudged: Shaped[np.ndarray, "runs slots d_model"] | None = None,
    n_top: int = 3,
    n_permutations: int = 199,
    rng: np.random.Generator,
) -> Similarity:
    """Measure the geometry of latents, slot by slot and of all slots joined, beside baselines.

    Everything is computed in double precision from inner products between runs, so memory grows
    with runs squared and with d_model, never with d_model squared.

    Args:
        latents: Of every run on its own sample.
        groups: What each run belongs to, such as its image; all runs are independent if left out.
            Pairs within a group do not count as pairs of instances, and groups are resampled and
            permuted whole.
        answers: Of every run, to compare runs of the same answer with others.
        baselines: Other states of the same runs and layer by name, such as ordinary text, image
            tokens and dummy tokens; as many positions as there are slots (see `windows`).
        placebo: Latents of the same runs after changes that should change nothing; one set or
            several. By population, for placebos of baselines too.
        oracles: What the latents ought to be, such as helper-image embeddings, slot by slot.
        nudged: Latents of the same runs after a small push, with later slots free to react.
        n_top: How many principal components the transform `without top` takes out.
        n_permutations: Of every test.
        rng: Draws resamples, permutations and Gaussian clouds.

    Returns:
        The measures. One that a population does not have, such as the rank of constant vectors, is
        not a number.

    Raises:
        SampleError: Fewer than four runs, shapes that do not match, entries that are no finite
            numbers, vectors of zeros, groups or answers that are not one per run, one group only,
            a population whose name is taken or unknown, or a nudge that changed nothing.

    Source: each measure names its own.
    """
    found = populations(latents, baselines or {}, placebo)
    for name, states in (("oracles", oracles), ("nudged latents", nudged)):
        if states is not None:
            check(name, states, latents.shape)
    runs = Runs.of(len(latents), groups, answers, n_top, n_permutations, rng)
    clouds = {each.name: _clouds(each.states) for each in found}
    others = {each.name: Cloud.of(each.states.mean(axis=1, dtype=float)) for each in found[1:]}
    oracle = None if oracles is None else _clouds(oracles)
    noise = {
        cloud.n_dims: isotropic(len(latents), cloud.n_dims, rng)
        for cloud in (clouds[LATENTS][0], clouds[LATENTS][JOINED])
    }
    rows: list[Row] = []
    for each in found:
        measured = [
            *_cloud_rows(clouds[each.name], runs, noise),
            *within_rows(each, nudged if each.name == LATENTS else None, runs),
            *_aligned_rows(each, clouds[each.name], others, oracle, runs),
            *(oracle_rows(each, oracles, runs) if oracles is not None else ()),
            *(placebo_rows(each, runs) if each.placebos is not None else ()),
        ]
        rows += [{"population": each.name, "slot": slot} | row for slot, row in measured]
    frame = pd.DataFrame(rows).assign(n=len(latents))[list(COLUMNS)]
    return Similarity(frame, _drawn(clouds), tuple(answers or ()))


def _clouds(
    states: Shaped[np.ndarray, "runs slots d_model"],
) -> dict[int, Cloud]:
    """Return the cloud of every slot and, under `JOINED`, that of all."""
    single = [Cloud.of(states[:, k].astype(np.float64)) for k in range(states.shape[1])]
    return dict(enumerate(single)) | {JOINED: Cloud.joined(single)}


def _cloud_rows(
    clouds: Mapping[int, Cloud], runs: Runs, noise: Mapping[int, dict[str, float]]
) -> Iterator[tuple[int, Row]]:
    for slot, cloud in clouds.items():
        for row in between_rows(cloud, runs, noise[cloud.n_dims]):
            yield slot, row


def _aligned_rows(
    population: Population,
    clouds: Mapping[int, Cloud],
    others: Mapping[str, Cloud],
    oracle: Mapping[int, Cloud] | None,
    runs: Runs,
) -> Iterator[tuple[int, Row]]:
    """Align every slot with the next, with its oracle, and with the mean of other populations."""
    for slot, cloud in clouds.items():
        beside = {f"mean of {name}": each for name, each in others.items()}
        beside.pop(f"mean of {population.name}", None)
        if slot + 1 in clouds and slot != JOINED:
            beside["next slot"] = clouds[slot + 1]
        if oracle is not None:
            beside["oracle"] = oracle[slot]
        for against, each in beside.items():
            for row in alignment_rows(cloud.plain, each.plain, against, runs):
                yield slot, row


def _drawn(
    clouds: Mapping[str, Mapping[int, Cloud]],
) -> dict[tuple[str, str], Float[np.ndarray, "slots runs runs"]]:
    """Return what heatmaps show."""
    return {
        (name, how): np.stack(
            [cosines(each.transformed(how, 0)) for slot, each in held.items() if slot != JOINED]
        )
        for name, held in clouds.items()
        for how in _DRAWN
    }


def _found(
    rows: pd.DataFrame, measure: str, transform: str = "", against: str = ""
) -> Interval | None:
    """Return a measure with its interval; none if it was not measured."""
    held = rows[(rows["measure"] == measure) & (rows["transform"] == transform)]
    held = held[held["against"] == against]
    if held.empty:
        return None
    value, low, high = held[["value", "low", "high"]].to_numpy(dtype=float)[0]
    return Interval(float(value), float(low), float(high))


def _only(rows: pd.DataFrame, measure: str, transform: str = "", against: str = "") -> Interval:
    """Return a measure; not a number if it was not measured."""
    return _found(rows, measure, transform, against) or Interval(np.nan, np.nan, np.nan)
