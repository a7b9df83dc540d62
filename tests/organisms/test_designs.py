"""What is true of every organism by construction, pair by pair, on random weights in double."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.causal import Margin, judge
from mindseye.causal.effects import EFFECTS
from mindseye.engine import slot_effects
from mindseye.errors import UnknownNameError
from mindseye.organisms import DESIGNS, connect, design, leaky
from mindseye.organisms.blends import dial, rank
from mindseye.organisms.circuits import FED_BACK
from mindseye.organisms.designs import LEAK
from mindseye.studies.validation import KNOWN, random_organism
from tests.causal.evidence import made as made_up
from tests.causal.invariants.doubles import in_double

pytestmark = pytest.mark.model

EXACT = 1e-9
LEVELS = ("embedding", "kv", "span")
ALL = {"pde": 0, "tde": 0, "pie": 1, "tie": 1, "int": 0}
NONE = {"pde": 1, "tde": 1, "pie": 0, "tie": 0, "int": 0}
EITHER = {"pde": 1, "tde": 0, "pie": 1, "tie": 0, "int": -1}
BOTH = {"pde": 0, "tde": 1, "pie": 0, "tie": 1, "int": 1}


def part(share):
    return {"pde": 1 - share, "tde": 1 - share, "pie": share, "tie": share, "int": 0}


def every(shares):
    return dict.fromkeys(LEVELS, shares)


SHARES = {
    "mediator": {"kv": ALL, "span": ALL},
    "feedback": every(ALL),
    "bypass": every(NONE),
    "dial": every(part(0.5)),
    "redundant": every(EITHER),
    "joint": every(BOTH),
    "backup": every(ALL),
    "relay": {"embedding": NONE, "kv": ALL, "span": ALL},
    "anisotropic": every(ALL),
    "intransitive": every(NONE),
    "distributed": every(ALL),
    "soft-prompt": every(NONE),
    "leaky": every(part(LEAK)),
    "markers": {"embedding": NONE, "kv": NONE, "span": ALL},
}
"""What part of each pair's total effect each of its effects is."""

PINNED = ("backup", "intransitive", "soft-prompt")
"""Those of which it is known what they do under a pin."""


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """Train it once."""
    from mindseye.studies import validation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "blank_processor", functools.cache(validation.blank_processor))
        yield


def in_pure_double(plan, seed):
    """An organism whose norms and rotations are in double precision too."""
    made = random_organism(plan, seed)
    in_double(made.model)
    return connect(replace(made, modules={}, blend=None), plan)


@pytest.fixture(scope="module")
def made():
    return functools.cache(lambda name, seed=0: in_pure_double(DESIGNS[name], seed))


@pytest.fixture(scope="module")
def pairs():
    """Of two kinds of items, as `heterogeneous` tells them apart by their prompts."""
    kinds = ("zoom", "transform")
    return [replace(me.task("digits", kinds=(k,)).pairs(1)[0], id=k) for k in kinds]


def turned(ours, pair):
    """The pair with the sample in front whose answer ranks higher."""
    alone = replace(ours, blend=None)
    runs = [alone.run(sample).until_answer() for sample in (pair.clean, pair.reference)]
    one, other = (float(rank(alone.replay(run).logits[0, -1:])) for run in runs)
    return pair if one > other else replace(pair, clean=pair.reference, reference=pair.clean)


@pytest.fixture(scope="module")
def found(made, pairs):
    """What is measured of an organism."""

    @functools.cache
    def mediate(name, seed=0):
        ours = made(name, seed)
        asked = [turned(ours, pair) for pair in pairs] if DESIGNS[name].ordered else pairs
        return me.mediate(ours, asked, pins=None if name in PINNED else {})

    return mediate


def assert_shares(rows, shares):
    assert rows["te"].abs().min() > 1e-3
    for effect, share in shares.items():
        np.testing.assert_allclose(rows[effect], share * rows["te"], atol=EXACT, err_msg=effect)


def test_every_organism_whose_truth_is_known_has_its_effects_here():
    assert {*SHARES, "heterogeneous"} == set(KNOWN)


