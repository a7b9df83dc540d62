"""Attributions, against numerical derivatives; and their exact columns, against the sweep."""

import dataclasses

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.engine import Branch, compute, snapshot
from mindseye.errors import EditError, SampleError
from mindseye.readouts.outcomes import logit_difference, probability
from mindseye.reasoners import Edit
from tests.engine.random_twins import VARIED, in_double, recorded, serve, twins

pytestmark = pytest.mark.model

HOOKS = (
    "hook_embed",
    "hook_resid_pre",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
)
CELL = ["pair", "hook", "head", "layer", "slot", "outcome"]
OUTCOMES = {"logit difference": logit_difference, "probability": probability}
STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}
"""Weights of a derivative from four points, with an error of the fourth order."""

STEP = 2e-5
CLOSE = {"rtol": 1e-6, "atol": 1e-7}

every_model = pytest.mark.parametrize("model_type", VARIED)
each_way = pytest.mark.parametrize("direction", ["denoising", "noising"])


def full(row):
    hook = row["hook"]
    return hook if hook == "hook_embed" else f"blocks.{row['layer']}.{hook}"


@pytest.fixture
def smooth(monkeypatch):
    """Take norms in double precision too; the stock ones round to single, and so does a slope."""

    def norm(self, x):
        epsilon = getattr(self, "variance_epsilon", getattr(self, "eps", None))
        gain = self.weight + 1 if type(self).__name__.startswith("Gemma") else self.weight
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon) * gain

    for model_type in VARIED:
        for module in twins(model_type).clean.reasoner.model.modules():
            if type(module).__name__.endswith("RMSNorm"):
                monkeypatch.setattr(type(module), "forward", norm)

    def without_kept_keys(model_type):
        both = twins(model_type)
        cut = (dataclasses.replace(t, past_key_values=None) for t in (both.clean, both.reference))
        return dataclasses.replace(both, **dict(zip(("clean", "reference"), cut, strict=True)))

    return without_kept_keys


class Line:
    """The straight way from one run's activations to the other's."""

    def __init__(self, both, names, direction):
        source, target = both.clean, both.reference
        if direction == "noising":
            source, target = target, source
        self.both, self.slots = both, target.latent_positions
        there, self.own = (recorded(run, *names) for run in (source, target))
        self.change = {name: there[name] - self.own[name] for name in names}
        self.held = snapshot(target, int(self.slots[0]))

    def slopes(self, rows, along):
        """The outcome's derivative towards one slot's change, all slots having gone so far."""
        branches = [self.branch(row, along, STEP * n) for row in rows for n in STENCIL]
        logits = compute(self.held, branches).logits[:, 0].unflatten(0, (-1, len(STENCIL)))
        found = []
        for row, four in zip(rows, logits, strict=True):
            values = OUTCOMES[row["outcome"]](four, self.both.parting)
            found.append(float(values @ values.new_tensor(list(STENCIL.values()))) / STEP)
        return np.array(found)

    def branch(self, row, along, step):
        name, head = full(row), None if row["head"] < 0 else row["head"]
        change, own = (each[name][self.slots] for each in (self.change, self.own))
        parts = torch.full((len(self.slots),), float(along), dtype=own.dtype)
        parts[row["slot"]] += step
        value = own + torch.einsum("s,s...->s...", parts, change)
        return Branch([Edit(name, self.slots, value if head is None else value[:, head], head)])


def attributed(monkeypatch, both, **arguments):
    found = me.attribute(
        both.clean.reasoner,
        serve(monkeypatch, both),
        outcome=["logit_difference", "probability"],
        **arguments,
    )
    rows = found.rows.to_dict("records")
    return found, rows, list(dict.fromkeys(map(full, rows)))


@pytest.mark.parametrize(("heads", "direction"), [(False, "denoising"), (True, "noising")])
@every_model
def test_a_gradient_is_the_derivative_towards_the_other_run(
    monkeypatch, smooth, model_type, direction, heads
):
    both = smooth(model_type)
    found, rows, names = attributed(
        monkeypatch, both, hooks=HOOKS, direction=direction, heads=heads
    )
    wanted = Line(both, names, direction).slopes(rows, along=0)
    np.testing.assert_allclose(found.rows["attribution"], wanted, **CLOSE)
    assert found.rows["attribution"].abs().max() > 1e-2


@pytest.mark.parametrize(("heads", "direction"), [(False, "noising"), (True, "denoising")])
@every_model
def test_integrated_gradients_are_mean_derivatives_on_the_way(
    monkeypatch, smooth, model_type, direction, heads
):
    """At the midpoints of two steps; heads move alone, slots together."""
    both = smooth(model_type)
    hooks = ("attn.hook_k", "attn.hook_z") if heads else ("hook_embed", "attn.hook_v")
    found, rows, names = attributed(
        monkeypatch,
        both,
        hooks=hooks,
        direction=direction,
        heads=heads,
        method="integrated",
        steps=2,
    )
    line = Line(both, names, direction)
    wanted = np.mean([line.slopes(rows, along) for along in (1 / 4, 3 / 4)], axis=0)
    np.testing.assert_allclose(found.rows["attribution"], wanted, **CLOSE)


@pytest.mark.parametrize("hook", ["hook_resid_pre", "attn.hook_v"])
def test_integrated_gradients_add_up_to_the_joint_effect_as_steps_grow(hook):
    pairs = me.task("digits").pairs(1, seed=2)
    residuals = []
    for steps in (4, 16, 64):
        sums = me.attribute(
            in_double("mediator"), pairs, hooks=(hook,), method="integrated", steps=steps
        ).completeness
        np.testing.assert_allclose(sums["total"] - sums["joint"], sums["residual"], atol=1e-12)
        residuals.append(sums["residual"].abs().max())
    assert residuals[0] > 4 * residuals[1] > 16 * residuals[2]
    assert (sums["residual"].abs() < 1e-3 * sums["joint"].abs()).all()
    assert (sums["joint"].abs() > 0.1).all()


