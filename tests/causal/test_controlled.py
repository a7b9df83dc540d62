"""Controlled effects in a mediation, against plain replays under the same pins."""

import pytest

from mindseye.causal import EFFECTS
from mindseye.causal.measuring import PINS
from mindseye.engine import find_arms, mediators_of
from mindseye.reasoners import Edit, Knockout
from mindseye.reasoners.spans import positions
from tests.causal.served import mediated
from tests.engine.random_twins import VARIED, differences, twins

pytestmark = pytest.mark.model

LEVELS = ("embedding", "kv", "span", "residual:1")
every_model = pytest.mark.parametrize("model_type", VARIED)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as held:
        yield held


@pytest.fixture(scope="module")
def found(patch):
    """One mediation of every model's pair."""
    made = {each: mediated(patch, twins(each), levels=LEVELS) for each in VARIED}
    return made.__getitem__


def plainly(both, level, vectors):
    """Both inputs' outcomes with the mediator at what the reference run holds when it is fed."""
    ours, slots = both.clean.reasoner, both.clean.latent_positions
    feeding = Edit("hook_embed", slots, vectors)
    edits = [feeding]
    if level != "embedding":
        where = positions(both.reference.labels, "segment") if level == "span" else slots
        hooks = [f"blocks.{i}.attn.hook_{which}" for i in range(3) for which in "kv"]
        hooks = ["blocks.1.hook_resid_pre"] if level == "residual:1" else hooks
        left = ours.replay(both.reference, [[feeding]], record=hooks).activations
        edits = [Edit(hook, where, left[hook][0, where]) for hook in hooks]
    runs = (both.reference, both.clean)
    return [differences(ours.replay(run, [edits]), both.parting).item() for run in runs]


@pytest.mark.parametrize("level", LEVELS)
@every_model
def test_both_inputs_under_a_pin_are_plain_replays(found, model_type, level):
    both, rows = twins(model_type), found(model_type).pinned
    for name, vectors in mediators_of(find_arms(PINS), both)[0].items():
        (row,) = rows[(rows["level"] == level) & (rows["pin"] == name)].to_dict("records")
        wanted = plainly(both, level, vectors)
        assert [row["y0"], row["y1"]] == pytest.approx(wanted, abs=1e-9)


@every_model
def test_the_cut_arm_is_a_replay_in_which_nothing_after_them_reads_the_slots(found, model_type):
    both, rows = twins(model_type), found(model_type).pinned
    (row,) = rows[rows["pin"] == "cut"].to_dict("records")
    assert row["level"] == LEVELS[-1]
    cut = [Knockout("post", "latents")]
    for key, run in (("y0", both.reference), ("y1", both.clean)):
        wanted = differences(run.reasoner.replay(run, knockouts=cut), both.parting).item()
        assert row[key] == pytest.approx(wanted, abs=1e-9)


@every_model
def test_the_total_effect_splits_in_four_under_every_pin(found, model_type):
    """VanderWeele's identity, with the natural effects of the same level."""
    rows = found(model_type).rows.set_index("level")
    pinned = found(model_type).pinned
    assert len(pinned) == 2 * len(LEVELS) + 1
    for row in pinned.to_dict("records"):
        e = rows.loc[row["level"]]
        assert row["cde"] + row["intref"] + e["int"] + e["pie"] == pytest.approx(e["te"], abs=1e-9)
        assert row["nec"] == pytest.approx(e["y11"] - row["y1"], abs=1e-12)


@every_model
def test_pinned_to_the_reference_latents_effects_are_natural_ones(patch, found, model_type):
    """What is lost is then the total indirect effect, and nothing interacts at the reference."""
    both = twins(model_type)
    own = mediated(
        patch, both, levels=LEVELS, pins={"reference": lambda both: both.reference.fed_latents}
    )
    pinned = own.pinned[own.pinned["pin"] == "reference"].set_index("level")
    rows = own.rows.set_index("level")
    for level in LEVELS:
        assert pinned.loc[level, "nec"] == pytest.approx(rows.loc[level, "tie"], abs=1e-9)
        assert pinned.loc[level, "cde"] == pytest.approx(rows.loc[level, "pde"], abs=1e-9)
        assert pinned.loc[level, "intref"] == pytest.approx(0, abs=1e-9)
    assert rows[list(EFFECTS)].abs().min().min() > 1e-6  # none of them is nothing by itself


def test_every_pin_has_its_quantities_in_the_frame(found):
    frame = found("llama").controlled
    keys = ["level", "pin", "outcome", "quantity"]
    assert not frame.duplicated(keys).any()
    assert set(frame["quantity"]) == {"cde", "intref", "nec"}
    assert set(frame["pin"]) == {"zero", "noise", "cut"}
    assert len(frame) == 3 * (2 * len(LEVELS) + 1)


def test_the_least_of_what_pins_changed_is_the_guard(patch, found):
    both = twins("llama")
    guard = found("llama").guards["pins_fired_min"]
    assert guard > 1e-2
    still = {"zero": "zero", "still": lambda both: both.reference.fed_latents}
    assert mediated(patch, both, levels=("kv",), pins=still).guards["pins_fired_min"] <= 1e-9
