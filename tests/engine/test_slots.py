"""Slots one by one, against each other and against plain replays."""

import pytest
import torch

import mindseye as me
from mindseye.engine import slot_effects
from mindseye.errors import EditError
from mindseye.reasoners import Edit
from tests.engine.random_twins import VARIED, differences, in_double, serve, twins

pytestmark = pytest.mark.model

every_model = pytest.mark.parametrize("model_type", VARIED)
every_level = pytest.mark.parametrize("level", ["embedding", "residual:1", "kv"])


def found(model_type, level, monkeypatch):
    both = twins(model_type)
    rows = slot_effects(both.clean.reasoner, serve(monkeypatch, both), level=level)
    return rows.set_index(["way", "slot"])["effect"]


@every_level
@every_model
def test_shapley_shares_sum_to_the_joint_effect(model_type, level, monkeypatch):
    effects = found(model_type, level, monkeypatch)
    assert effects["shapley"].sum() == pytest.approx(effects["joint", -1], abs=1e-9)


def test_single_slots_do_not_sum_to_the_joint_effect(monkeypatch):
    """The twin of the test before: sharing out is needed."""
    effects = found("llama", "kv", monkeypatch)
    assert abs(effects["frozen"].sum() - effects["joint", -1]) > 1e-3


@every_model
def test_forcing_no_slot_changes_nothing_and_forcing_all_is_the_joint_swap(model_type, monkeypatch):
    effects = found(model_type, "embedding", monkeypatch)
    assert effects["prefix", 0] == 0
    assert effects["prefix", 3] == pytest.approx(effects["joint", -1], abs=1e-9)


@every_model
def test_the_last_slot_has_nothing_after_it_to_make_again(model_type, monkeypatch):
    effects = found(model_type, "embedding", monkeypatch)
    assert effects["rerolled", 2] == pytest.approx(effects["frozen", 2], abs=1e-9)


def test_a_first_slot_that_later_ones_react_to_has_another_effect(monkeypatch):
    effects = found("llama", "embedding", monkeypatch)
    assert abs(effects["rerolled", 0] - effects["frozen", 0]) > 1e-6
    assert effects["rerolled", 0] == pytest.approx(effects["prefix", 1], abs=1e-9)


@every_model
def test_a_frozen_slot_is_one_replayed_edit(model_type, monkeypatch):
    both = twins(model_type)
    where, fed = both.reference.latent_positions, both.clean.fed_latents
    branches = [[], *([Edit("hook_embed", where[i, None], fed[i, None])] for i in range(3))]
    own, *plain = differences(both.clean.reasoner.replay(both.reference, branches), both.parting)
    effects = found(model_type, "embedding", monkeypatch)["frozen"]
    assert effects.tolist() == pytest.approx([float(each - own) for each in plain], abs=1e-9)


def test_with_many_slots_orders_are_drawn_and_shares_still_sum_to_the_joint_effect(monkeypatch):
    exact = found("llama", "kv", monkeypatch)
    monkeypatch.setattr("mindseye.engine.slots._EXACT_UP_TO", 2)
    drawn = found("llama", "kv", monkeypatch)
    assert drawn["shapley"].sum() == pytest.approx(exact["joint", -1], abs=1e-9)
    assert drawn["shapley"].tolist() != exact["shapley"].tolist()
    assert drawn["frozen"].tolist() == pytest.approx(exact["frozen"].tolist(), abs=1e-9)


def test_bypass_does_not_see_any_slot():
    rows = slot_effects(in_double("bypass"), me.task("digits").pairs(2, seed=1))
    assert rows["effect"].abs().max() < 1e-9
    assert set(rows["way"]) == {"joint", "frozen", "rerolled", "prefix", "shapley"}


@pytest.mark.parametrize("level", ["span", "suffix", "soul"])
def test_levels_that_are_not_made_of_slots_are_refused(level):
    with pytest.raises(EditError, match="embedding"):
        slot_effects(twins("llama").clean.reasoner, [], level=level)


def test_a_rerolled_run_that_ends_elsewhere_is_not_a_number(monkeypatch):
    both = twins("llama")
    replay = type(both.clean.reasoner).replay

    def shorter(self, trace, branches, **options):
        runs = replay(self, trace, branches, **options)
        return [run.without(run.latent_positions[-1:]) for run in runs]

    monkeypatch.setattr(type(both.clean.reasoner), "replay", shorter)
    effects = found("llama", "embedding", monkeypatch)
    assert torch.tensor(effects["rerolled"].tolist()).isnan().all()
    assert not torch.tensor(effects["frozen"].tolist()).isnan().any()
