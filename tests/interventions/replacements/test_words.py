"""Replacements of words: other ids, as many as there are; and what latents get instead."""

from dataclasses import replace

import pytest
import torch

import mindseye as me
from mindseye import plugins
from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Given, Pool, find_replacement
from mindseye.plugins import find
from mindseye.tasks.digits import Digits
from tests.interventions.replacements.scenes import rng
from tests.speaking import MARK, hasty, ids_of, own_words, reader, speaker

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def ours(folder):
    """Says what there is to see, in words of one length for zooms and of another for turns."""
    return speaker(hasty(reader(folder)))


@pytest.fixture(scope="module")
def runs(ours):
    kinds = (("zoom", 3), ("transform", 4))
    samples = [s for kind, seed in kinds for s in Digits(kinds=(kind,)).samples(3, seed=seed)]
    return ours.run_batch(samples, max_new_tokens=48)


@pytest.fixture(scope="module")
def spoken(runs):
    """A run of few words, a twin of many, and all of them as the pool."""
    return Given(runs[0], Pool.of(runs), runs[3])


def words(asked, given, seed=0):
    made = find_replacement(asked, seed=seed)(given)
    assert (made.removed, made.n_slots, made.forced) == (None, None, False)
    return made.words


def test_these_runs_have_words_and_not_all_as_many(runs, spoken):
    assert spoken.in_words
    assert {len(run.words) for run in runs[:3]} == {len(runs[0].words)}
    assert len(runs[3].words) > len(runs[0].words)
    assert [run.words for run in spoken.pool.runs] == [run.words for run in runs]


def test_twin_says_what_the_other_run_said_however_long(spoken, runs):
    assert words("twin", spoken) == runs[3].words


def test_twin_of_latents_must_still_be_as_long(given):
    short = replace(given.twin, segments=(replace(
        given.twin.segments[0], fed=given.twin.fed_latents[:2], latents=given.twin.latents[:2]
    ),))  # fmt: skip
    with pytest.raises(EditError, match="has 2 latents and the run"):
        find_replacement("twin")(replace(given, twin=short))


@pytest.mark.parametrize("seed", range(6))
def test_shuffle_says_the_same_words_in_another_order(spoken, seed):
    own, made = spoken.trace.words, words("shuffle", spoken, seed)
    assert sorted(made) == sorted(own)
    assert made != own


def test_shuffle_of_one_word_is_that_word(ours):
    run = speaker(ours, lambda sample: f" red{MARK}").run(Digits().samples(1)[0], max_new_tokens=14)
    (only,) = run.words
    assert words("shuffle", Given(run)) == (only,)


def test_shuffle_draws_the_same_order_for_words_as_for_latents(given, spoken):
    """Equal seeds, equal orders: the arms of two models differ in nothing else."""
    orders = []
    for each, told in ((given, None), (spoken, spoken.trace.words)):
        cut = Given(each.trace)
        made = find("replacement", "shuffle")(cut, rng=rng(2))
        if told is None:
            orders.append([(cut.latents == v).all(dim=1).nonzero().item() for v in made])
        else:
            orders.append(torch.randperm(len(told), generator=rng(2)).tolist())
            assert made.words == tuple(told[place] for place in orders[-1])
    assert orders[0] == torch.randperm(len(given.latents), generator=rng(2)).tolist()


@pytest.mark.parametrize("kind", ["any", "same", "other"])
def test_donor_says_what_another_sample_said(spoken, kind):
    own = spoken.trace.sample.answer
    answers = [own, own, "x", own, "y", own]
    mixed = replace(
        spoken,
        pool=Pool(tuple(
            replace(run, answer=answer)
            for run, answer in zip(spoken.pool.runs, answers, strict=True)
        )),
    )  # fmt: skip
    drawn = {words(f"donor:answer={kind}", mixed, seed) for seed in range(40)}
    possible = {
        run.words
        for run in mixed.pool.runs
        if run.id != spoken.id and (kind == "any" or (run.answer == own) == (kind == "same"))
    }
    assert drawn == possible


def test_donor_may_have_fewer_words_but_not_fewer_latents(runs, given):
    long = Given(runs[3], Pool.of(runs[:1]))
    assert words("donor", long) == runs[0].words
    assert len(runs[0].words) < len(runs[3].words)
    short = Pool(tuple(replace(run, fed=run.fed[:1]) for run in given.pool.runs))
    with pytest.raises(SampleError, match="none of these has 4 latents"):
        find_replacement("donor")(replace(given, pool=short))


