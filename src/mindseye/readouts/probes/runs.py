"""Probes of a reasoner's runs: latents beside what else could have been read."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from mindseye.errors import SampleError, UnknownNameError
from mindseye.plugins import find
from mindseye.readouts.geometry.populations import LATENTS
from mindseye.readouts.geometry.tabulating import JOINED
from mindseye.readouts.probes.kinds import check_kind
from mindseye.readouts.probes.single import Probe, probe
from mindseye.readouts.probes.states import FED, states_of, twin_runs
from mindseye.reasoners import Reasoner, Trace

__all__ = ["FORMS", "MEASURES", "Form", "ProbeBars", "probe_runs", "probe_states"]

Form = Literal["slot", "pooled", "concatenated"]
FORMS: tuple[Form, ...] = ("slot", "pooled", "concatenated")
"""Latents one by one, their mean, and all of them end to end."""

MEASURES = (
    "accuracy",
    "selectivity",
    "control",
    "shuffled",
    "majority",
    "p_value",
    "mdl_bits",
    "compression",
    "v_information",
)
"""Of every probe."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeBars:
    """Probes of latents and of what stands beside them.

    Attributes:
        probes: By layer, representation and slot; slot -1 is not a single one.
        baselines: Which representations are not latents of the reasoner itself.
    """

    probes: Mapping[tuple[int, str, int], Probe]
    baselines: tuple[str, ...]

    @property
    def layers(self) -> list[int]:
        """Which layers were probed; -1 is what the decoder was fed."""
        return list(dict.fromkeys(layer for layer, _, _ in self.probes))

    @property
    def representations(self) -> list[str]:
        """What was probed: latents, then baselines."""
        return list(dict.fromkeys(name for _, name, _ in self.probes))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, representation, slot and measure.

        Columns: `layer representation slot baseline measure value low high n`. Accuracy and
        V-information have 95 % intervals over groups. p-values are not corrected for their number.
        """
        return pd.DataFrame(list(self._rows()))

    def table(self, measure: str = "accuracy") -> pd.DataFrame:
        """Return one measure, a row per representation and slot and a column per layer.

        Raises:
            UnknownNameError: There is no such measure.
        """
        if measure not in MEASURES:
            raise UnknownNameError(
                f"No measure {measure!r} of probes; there are: {', '.join(MEASURES)}. Choose one."
            )
        rows = self.to_frame()
        rows = rows[rows["measure"] == measure]
        wide = rows.pivot(index=["representation", "slot"], columns="layer", values="value")
        keys = list(dict.fromkeys((name, slot) for _, name, slot in self.probes))
        return wide.loc[keys, self.layers]

    def plot(self) -> Any:
        """Draw accuracies beside their baselines, as a plotly figure."""
        return find("figure", "probes")(self)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for (layer, name, slot), found in self.probes.items():
            ends = {
                "accuracy": (found.low, found.high),
                "v_information": (found.v_low, found.v_high),
            }
            for measure in MEASURES:
                low, high = ends.get(measure, (np.nan, np.nan))
                yield {
                    "layer": layer,
                    "representation": name,
                    "slot": slot,
                    "baseline": name in self.baselines,
                    "measure": measure,
                    "value": getattr(found, measure),
                    "low": low,
                    "high": high,
                    "n": found.n,
                }


def probe_runs(
    traces: Sequence[Trace],
    targets: Sequence[Hashable] | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    types: Sequence[Hashable] | None = None,
    layers: Sequence[int] | None = None,
    per: Sequence[Form] = FORMS,
    baselines: bool = True,
    twin: Reasoner | Sequence[Trace] | None = None,
    kind: str = "logistic",
    n_permutations: int = 19,
    seed: int = 0,
) -> ProbeBars:
    """Probe the latents of runs, beside other states of the same runs at the same layer.

    At layer -1, what the decoder was fed, image and question are what they are before the decoder
    mixes them: the image's own vectors and the words of the question. There the last prefix token,
    the markers and the answer position are constants. In later layers a question that follows its
    image has read it.

    Args:
        traces: Runs that imagined, with equally many latents.
        targets: What to read; the samples' answers if left out.
        groups: What each run belongs to; its images if left out, so that runs on equal images never
            part.
        types: What kind of input each run is, for the control task, as in `probe`.
        layers: Blocks to read, -1 for what was fed; the fed vectors and the last block if left out.
        per: Whether to probe latents one by one (`slot`), their mean (`pooled`) and all of them end
            to end (`concatenated`).
        baselines: Whether to probe image, question, markers, the last prefix token and the answer
            position, as far as every run has them.
        twin: A control model whose latents are probed as well, such as `random_twin(reasoner)`, or
            its traces on the same samples. It costs a run per trace.
        kind: Of probe, as in `probe`.
        n_permutations: Of every probe's test.
        seed: Draws folds and shuffles, the same for all representations.

    Raises:
        SampleError: A run without latents, runs that differ in their number, a twin that makes too
            few, or what `probe` refuses.
        EditError: There is no such layer.
        UnknownNameError: There is no such kind or form.
    """
    check_kind(kind)
    if layers is None and traces:
        reasoner = traces[0].reasoner
        layers = (FED, len(reasoner.architecture.blocks(reasoner.model)) - 1)
    runs = twin_runs(twin, traces) if isinstance(twin, Reasoner) else list(twin or ())
    states = states_of(traces, layers or (FED,), baselines=baselines, twins=runs)
    return probe_states(
        states,
        [trace.sample.answer for trace in traces] if targets is None else targets,
        groups=[trace.sample.image_key or i for i, trace in enumerate(traces)]
        if groups is None
        else groups,
        types=types,
        per=per,
        kind=kind,
        n_permutations=n_permutations,
        seed=seed,
    )


def probe_states(
    states: Mapping[int, Mapping[str, Float[np.ndarray, "runs *dims"]]],
    targets: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    types: Sequence[Hashable] | None = None,
    per: Sequence[Form] = FORMS,
    kind: str = "logistic",
    n_permutations: int = 19,
    seed: int = 0,
) -> ProbeBars:
    """Probe arrays that were read from runs; `probe_runs` reads them for you.

    Args:
        states: Arrays by layer and name, such as `latents`. Those of three axes, runs x slots x
            d_model, are probed as `per` says, others as they are.
        targets: What to read.
        groups: What each run belongs to.
        types: What kind of input each run is.
        per: How arrays with slots are probed.
        kind: Of probe.
        n_permutations: Of every probe's test.
        seed: Draws folds and shuffles.

    Raises:
        SampleError: Nothing to probe, or what `probe` refuses; the message names it.
        UnknownNameError: There is no such kind or form.
    """
    unknown = [form for form in per if form not in FORMS]
    if unknown:
        raise UnknownNameError(
            f"No form {unknown[0]!r} of latents to probe; there are: {', '.join(FORMS)}. "
            "Choose some of these."
        )
    probes: dict[tuple[int, str, int], Probe] = {}
    for layer, named in states.items():
        for name, array in named.items():
            for called, slot, part in _forms(name, array, per):
                try:
                    found = probe(
                        part,
                        targets,
                        groups=groups,
                        types=types,
                        kind=kind,
                        n_permutations=n_permutations,
                        seed=seed,
                    )
                except SampleError as fault:
                    raise SampleError(f"{called}, layer {layer}: {fault}") from fault
                probes[layer, called, slot] = found
    if not probes:
        raise SampleError("There is nothing to probe: pass at least one array and one form.")
    own = (LATENTS, *(f"{LATENTS}, {form}" for form in FORMS))
    others = dict.fromkeys(name for _, name, _ in probes if name not in own)
    return ProbeBars(probes, tuple(others))


def _forms(
    name: str, array: Float[np.ndarray, "runs *dims"], per: Iterable[str]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield what is probed of an array: its name, its slot, and its vectors."""
    if array.ndim < 3:
        yield name, JOINED, array
        return
    for form in per:
        if form == "slot":
            for slot in range(array.shape[1]):
                yield name, slot, array[:, slot]
        elif form == "pooled":
            yield f"{name}, pooled", JOINED, array.mean(axis=1)
        else:
            yield f"{name}, concatenated", JOINED, array
