"""Probes of runs: which states are read, and what stands beside the latents."""

from dataclasses import replace
from functools import cache

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import mindseye as me
from mindseye.errors import EditError, SampleError, UnknownNameError
from mindseye.readouts.probes import (
    BASELINES,
    FED,
    MEASURES,
    TWIN,
    ProbeBars,
    probe_runs,
    probe_states,
    random_twin,
    states_of,
)
from mindseye.report.figures.probes import draw_probes
from tests.readouts.probes.planting import planted

N = 60


@pytest.fixture(scope="module")
def traces(organism):
    reasoner = organism("bypass")
    runs = [reasoner.run(sample) for sample in me.task("digits").samples(N, seed=3)]
    return [trace for trace in runs if trace.emitted]


@cache
def bars(n_layers=1, **more):
    """Probes of slots of which only the second is written to."""
    features, labels = planted(60, d=12)
    rng = np.random.default_rng(1)
    slots = np.stack([rng.normal(size=features.shape), features], axis=1)
    states = {"latents": slots, "image": rng.normal(size=(60, 8))}
    return probe_states(dict.fromkeys(range(n_layers), states), labels, n_permutations=2, **more)


def test_slots_are_probed_one_by_one_averaged_and_together():
    found = bars().table()[0]
    assert found.index.tolist() == [
        ("latents", 0),
        ("latents", 1),
        ("latents, pooled", -1),
        ("latents, concatenated", -1),
        ("image", -1),
    ]
    assert found["latents", 1] > 0.9
    assert found["latents, concatenated", -1] > 0.9
    assert max(found["latents", 0], found["image", -1]) < 0.6


def test_the_table_has_one_row_per_representation_slot_and_measure():
    frame = bars(per=("pooled",)).to_frame()
    assert frame.columns.tolist() == [
        "layer", "representation", "slot", "baseline", "measure", "value", "low", "high", "n",
    ]  # fmt: skip
    assert len(frame) == 2 * len(MEASURES)
    assert frame[frame["baseline"]]["representation"].unique().tolist() == ["image"]
    accuracy = frame[frame["measure"] == "accuracy"]
    assert (accuracy["low"] <= accuracy["value"]).all()


def test_unknown_forms_measures_and_empty_hands_are_refused():
    with pytest.raises(UnknownNameError, match="No measure 'precision'"):
        bars().table("precision")
    with pytest.raises(SampleError, match="nothing to probe"):
        probe_states({}, ["a", "b"])


def test_a_form_that_there_is_not_is_refused(unchecked_types):
    with pytest.raises(UnknownNameError, match="No form 'slots'"):
        bars(per=("slots",))


def test_a_fault_names_the_array_and_its_layer():
    broken = np.full((60, 2, 3), np.nan)
    with pytest.raises(SampleError, match="latents, layer 4: probe got features that are no"):
        probe_states({4: {"latents": broken}}, planted(60)[1])


def test_the_figure_shows_every_probe_with_its_ends_and_its_control():
    found = bars()
    drawn = found.plot()  # importing the figure has registered it
    bar, circles = drawn.data
    assert isinstance(bar, go.Bar)
    assert list(bar.x) == [
        "latents, slot 0",
        "latents, slot 1",
        "latents, pooled",
        "latents, concatenated",
        "image",
    ]
    first = found.probes[0, "latents", 0]
    assert bar.y[0] == first.accuracy
    assert bar.error_y.array[0] == first.high - first.accuracy
    assert circles.y[0] == first.shuffled
    assert drawn.layout.shapes[0].y0 == first.majority
    assert "selectivity" in bar.hovertemplate


def test_many_layers_are_drawn_as_curves():
    one = bars(per=("pooled",))
    many = {
        (layer, name, slot): found
        for layer in range(6)
        for (_, name, slot), found in one.probes.items()
    }
    drawn = draw_probes(ProbeBars(many, ("image",)))
    assert [line.name for line in drawn.data] == ["latents, pooled", "image"]
    assert list(drawn.data[0].x) == list(range(6))
    slots = {
        (layer, "latents", slot): found for (layer, _, _), found in many.items() for slot in (0, 1)
    }
    assert [line.name for line in draw_probes(ProbeBars(slots, ())).data] == [
        "latents, slot 0",
        "latents, slot 1",
    ]


