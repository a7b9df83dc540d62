"""What may be read where: own latents put back, only the latents read, and never the latents."""

import numpy as np
import pytest

from mindseye.engine import Branch, compute
from mindseye.reasoners import Knockout
from tests.causal.invariants.measuring import (
    answered,
    assert_refuted,
    assert_same,
    cells,
    difference,
    effects_of,
    elsewhere,
    mediator,
    plain,
    taken,
)
from tests.causal.invariants.systems import LEVELS, SEES, SLOT_LEVELS, dozen, over_systems, twins

pytestmark = pytest.mark.model

EMBEDDING, KV = LEVELS.index("embedding"), LEVELS.index("kv")
ONLY_LATENTS = (Knockout("post", "prefix"), Knockout("post", "start"))
NEVER_LATENTS = (Knockout("post", "latents"),)


@over_systems()
def test_own_latents_put_back_give_the_run_as_it_was(system):
    """Against a plain replay where the answers part, and against what was said before it."""
    twin = twins(system)
    said_at = len(twin.clean.labels) - 1 - len(system.forced)
    held_and_said = zip(taken(system, LEVELS), plain(system), reversed(twin.said), strict=True)
    for held, whole, said in held_and_said:
        own = [Branch(mediator(held, level)) for level in LEVELS]
        found = compute(held, own, read=(said_at, -1)).logits
        assert_same(difference(system, found[:, 1]), np.full(len(LEVELS), whole))
        spoken = said.logits[said_at + 1 - held.trace.n_prompt]
        assert_same(found[:, 0], spoken.expand(len(LEVELS), -1))


def test_the_others_latents_put_in_do_not():
    """The wrong twin mistakes the donor; edits that never fired would pass it."""
    assert_refuted([cells(system)[:, 0, 1] - plain(system)[0] for system in dozen()])


def assert_no_direct_effect(found):
    for name in ("pde", "tde", "int"):
        assert_same(found[name], [0])
    assert_same(found["tie"], found["te"])


@over_systems(wiring=ONLY_LATENTS)
def test_a_model_wired_to_read_only_its_latents_has_no_direct_effect(system):
    """At the level of all that is read from the slots."""
    assert_no_direct_effect(effects_of(system, ("kv",)))


@over_systems()
def test_a_model_cut_from_all_but_its_latents_has_no_direct_effect(system):
    found = effects_of(system, cut=ONLY_LATENTS)
    assert_no_direct_effect({name: each[[KV]] for name, each in found.items()})


@pytest.mark.parametrize(
    "cut",
    [
        (Knockout("answer", "image"),),
        (Knockout("answer", "prefix"), Knockout("answer", "start")),
    ],
    ids=["from the image", "from all before the latents"],
)
def test_an_answer_that_alone_is_cut_still_hears_of_the_image(cut):
    """Only the image differs; the question or a marker has read it, and is read."""
    seeing = dozen(SEES, words=(1, 1))
    assert_refuted([effects_of(system, ("kv",), cut)["pde"] for system in seeing])


def test_all_after_the_latents_still_hear_of_the_input_from_the_start_marker():
    """Unless, as in gemma3, it lies out of their windows where it has come to know the input."""
    whole = [system for system in dozen() if system.model_type != "gemma3"]
    found = [effects_of(system, cut=ONLY_LATENTS[:1])["pde"] for system in whole]
    assert_refuted([each[KV] for each in found])


def test_the_whole_mask_leaves_a_direct_effect_of_fed_vectors_alone():
    """The slots read the input above the vectors they are fed."""
    found = [effects_of(system, cut=ONLY_LATENTS)["pde"] for system in dozen()]
    assert_refuted([each[EMBEDDING] for each in found])


def anything(system, *scales, cut=()):
    """What the reference run answers with values at its slots that no run has."""
    reference, _ = taken(system, LEVELS)
    branches = [
        Branch(elsewhere(mediator(reference, level), system.dice, scale), cut)
        for scale in scales
        for level in SLOT_LEVELS
    ]
    return np.array(answered(system, reference, branches))


@over_systems(wiring=NEVER_LATENTS)
def test_a_model_wired_never_to_read_its_latents_answers_alike_with_any(system):
    found = anything(system, 0.1, 10.0)
    assert_same(found, np.full(len(found), plain(system)[0]))


@over_systems()
def test_a_model_cut_from_its_latents_answers_alike_with_any(system):
    found = anything(system, 0.1, 10.0, cut=NEVER_LATENTS)
    assert_same(found, np.full(len(found), plain(system, NEVER_LATENTS)[0]))
    exchanged = cells(system, cut=NEVER_LATENTS)[: len(SLOT_LEVELS)]
    assert_same(exchanged[:, :, 0], exchanged[:, :, 1])


def test_an_answer_cut_from_the_latents_still_hears_of_them_from_the_end_marker():
    cut = (Knockout("answer", "latents"),)
    assert_refuted([anything(each, 1.0, cut=cut) - plain(each, cut)[0] for each in dozen()])