def test_donor_of_any_step_feeds_the_vectors_of_single_words(spoken):
    made = find_replacement("donor:step=any")(spoken)
    others = torch.cat([run.fed for run in spoken.others])
    assert made.shape == spoken.latents.shape
    assert all((others == vector).all(dim=1).any() for vector in made)


def test_donor_refuses_where_nobody_else_spoke(spoken):
    with pytest.raises(SampleError, match="among 1 runs: 0 are of other samples"):
        find_replacement("donor")(replace(spoken, pool=Pool(spoken.pool.runs[:1])))


@pytest.mark.parametrize("token", [".", ":", "3"])
def test_filler_says_one_token_for_every_word(spoken, ours, token):
    (id,) = ids_of(ours, token)
    assert words(f"filler:token={token}", spoken) == (id,) * len(spoken.trace.words)
    assert words("filler", spoken) == words("filler:token=.", spoken)


def test_filler_feeds_the_embedding_of_one_token_to_latents(given):
    made = find_replacement("filler")(given)
    (id,) = ids_of(given.trace.reasoner, ".")
    assert torch.equal(made, given.trace.reasoner.embed(torch.tensor([id])).expand_as(made))
    some = find_replacement("filler:slots=1")(given)
    assert torch.equal(some[0], given.latents[0])
    assert torch.equal(some[1], made[0])


def test_filler_takes_one_token_only(given, spoken):
    for each in (given, spoken):
        with pytest.raises(EditError, match="expected one, such as a full stop"):
            find_replacement("filler", token="a dog and a cat")(each)


@pytest.mark.parametrize("name", ["twin", "shuffle", "filler", "donor"])
def test_some_words_cannot_be_chosen(spoken, name):
    with pytest.raises(EditError, match="slots '0' cannot be chosen"):
        find_replacement(f"{name}:slots=0")(spoken)


AFTER = "reimagined:after=redraw:attribute=handwriting"


def test_reimagined_says_what_is_said_of_the_changed_picture(ours, spoken):
    told = speaker(ours, lambda sample: f"{sample.meta['glyphs'][0]} {own_words(sample)}")
    run = told.run(spoken.trace.sample, max_new_tokens=48)
    made = find_replacement("reimagined:after=redraw:attribute=digit")(Given(run))
    assert made.words != run.words
    assert run.sample.answer not in ours.read(made.words).split(". It")[1]
    again = find_replacement("reimagined:after=redraw:attribute=digit")(Given(run))
    assert again.words == made.words


def test_reimagined_after_another_handwriting_tells_the_same_facts(spoken):
    """The script tells digits and colours, and handwriting changes neither."""
    assert words(AFTER, spoken) == spoken.trace.words


def test_reimagined_feeds_the_latents_of_a_run_on_the_changed_picture(given):
    made = find_replacement(AFTER, seed=1)(given)
    assert made.shape == given.latents.shape
    assert (made - given.latents).abs().max() > 1e-6


def test_reimagined_after_no_change_at_all_is_what_it_was(given, spoken, monkeypatch):
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))

    @me.perturbation("leave_alone")
    def leave_alone(sample, *, rng):
        return sample

    same = find_replacement("reimagined:after=leave_alone")
    torch.testing.assert_close(same(given), given.latents, atol=1e-5, rtol=1e-5)
    assert same(spoken).words == spoken.trace.words


def test_reimagined_latents_must_be_as_many(given):
    free = replace(
        given.trace.reasoner,
        protocol=replace(given.trace.reasoner.protocol, n_slots=3),
    )
    with pytest.raises(EditError, match="has 3 latents instead of 4"):
        find_replacement(AFTER)(replace(given, trace=replace(given.trace, reasoner=free)))


def test_reimagined_refuses_a_run_that_never_ends_its_words(folder, spoken):
    endless = speaker(reader(folder), lambda sample: sample.imagination)
    run = replace(spoken.trace, reasoner=endless)
    with pytest.raises(SampleError, match="did not finish imagining"):
        find_replacement(AFTER)(replace(spoken, trace=run))


@pytest.mark.parametrize("name", ["paraphrase", "attribute", "adversarial"])
def test_latents_cannot_be_said_otherwise(given, name):
    with pytest.raises(SampleError, match=f"'{name}' needs imagination in words.*protocol='text'"):
        find_replacement(name)(given)
