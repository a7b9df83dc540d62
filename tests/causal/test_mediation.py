"""`mediate` as a whole, on organisms."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.causal import Interval, Margin
from mindseye.causal.mediation import image_of
from mindseye.engine import twin_runs
from mindseye.errors import EditError, MindseyeError, SampleError, UnknownNameError
from mindseye.reasoners.spans import SPANS

pytestmark = pytest.mark.model

LEVELS = ("embedding", "kv", "span")


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
    assert found.n_pairs == found.n_clusters == 6


def test_the_effects_frame_has_every_effect_of_every_level(found):
    assert len(found.effects) == 3 * 6
    assert set(found.effects["outcome"]) == {"logit difference"}
    assert (found.effects["low"] <= found.effects["mean"]).all()
    assert (found.effects["mean"] <= found.effects["high"]).all()


def test_the_total_effect_is_the_same_at_every_level(found):
    te = found.effects[found.effects["effect"] == "te"]
    assert (te[["mean", "low", "high"]].max() - te[["mean", "low", "high"]].min()).max() < 1e-5


def test_the_rows_hold_the_mean_of_the_effects(found):
    row = found.effects.query("level == 'kv' and effect == 'tie'").iloc[0]
    assert row["mean"] == pytest.approx(found.rows.query("level == 'kv'")["tie"].mean())


def test_the_rows_effects_are_those_of_the_rows_cells(found):
    rows = found.rows
    assert (rows["te"] == rows["y11"] - rows["y00"]).all()
    assert (rows["pie"] == rows["y01"] - rows["y00"]).all()
    assert (rows["tie"] == rows["y11"] - rows["y10"]).all()


def test_flips_count_pairs_whose_said_token_changes(found):
    kv = found.rows.query("level == 'kv'")
    row = found.effects.query("level == 'kv' and effect == 'te'").iloc[0]
    assert row["flip_rate"] == (kv["said_00"] != kv["said_11"]).mean()
    assert row["flip_rate"] > 0.8


def test_one_effect_can_be_asked_for_by_any_of_its_names(found):
    row = found.effects.query("level == 'kv' and effect == 'pie'").iloc[0]
    wanted = Interval(row["mean"], row["low"], row["high"])
    assert found.effect("pie", level="kv") == found.effect("nie", level="kv") == wanted
    assert found.effect("pie", level="kv", outcome="logit difference") == wanted


def test_an_effect_that_was_not_measured_is_refused_with_what_was(found):
    with pytest.raises(SampleError, match=r"levels embedding, kv, span and outcomes logit diff"):
        found.effect("pie", level="suffix")
    with pytest.raises(SampleError, match="'flip' was not measured"):
        found.effect("pie", level="kv", outcome="flip")
    with pytest.raises(UnknownNameError, match="No effect 'ate'"):
        found.effect("ate", level="kv")


def test_the_verdict_is_a_word_with_reasons_and_each_level_has_its_own(found):
    assert found.verdict == found.conclusion.word == "negligible"
    assert {level: each.word for level, each in found.verdicts.items()} == dict.fromkeys(
        LEVELS, "negligible"
    )
    assert "Nor is the answer lost without them (zero, noise, cut)." in found.conclusion.reasons


def test_equal_seeds_give_equal_results(natural, pairs, found):
    again = me.mediate(natural, pairs)
    assert again.effects.equals(found.effects)
    assert again.controlled.equals(found.controlled)
    assert again.conclusion == found.conclusion


def test_runs_and_latents_are_kept_in_one_order(natural, pairs, found):
    assert found.latents.shape == (12, 4, 128)
    assert found.runs["gold"].tolist()[:2] == list(pairs[0].answers)
    own = natural.run(pairs[2].reference).latents.numpy()
    np.testing.assert_allclose(found.latents[5], own, atol=1e-5)


def test_rates_are_shares_of_runs(found):
    assert found.accuracy == (found.runs["answer"] == found.runs["gold"]).mean() > 0.8
    assert found.emission_rate == found.parse_rate == 1
    assert (found.runs["n_latents"] == 4).all()
    assert not found.runs["stated_before"].any()


def test_an_outcome_can_be_any_function(natural, pairs, found):
    def log_odds(logits, parting, /):
        logp = logits.log_softmax(-1)
        return logp[..., parting.clean] - logp[..., parting.reference]

    # The normaliser cancels, so log-odds from log-probabilities are the logit difference.
    theirs = me.mediate(natural, pairs[:2], levels=("kv",), outcome=log_odds)
    ours = found.rows.query("level == 'kv'")[:2]
    np.testing.assert_allclose(ours["te"], theirs.rows["te"], atol=1e-4)
    assert theirs.outcome == "log odds"


def test_the_verdict_is_about_the_first_of_several_outcomes(natural, pairs, found):
    both = me.mediate(natural, pairs, outcome=("logit_difference", "probability"))
    turned = me.mediate(
        natural, pairs[:2], levels=("kv",), outcome=("probability", "flip"), pins={}
    )
    assert (both.outcome, turned.outcome) == ("logit difference", "probability")
    assert both.conclusion == found.conclusion
    assert both.verdicts == found.verdicts
    assert set(both.rows["outcome"]) == set(both.effects["outcome"]) == set(
        both.controlled["outcome"]
    ) == {"logit difference", "probability"}  # fmt: skip
    mine = both.effects[both.effects["outcome"] == "logit difference"]
    assert mine.reset_index(drop=True).equals(found.effects)
    assert turned.margin_size == pytest.approx(0.1 * turned.effect("te", level="kv").mean)


def test_a_pair_that_swaps_its_sides_swaps_its_effects(natural, pairs, found):
    straight = found.rows.query("level == 'kv'").iloc[0]
    swapped = me.mediate(
        natural, [me.Pair(pairs[0].reference, pairs[0].clean)], levels=("kv",), pins={}
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
    found = me.mediate(natural, pairs, levels=("kv",), pins={})
    n_silent = sum(pair.clean.question == silent for pair in pairs)
    assert found.n_pairs == 6 - n_silent
    assert found.guards["pairs_left_out"] == n_silent
    assert found.emission_rate == pytest.approx(1 - n_silent / 6)
    assert len(found.latents) == 2 * found.n_pairs


def test_a_model_that_never_imagines_is_refused_with_its_rate(natural, pairs, monkeypatch):
    run = type(natural).run_batch
    monkeypatch.setattr(
        type(natural), "run_batch", lambda self, s, **more: run(self, s, imagine=False, **more)
    )
    with pytest.raises(SampleError, match="imagined in 0 of 4 runs"):
        me.mediate(natural, pairs[:2])


def test_an_intervention_that_does_not_fire_is_caught(organism, pairs, monkeypatch):
    """An engine that loses every edit would make any model look inert."""
    engine = importlib.import_module("mindseye.engine.exact.compute")
    monkeypatch.setattr(engine, "write", lambda *_: None)
    found = me.mediate(organism("mediator"), pairs)
    # Every exchange of latents "does nothing", and the identity arm is none the wiser.
    assert found.rows["pie"].abs().max() < 1e-3
    assert found.guards["identity_max_abs"] < 1e-3
    assert found.guards["edits_missed_max_abs"] > 0.1
    assert found.guards["pins_fired_min"] < 1e-5
    assert found.verdict == "inconclusive"
    assert {each.word for each in found.verdicts.values()} == {"inconclusive"}


def test_what_is_fed_and_changes_nothing_is_caught(natural, pairs):
    """Feeding the reference run what it fed itself is an edit that does nothing."""
    found = me.mediate(natural, pairs[:4], pins={"own": lambda twins: twins.reference.fed_latents})
    assert found.guards["pins_fired_min"] <= 1e-5
    assert found.guards["edits_missed_max_abs"] == 0
    assert found.verdict == "inconclusive"
    assert "edits do not fire" in found.conclusion.reasons[1]


def test_without_any_pin_nothing_shows_that_edits_fire(natural, pairs):
    found = me.mediate(natural, pairs[:4], pins={})
    assert "pins_fired_min" not in found.guards
    assert found.verdict == "inconclusive"
    assert "A guard was not run: the planted edit" in found.conclusion.reasons[1]


def test_an_edit_that_writes_something_else_is_caught(organism, pairs, monkeypatch):
    """The identity arm fails if what is put back is not what was there."""
    from mindseye.engine import cells, levels

    def crooked(*arguments):
        return [replace(edit, value=edit.value + 5) for edit in levels.transplant(*arguments)]

    monkeypatch.setattr(cells, "transplant", crooked)
    found = me.mediate(organism("mediator"), pairs[:3], levels=("kv",))
    assert found.guards["identity_max_abs"] > 0.1 * found.margin_size
    assert found.verdicts["kv"].word == "inconclusive"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_outcome_that_overflows_is_caught(natural, pairs):
    def overflowing(logits, parting, /):
        return (logits[..., parting.clean] - logits[..., parting.reference]) * 1e38 * 10

    found = me.mediate(natural, pairs[:2], levels=("kv",), outcome=overflowing)
    assert found.guards["not_a_number"] > 0
    assert "are no numbers" in found.verdicts["kv"].reasons[0]


def test_an_unknown_level_is_refused_before_anything_runs(natural, monkeypatch):
    monkeypatch.setattr(type(natural), "run_batch", None)
    with pytest.raises(EditError, match="embedding, kv, span"):
        me.mediate(natural, me.task("digits").pairs(2), levels=("kv", "soul"))


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_is_a_share(natural, pairs, margin):
    with pytest.raises(MindseyeError, match="between 0 and 1"):
        me.mediate(natural, pairs[:2], margin=margin)


def test_a_margin_can_be_a_whole_policy(natural, pairs):
    def few(margin):
        return me.mediate(natural, pairs[:2], levels=("kv",), margin=margin, pins={})

    found = few(Margin(0.2, absolute=7.0))
    assert found.margin_size == 7
    assert found.margin.floor == found.guards["identity_max_abs"]
    wide = few(0.5)
    assert wide.margin_size == pytest.approx(0.5 * wide.effect("te", level="kv").mean)


def test_an_unknown_outcome_is_refused_with_the_known_ones(natural, pairs):
    with pytest.raises(MindseyeError, match="logit_difference"):
        me.mediate(natural, pairs[:2], outcome="vibes")


def speaking(run, word):
    """The same run, as if it had said a word before it imagined."""
    n, ids = run.n_prompt, torch.tensor(run.reasoner.tokenizer.encode(word))

    def longer(kept, added, axis=0):
        return torch.cat([kept.narrow(axis, 0, n), added, kept.narrow(axis, n, len(run.fed))], axis)

    return replace(
        run,
        token_ids=torch.cat([ids, run.token_ids]),
        sampled_ids=torch.cat([ids, run.sampled_ids]),
        labels=longer(run.labels, torch.full_like(ids, SPANS.index("text"))),
        embeds=longer(run.embeds, run.reasoner.embed(ids).detach()),
        position_ids=longer(run.position_ids, torch.zeros(3, len(ids), dtype=torch.long), 1),
    )


def test_answers_that_were_said_before_the_latents_are_noticed(natural, pairs, monkeypatch):
    def talkative(*given, **options):
        for twins in twin_runs(*given, **options):
            words = (twins.pair.clean.answer, "system")
            yield replace(twins, said=tuple(map(speaking, twins.said, words)))

    monkeypatch.setattr("mindseye.causal.mediation.twin_runs", talkative)
    found = me.mediate(natural, pairs[:2], levels=("kv",), pins={})
    assert found.runs["stated_before"].tolist() == [True, False, True, False]


def test_a_pair_belongs_to_its_clean_image_unless_it_says_otherwise(pairs):
    one, other = pairs[:2]
    assert image_of(one) == image_of(replace(one, reference=other.reference, id="new"))
    assert image_of(one) != image_of(other)
    assert image_of(replace(one, cluster="family")) == "family"
    text = me.Pair(me.Sample((), "why?", "a"), me.Sample((), "why?", "b"), id="text")
    assert image_of(text) == "text"


def test_pairs_need_no_ids(natural, pairs):
    found = me.mediate(
        natural, [replace(pair, id="") for pair in pairs[:3]], levels=("kv",), pins={}
    )
    assert found.n_pairs == 3
    assert len(found.effects) == 6
