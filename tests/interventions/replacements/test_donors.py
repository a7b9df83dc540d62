"""Donors are other samples' runs of the kind that was asked for."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Pool, find_replacement
from tests.interventions.replacements.scenes import with_latents

pytestmark = pytest.mark.model


def whose(vectors, pool):
    """Which runs have these vectors at the same slots."""
    return [run for run in pool.runs if torch.equal(run.fed[: len(vectors)], vectors)]


def pooled(given, answers):
    """The pool with other answers, the run's own sample first."""
    runs = [replace(run, answer=each) for run, each in zip(given.pool.runs, answers, strict=True)]
    return replace(given, pool=Pool(tuple(runs)))


@pytest.mark.parametrize("kind", ["any", "same", "other"])
def test_donor_is_another_run_whose_answer_is_what_was_asked_for(given, kind):
    own = given.trace.sample.answer
    mixed = pooled(given, [own, own, own, "x", "y", "x", own, "y"])
    donors = set()
    for seed in range(40):
        made = find_replacement(f"donor:answer={kind}", seed=seed)(mixed)
        (run,) = whose(made, mixed.pool)
        donors.add(run.id)
        assert run.id != given.id
        assert kind == "any" or (run.answer == own) == (kind == "same")
    assert len(donors) == {"any": 7, "same": 3, "other": 4}[kind]


def test_donor_of_any_step_draws_single_vectors_of_others(given):
    own = given.latents
    made = torch.cat([find_replacement("donor:step=any", seed=seed)(given) for seed in range(20)])
    others = torch.cat([run.fed for run in given.pool.runs if run.id != given.id])
    assert all((others == vector).all(dim=1).any() for vector in made)
    assert not any((own == vector).all(dim=1).any() for vector in made)


def test_donor_refuses_a_pool_that_is_too_small(given):
    alone = replace(given, pool=Pool(given.pool.runs[:1]))
    with pytest.raises(SampleError, match="among 1 runs: 0 are of other samples"):
        find_replacement("donor")(alone)
    with pytest.raises(SampleError, match="0 of these have the same answer"):
        find_replacement("donor:answer=same")(pooled(given, list("abcdefgh")))
    short = Pool(tuple(replace(run, fed=run.fed[:1]) for run in given.pool.runs))
    with pytest.raises(SampleError, match="none of these has 4 latents"):
        find_replacement("donor")(replace(given, pool=short))


def test_donor_that_is_longer_gives_its_first_slots(given):
    long = Pool(tuple(replace(run, fed=run.fed.repeat(2, 1)) for run in given.pool.runs))
    made = find_replacement("donor")(replace(given, pool=long))
    assert made.shape == given.latents.shape


def test_twin_is_the_other_run_of_the_pair(given):
    assert torch.equal(find_replacement("twin")(given), given.twin.fed_latents)


def test_twin_of_another_length_is_refused(given):
    shorter = with_latents(given.twin, given.twin.fed_latents[:2])
    with pytest.raises(EditError, match="has 2 latents and the run itself 4"):
        find_replacement("twin")(replace(given, twin=shorter))