@pytest.mark.parametrize("heads", [False, True])
@each_way
def test_exact_is_the_sweeps_effect_for_the_largest_and_unknown_elsewhere(
    monkeypatch, direction, heads
):
    both = twins("qwen2_5_vl")
    arguments = {"hooks": HOOKS, "direction": direction, "heads": heads}
    found, *_ = attributed(monkeypatch, both, top=5, **arguments)
    swept = me.sweep(
        both.clean.reasoner,
        serve(monkeypatch, both),
        outcome=["logit_difference", "probability"],
        **arguments,
    ).rows
    rows = found.rows.merge(swept[[*CELL, "effect"]], on=CELL, validate="1:1")
    assert len(rows) == len(swept) == len(found.rows)
    known = rows[rows["exact"].notna()]
    np.testing.assert_allclose(known["exact"], known["effect"], atol=1e-9)
    first = rows[rows["outcome"] == "logit difference"]
    largest = first.loc[first["attribution"].abs().nlargest(5).index]
    for outcome in OUTCOMES:
        mine = known[known["outcome"] == outcome]
        places = [set(map(tuple, part[CELL[1:5]].to_numpy())) for part in (mine, largest)]
        assert len(mine) == 5
        assert places[0] == places[1]


def test_joint_is_the_exact_effect_of_all_slots_at_once(monkeypatch):
    both = twins("llama")
    found, *_ = attributed(monkeypatch, both, hooks=("attn.hook_v", "hook_resid_pre"), heads=True)
    line = Line(both, {full(row) for row in found.rows.to_dict("records")}, "denoising")
    for row in found.completeness.to_dict("records"):
        branches = [line.branch(row | {"slot": 0}, along, 0) for along in (0, 1)]
        logits = compute(line.held, branches).logits[:, 0]
        own, patched = OUTCOMES[row["outcome"]](logits, both.parting).tolist()
        assert row["joint"] == pytest.approx(patched - own, abs=1e-9)
        mine = found.rows[(found.rows[CELL[1:4]] == [row[k] for k in CELL[1:4]]).all(axis=1)]
        mine = mine[mine["outcome"] == row["outcome"]]
        assert row["total"] == pytest.approx(mine["attribution"].sum())


def test_a_top_beyond_all_cells_makes_every_one_exact(monkeypatch):
    both = twins("gpt2")
    found, *_ = attributed(monkeypatch, both, top=1000)
    assert len(found.rows) == 3 * 3 * 2
    assert found.rows["exact"].notna().all()


def test_the_ranking_is_sorted_by_mean_size_over_pairs(organism):
    pairs = me.task("digits").pairs(3, seed=2)
    found = me.attribute(
        organism("mediator"), pairs, top=4, outcome=["logit_difference", "log_probability"]
    )
    for name in ("logit_difference", "log_probability"):
        ranking = found.ranking(name)
        assert len(ranking) == 4 * 4
        assert ranking["size"].is_monotonic_decreasing
        rows = found.rows[found.rows["outcome"] == name.replace("_", " ")]
        assert ranking["n_exact"].sum() == rows["exact"].notna().sum() == 3 * 4
        best = ranking.iloc[0]
        mine = rows[(rows["layer"] == best["layer"]) & (rows["slot"] == best["slot"])]
        assert best["size"] == pytest.approx(mine["attribution"].abs().mean())
        assert best["attribution"] == pytest.approx(mine["attribution"].mean())
        assert best["exact"] == pytest.approx(mine["exact"].mean(), nan_ok=True)
    assert found.ranking().equals(found.ranking("logit_difference"))


@pytest.mark.parametrize("method", ["gradient", "integrated"])
def test_latents_that_nothing_reads_get_nothing(method):
    pairs = me.task("digits").pairs(2, seed=2)
    found = me.attribute(in_double("bypass"), pairs, hooks=HOOKS, method=method, steps=2)
    assert found.rows["attribution"].abs().max() <= 1e-9
    assert found.rows["exact"].abs().max() <= 1e-9


def test_gradients_are_wanted_where_they_are_switched_off_too(monkeypatch):
    both = twins("llama")
    with torch.no_grad():
        off, *_ = attributed(monkeypatch, both)
    on, *_ = attributed(monkeypatch, both)
    assert off.rows.equals(on.rows)
    assert all(weight.grad is None for weight in both.clean.reasoner.model.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"top": 0}, "top=0"),
        ({"steps": 0}, "steps=0"),
        ({"layers": [9]}, "layers 0 to 3"),
        ({"hooks": ("hook_nothing",)}, "hook_resid_pre"),
        ({"at": "nowhere"}, "No span 'nowhere'"),
        ({"at": "text"}, "at least one"),
    ],
)
def test_what_cannot_be_attributed_is_refused(organism, arguments, words):
    with pytest.raises(EditError, match=words):
        me.attribute(organism("mediator"), me.task("digits").pairs(1, seed=2), **arguments)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "guess"}, "'gradient' and 'integrated'"),
        ({"direction": "sideways"}, "'denoising' and 'noising'"),
    ],
)
def test_another_method_or_direction_is_refused(organism, arguments, words):
    with pytest.raises(EditError, match=words):
        me.attribute(organism("mediator"), me.task("digits").pairs(1, seed=2), **arguments)


def test_no_pair_is_no_empty_table(organism):
    with pytest.raises(SampleError, match="None of 0 pairs"):
        me.attribute(organism("mediator"), [])