def test_names_are_escaped():
    found = bars(per=("pooled",))
    (key, value), *_ = found.probes.items()
    named = ProbeBars({(key[0], "<b>x</b>", key[2]): value}, ())
    assert draw_probes(named).data[0].x[0] == "&lt;b&gt;x&lt;/b&gt;"


@pytest.mark.model
def test_states_are_those_of_the_cache(traces):
    trace = traces[0]
    states = states_of(traces[:2], [FED, 1])
    assert set(states[1]) == {"latents", *BASELINES}
    held = trace.cache["blocks.1.hook_resid_post"][0]
    np.testing.assert_allclose(
        states[1]["latents"][0], held[trace.latent_positions].numpy(), rtol=1e-5, atol=1e-5
    )
    for name in ("image", "question"):
        mean = held[trace.spans[name]].mean(dim=0).numpy()
        np.testing.assert_allclose(states[1][name][0], mean, rtol=1e-4, atol=1e-5)
    start = int(trace.spans["start"][0])
    end = int(trace.spans["end"][0])
    np.testing.assert_allclose(
        states[1]["last prefix token"][0], held[start - 1].numpy(), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        states[1]["answer position"][0], held[end].numpy(), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(states[FED]["latents"][0], trace.fed_latents.numpy())


@pytest.mark.model
def test_ignored_latents_are_decodable_and_those_of_the_random_twin_are_not(traces, organism):
    """Organism B: the answer is written in the latents, though nothing reads them."""
    found = probe_runs(
        traces,
        layers=[FED],
        per=("pooled",),
        twin=random_twin(organism("bypass")),
        n_permutations=1,
    ).table()[FED]
    assert found["latents, pooled", -1] > 0.8
    assert found[f"{TWIN}, pooled", -1] < 0.4
    assert found["markers", -1] < 0.4  # fed alike in every run
    assert found["question", -1] < 0.4


@pytest.mark.model
def test_runs_on_one_image_never_part(traces):
    """Their images are the default groups."""
    twice = [trace for trace in traces[:30] for _ in range(2)]
    found = probe_runs(twice, layers=[FED], per=("pooled",), baselines=False, n_permutations=0)
    (only,) = found.probes.values()
    assert (only.n, only.n_groups) == (60, 30)


@pytest.mark.model
def test_layers_and_runs_that_cannot_be_read_are_refused(traces, organism):
    with pytest.raises(EditError, match="No layer 9 to probe"):
        states_of(traces[:2], [9])
    mute = organism("bypass").run(traces[0].sample, imagine=False)
    with pytest.raises(SampleError, match="run 1 has no latents"):
        states_of([traces[0], mute], [FED])
    brief = replace(organism("bypass"), protocol=replace(mute.reasoner.protocol, n_slots=2))
    with pytest.raises(SampleError, match="The twin made 2 latents"):
        probe_runs(traces[:6], twin=brief)


@pytest.mark.model
def test_a_twin_has_the_same_parts_and_other_weights(organism):
    reasoner = organism("bypass")
    before = torch.random.get_rng_state()
    twins = [random_twin(reasoner, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.random.get_rng_state())
    own, same, again, other = (dict(each.model.named_parameters()) for each in (reasoner, *twins))
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in same.items()}
    matrices = [name for name, weight in own.items() if weight.ndim > 1]
    assert all(torch.equal(same[name], again[name]) for name in own)
    assert not any(torch.equal(own[name], same[name]) for name in matrices)
    assert not any(torch.equal(other[name], same[name]) for name in matrices)
    assert twins[0].model is not reasoner.model
    assert twins[0].wiring == reasoner.wiring