@pytest.mark.parametrize("name", SHARES)
def test_the_effects_are_what_the_design_says_in_every_pair(found, name):
    rows = found(name).rows
    for level, shares in SHARES[name].items():
        assert_shares(rows[rows["level"] == level], shares)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", SHARES)
def test_and_so_they_are_on_other_weights(found, name, seed):
    rows = found(name, seed).rows
    for level, shares in SHARES[name].items():
        assert_shares(rows[rows["level"] == level], shares)


def test_in_a_heterogeneous_organism_latents_speak_for_or_against_by_the_kind_of_item(
    made, found, pairs
):
    """Half the own route's weight: a third of TE where both agree, all of it where they do not."""
    ours, rows = made("heterogeneous"), found("heterogeneous").rows
    kinds = [int(ours.run(pair.clean).prompt_ids.sum()) % 2 for pair in pairs]
    assert set(kinds) == {0, 1}
    for level in LEVELS:
        held = rows[rows["level"] == level]
        ratios = (held["pie"] / held["te"]).tolist()
        assert ratios == pytest.approx([{1: 1 / 3, 0: -1}[kind] for kind in kinds], abs=1e-6)
        np.testing.assert_allclose(held["pie"], held["tie"], atol=EXACT)
        np.testing.assert_allclose(held["pde"], held["te"] - held["pie"], atol=EXACT)


@pytest.mark.parametrize("name", [*SHARES, "heterogeneous"])
def test_own_latents_put_back_change_nothing_and_every_edit_lands(found, name):
    guards = found(name).guards
    assert guards["identity_max_abs"] <= EXACT
    assert guards["edits_missed_max_abs"] == guards["pairs_left_out"] == 0
    assert guards.get("pins_fired_min", 1) > 1e-3


@pytest.mark.parametrize("name", [*SHARES, "heterogeneous"])
def test_the_words_of_a_design_are_those_that_its_effects_deserve(found, name):
    """With as many pairs as it takes, asked for answers that the input moves apart."""
    rows, plan = found(name).rows, DESIGNS[name]
    many = {}
    for level in plan.levels:
        held = rows[rows["level"] == level]
        many[level] = {e: np.tile(np.sign(held["te"]) * held[e], 8) for e in EFFECTS}
    _, verdicts = judge(made_up(many), Margin(0.1))
    assert {level: found.word for level, found in verdicts.items()} == dict(plan.levels)


def coordinate(logits, parting, /):
    return logits[..., parting.clean]


@pytest.fixture(scope="module")
def one_route(pairs):
    """What both inputs answer, each with its own latents, where there is no second route."""
    rows = me.mediate(
        random_fed_back(), pairs, levels=("embedding",), outcome=coordinate, pins={}
    ).rows
    return rows["y00"].to_numpy(), rows["y11"].to_numpy()


@pytest.mark.parametrize(("alpha", "gamma"), [(0.3, 0.05), (1.0, -0.02), (0.0, 0.1)])
def test_a_dials_effects_are_its_formulas(pairs, one_route, alpha, gamma):
    """PIE = (a + g own(x0)) DZ, PDE = (1 - a + g given(Z0)) DX, INT = g DX DZ, by coordinate."""
    ours = replace(random_fed_back(), blend=dial(alpha, gamma))
    rows = me.mediate(ours, pairs, levels=("embedding",), outcome=coordinate, pins={}).rows
    # Slots read slots only, so what is given by Z is what Z's own run says.
    low, step = one_route[0], one_route[1] - one_route[0]
    close = functools.partial(np.testing.assert_allclose, atol=EXACT)
    close(rows["pie"], (alpha + gamma * low) * step)
    close(rows["pde"], (1 - alpha + gamma * low) * step)
    close(rows["int"], gamma * step * step)
    assert np.abs(step).min() > 1e-3


@functools.cache
def random_fed_back():
    return in_pure_double(DESIGNS["feedback"], 0)


