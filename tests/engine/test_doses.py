"""Dose and response, and backup, against plain replays."""

import pytest
import torch

import mindseye as me
from mindseye.engine import DIRECT_PATH, backup_effects, crossed_cells, dose_response
from mindseye.errors import EditError
from mindseye.readouts import logit_difference
from mindseye.reasoners import Edit
from tests.engine.random_twins import VARIED, differences, in_double, serve, twins

pytestmark = pytest.mark.model

every_model = pytest.mark.parametrize("model_type", VARIED)


@every_model
def test_a_dose_is_a_replay_with_vectors_part_of_the_way(model_type, monkeypatch):
    both = twins(model_type)
    where = both.reference.latent_positions
    mine, theirs = both.reference.fed_latents, both.clean.fed_latents
    doses = (0.0, 0.3, 1.0, 1.5)
    rows = dose_response(both.clean.reasoner, serve(monkeypatch, both), doses=doses)
    branches = [[Edit("hook_embed", where, mine + dose * (theirs - mine))] for dose in doses]
    plain = differences(both.clean.reasoner.replay(both.reference, branches), both.parting)
    assert rows["effect"].tolist() == pytest.approx((plain - plain[0]).tolist(), abs=1e-9)


@pytest.mark.parametrize("level", ["embedding", "residual:2", "kv", "span", "suffix"])
@every_model
def test_the_whole_dose_is_the_pure_indirect_effect(model_type, level, monkeypatch):
    both = twins(model_type)
    cells = crossed_cells(both.clean.reasoner, both.clean, both.reference, (level,))[level].crossed
    y = logit_difference(cells, both.parting)
    pairs = serve(monkeypatch, both)
    rows = dose_response(both.clean.reasoner, pairs, level=level, doses=(0.0, 1.0))
    assert rows["effect"].tolist() == pytest.approx([0, float(y[0, 1] - y[0, 0])], abs=1e-9)


@every_model
def test_backup_is_the_effect_with_the_direct_path_cut_less_that_with_it_open(
    model_type, monkeypatch
):
    both = twins(model_type)
    where, fed = both.reference.latent_positions, both.clean.fed_latents
    branches = [[], [Edit("hook_embed", where, fed)]]
    replays = [
        differences(
            both.clean.reasoner.replay(both.reference, branches, knockouts=cuts), both.parting
        )
        for cuts in ((), DIRECT_PATH)
    ]
    is_open, is_cut = (float(y[1] - y[0]) for y in replays)
    row = backup_effects(both.clean.reasoner, serve(monkeypatch, both), level="embedding").iloc[0]
    assert row["open"] == pytest.approx(is_open, abs=1e-9)
    assert row["cut"] == pytest.approx(is_cut, abs=1e-9)
    assert row["backup"] == pytest.approx(is_cut - is_open, abs=1e-9)


def test_a_model_that_reads_nothing_else_has_no_backup():
    rows = backup_effects(in_double("mediator"), me.task("digits").pairs(2, seed=1))
    assert rows["open"].abs().min() > 1
    assert rows["backup"].abs().max() < 1e-9


def test_levels_that_do_not_exist_are_refused():
    ours = twins("llama").clean.reasoner
    for experiment in (dose_response, backup_effects):
        with pytest.raises(EditError, match="residual:0 to residual:2"):
            experiment(ours, [], level="residual:3")


def test_doses_do_not_change_the_runs_they_start_from(monkeypatch):
    both = twins("llama")
    before = both.reference.embeds.clone()
    dose_response(both.clean.reasoner, serve(monkeypatch, both))
    assert torch.equal(both.reference.embeds, before)
