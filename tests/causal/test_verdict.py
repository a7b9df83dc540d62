"""Every word of the lattice is reached by the effects that define it, and by nothing else."""

import numpy as np
import pytest

from mindseye.causal import effects, judge

GUARDS = {"identity_max_abs": 0.0, "latents_moved_min": 0.5}


def measured(mechanism, n=40, noise=0.05, scale=10.0):
    rng = np.random.default_rng(0)
    cells = scale * np.array(mechanism, float) + rng.normal(0, noise * scale, size=(n, 2, 2))
    return effects(cells)


@pytest.mark.parametrize(
    ("mechanism", "word"),
    [
        ([[0, 1], [0, 1]], "mediates"),
        ([[0, 0], [1, 1]], "negligible"),
        ([[0, 1], [1, 1]], "redundant"),
        ([[0, 0], [0, 1]], "necessary only jointly"),
        ([[0, 1], [1, 0]], "inconclusive"),  # XOR: no total effect to mediate
    ],
)
def test_each_mechanism_gets_its_word(mechanism, word):
    assert judge(measured(mechanism), GUARDS, margin=0.1, seed=0).word == word


def test_a_noisy_null_is_inconclusive_and_not_negligible():
    verdict = judge(measured([[0, 0], [1, 1]], n=6, noise=0.4), GUARDS, margin=0.1, seed=0)
    assert verdict.word == "inconclusive"


def test_an_effect_at_the_margin_is_inconclusive():
    verdict = judge(measured([[0, 0.1], [0.9, 1]]), GUARDS, margin=0.1, seed=0)
    assert verdict.word == "inconclusive"


def test_a_null_is_only_as_good_as_its_margin():
    effects_ = measured([[0, 0.15], [0.85, 1]], noise=0.01)
    assert judge(effects_, GUARDS, margin=0.1, seed=0).word == "mediates"
    assert judge(effects_, GUARDS, margin=0.3, seed=0).word == "negligible"


@pytest.mark.parametrize(
    ("guard", "value", "said"),
    [("identity_max_abs", 0.5, "identity arm"), ("latents_moved_min", 0.0, "very same latents")],
)
def test_a_failed_guard_makes_any_verdict_inconclusive(guard, value, said):
    verdict = judge(measured([[0, 1], [0, 1]]), {**GUARDS, guard: value}, margin=0.1, seed=0)
    assert verdict.word == "inconclusive"
    assert said in verdict.reasons[0]


def test_a_guard_that_is_not_a_number_fails():
    guards = {**GUARDS, "identity_max_abs": float("nan")}
    assert judge(measured([[0, 1], [0, 1]]), guards, margin=0.1, seed=0).word == "inconclusive"


def test_a_single_pair_is_inconclusive():
    verdict = judge(measured([[0, 1], [0, 1]], n=1), GUARDS, margin=0.1, seed=0)
    assert verdict.word == "inconclusive"


def test_reasons_name_both_directions():
    reasons = judge(measured([[0, 1], [1, 1]]), GUARDS, margin=0.1, seed=0).reasons
    assert [r.split()[0] for r in reasons] == ["PIE", "TIE"]
    assert "exceeds" in reasons[0]
    assert "lies within" in reasons[1]