def test_a_leak_is_as_large_as_it_is_asked_to_be(pairs):
    for gain, word in ((0.05, "negligible"), (0.4, "mediates")):
        plan = leaky(gain)
        rows = me.mediate(connect(random_fed_back(), plan), pairs, levels=("kv",), pins={}).rows
        assert_shares(rows, part(gain))
        assert (plan.verdict, plan.active) == (word, word == "mediates")
        assert plan.circuit.wiring == FED_BACK


def controlled(found, name, level="embedding"):
    rows = found(name).pinned
    natural = found(name).rows
    held = rows[rows["level"] == level].set_index(["pin", "pair"])
    return held, natural[natural["level"] == level].set_index("pair")


@pytest.mark.parametrize("pin", ["zero", "noise"])
def test_backup_falls_back_on_the_image_for_latents_that_are_not_of_its_kind(found, pin):
    held, natural = controlled(found, "backup")
    held = held.loc[pin]
    assert held["nec"].abs().max() <= EXACT
    np.testing.assert_allclose(held["cde"], natural.loc[held.index, "te"], atol=EXACT)


@pytest.mark.parametrize("name", ["soft-prompt", "intransitive"])
@pytest.mark.parametrize("pin", ["zero", "noise"])
def test_without_the_constant_in_their_latents_guarded_organisms_say_nothing(found, name, pin):
    held, natural = controlled(found, name)
    held = held.loc[pin]
    assert held[["y0", "y1", "cde"]].abs().max().max() == 0
    np.testing.assert_allclose(held["nec"], natural.loc[held.index, "y11"], atol=EXACT)


def test_what_is_fed_to_a_soft_prompt_never_varies_and_to_an_intransitive_one_it_does(found):
    moved = {
        name: found(name).rows.query("level == 'embedding'")["latents_moved"].max()
        for name in ("soft-prompt", "relay", "intransitive")
    }
    assert moved["soft-prompt"] == moved["relay"] == 0
    assert moved["intransitive"] > 0.01


@pytest.mark.parametrize("level", ["embedding", "kv"])
def test_no_single_slot_of_a_distributed_organism_matters_and_all_together_do(
    made, found, pairs, level
):
    rows = slot_effects(made("distributed"), pairs, level=level)
    singles, joint = rows[rows["way"] == "frozen"], rows[rows["way"] == "joint"]
    assert singles["effect"].abs().max() <= EXACT
    natural = found("distributed").rows
    te = natural[natural["level"] == level]["te"]
    np.testing.assert_allclose(joint["effect"], te, atol=EXACT)


def test_the_latents_of_an_anisotropic_organism_are_nearly_parallel(made, pairs):
    def cosine(name):
        one, other = (made(name).run(pair.clean).fed_latents for pair in pairs[:2])
        return float(torch.cosine_similarity(one, other).min())

    assert cosine("anisotropic") > 0.95 > cosine("feedback")


def test_the_wiring_and_not_the_weights_makes_the_truth(made, pairs):
    """The twin of the exact tests: without it nothing is exact."""
    for name in ("feedback", "relay", "markers"):
        unwired = replace(made(name), wiring=())
        rows = me.mediate(unwired, pairs[:1], levels=("span",), pins={}).rows
        assert rows[["pde", "tde"]].abs().min().min() > 1e-3


def test_a_design_says_only_words_there_are():
    words = {"mediates", "redundant", "necessary only jointly", "negligible"}
    whole = words | {"relay", "marker-format", "soft prompt", None}
    for plan in DESIGNS.values():
        assert set(plan.levels.values()) <= words
        assert set(plan.levels) <= set(LEVELS)
        assert plan.verdict in whole
        assert (plan.verdict is None) == (plan.active is None)
        assert plan.truth


def test_letters_are_given_once_and_in_order():
    letters = [plan.letter for plan in DESIGNS.values() if plan.letter]
    assert letters == sorted(set(letters))
    assert len(letters) == 14


def test_an_unknown_design_is_refused_with_those_there_are():
    with pytest.raises(UnknownNameError, match="No organism 'unicorn'; there are: mediator"):
        design("unicorn")
    assert design("dial") is DESIGNS["dial"]
