"""`mediate` as a whole, on organisms."""

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.errors import EditError, MindseyeError, SampleError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def natural(organism):
    return organism("natural")


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(6)


@pytest.fixture(scope="module")
def found(natural, pairs):
    return me.mediate(natural, pairs)


def test_there_is_a_row_per_pair_and_level(found):
    assert len(found.to_frame()) == 6 * 3
    assert found.n_pairs == 6


def test_the_effects_frame_has_every_effect_of_every_level(found):
    assert len(found.effects) == 3 * 6
    assert (found.effects["low"] <= found.effects["mean"]).all()
    assert (found.effects["mean"] <= found.effects["high"]).all()


def test_the_total_effect_is_the_same_at_every_level(found):
    te = found.effects[found.effects["effect"] == "te"]
    assert (te[["mean", "low", "high"]].max() - te[["mean", "low", "high"]].min()).max() < 1e-5


def test_the_rows_hold_the_mean_of_the_effects(found):
    row = found.effects.query("level == 'kv' and effect == 'tie'").iloc[0]
    assert row["mean"] == pytest.approx(found.rows.query("level == 'kv'")["tie"].mean())


def test_flips_count_pairs_whose_said_token_changes(found):
    kv = found.rows.query("level == 'kv'")
    row = found.effects.query("level == 'kv' and effect == 'te'").iloc[0]
    assert row["flip_rate"] == (kv["said_00"] != kv["said_11"]).mean()
    assert row["flip_rate"] > 0.8


def test_equal_seeds_give_equal_results(natural, pairs, found):
    again = me.mediate(natural, pairs)
    assert again.effects.equals(found.effects)


def test_runs_and_latents_are_kept_in_one_order(natural, pairs, found):
    assert found.latents.shape == (12, 4, 128)
    assert found.runs["gold"].tolist()[:2] == list(pairs[0].answers)
    own = natural.run(pairs[2].reference).latents.numpy()
    np.testing.assert_allclose(found.latents[5], own, atol=1e-5)


def test_an_outcome_can_be_any_function(natural, pairs):
    def log_odds(logits, parting, /):
        logp = logits.log_softmax(-1)
        return logp[..., parting.clean] - logp[..., parting.reference]

    # The normaliser cancels, so log-odds from log-probabilities are the logit difference.
    ours = me.mediate(natural, pairs[:2], levels=("kv",))
    theirs = me.mediate(natural, pairs[:2], levels=("kv",), outcome=log_odds)
    np.testing.assert_allclose(ours.rows["te"], theirs.rows["te"], atol=1e-4)
    assert theirs.outcome == "log odds"


def test_a_pair_that_swaps_its_sides_swaps_its_effects(natural, pairs):
    straight = me.mediate(natural, pairs[:1], levels=("kv",)).rows.iloc[0]
    swapped = me.mediate(
        natural, [me.Pair(pairs[0].reference, pairs[0].clean)], levels=("kv",)
    ).rows.iloc[0]
    # Both outcomes are clean minus reference, so the scale turns round with the pair.
    assert swapped["te"] == pytest.approx(straight["te"], abs=1e-4)
    assert swapped["pde"] == pytest.approx(straight["tde"], abs=1e-4)
    assert swapped["pie"] == pytest.approx(straight["tie"], abs=1e-4)
    assert swapped["int"] == pytest.approx(-straight["int"], abs=1e-4)


def test_pairs_without_imagination_are_counted_and_left_out(natural, pairs, monkeypatch):
    run = type(natural).run_batch
    silent = pairs[0].clean.question

    def shy(self, samples, **options):
        return [run(self, [s], imagine=s.question != silent, **options)[0] for s in samples]

    monkeypatch.setattr(type(natural), "run_batch", shy)
    found = me.mediate(natural, pairs)
    n_silent = sum(pair.clean.question == silent for pair in pairs)
    assert found.n_pairs == 6 - n_silent
    assert found.guards["pairs_left_out"] == n_silent
    assert found.emission_rate == pytest.approx(1 - n_silent / 6)


def test_a_model_that_never_imagines_is_refused_with_its_rate(natural, pairs, monkeypatch):
    run = type(natural).run_batch
    monkeypatch.setattr(
        type(natural), "run_batch", lambda self, s, **more: run(self, s, imagine=False, **more)
    )
    with pytest.raises(SampleError, match="imagined in 0 of 4 runs"):
        me.mediate(natural, pairs[:2])


def test_an_intervention_that_does_not_fire_is_caught(natural, pairs, monkeypatch):
    """If both runs have the very same latents, nothing was put in: no verdict."""
    from mindseye.reasoners import Trace

    fixed = torch.ones(4, 128)
    monkeypatch.setattr(Trace, "fed_latents", property(lambda self: fixed))
    found = me.mediate(natural, pairs)
    assert set(found.verdict.values()) == {"inconclusive"}
    assert "very same latents" in found.verdicts["kv"].reasons[0]


def test_an_edit_that_writes_something_else_is_caught(natural, pairs, monkeypatch):
    """The identity arm fails if what is put back is not what was there."""
    import dataclasses

    from mindseye.engine import cells, levels

    def crooked(*arguments):
        return [
            dataclasses.replace(edit, value=edit.value + 0.5)
            for edit in levels.transplant(*arguments)
        ]

    monkeypatch.setattr(cells, "transplant", crooked)
    found = me.mediate(natural, pairs, levels=("kv",))
    assert found.guards["identity_max_abs"] > 1e-3
    assert found.verdict == {"kv": "inconclusive"}


def test_an_unknown_level_is_refused_before_anything_runs(natural, monkeypatch):
    monkeypatch.setattr(type(natural), "run_batch", None)
    with pytest.raises(EditError, match="embedding, kv, span"):
        me.mediate(natural, me.task("digits").pairs(2), levels=("kv", "soul"))


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_is_a_share(natural, pairs, margin):
    with pytest.raises(MindseyeError, match="between 0 and 1"):
        me.mediate(natural, pairs[:2], margin=margin)


def test_an_unknown_outcome_is_refused_with_the_known_ones(natural, pairs):
    with pytest.raises(MindseyeError, match="logit_difference"):
        me.mediate(natural, pairs[:2], outcome="vibes")
