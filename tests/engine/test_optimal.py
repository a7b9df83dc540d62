"""The constant that hurts least, on models whose truth is known."""

import pytest

import mindseye as me
from mindseye.engine import optimal_constant
from mindseye.errors import EditError, SampleError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(6, seed=4)


@pytest.fixture(scope="module")
def fitted(organism, pairs):
    return optimal_constant(organism("mediator"), pairs, steps=10)


def test_it_is_never_worse_than_zeros_or_means_on_its_pairs(fitted):
    assert fitted.outcome >= max(fitted.zero, fitted.mean)
    assert fitted.outcome > max(fitted.zero, fitted.mean) + 0.1  # ten steps do find something


def test_a_constant_does_not_replace_what_latents_tell(fitted):
    assert fitted.own > fitted.outcome + 0.5


def test_what_is_reported_is_what_feeding_it_gives(organism, pairs, fitted):
    arms = {
        "fitted": me.find_replacement("constant", vectors=fitted.vectors),
        "zero": "zero",
    }
    rows = me.battery(
        organism("mediator"), pairs, arms, levels=["embedding"], outcome="log_probability"
    )
    means = rows.groupby("arm")["value"].mean()
    assert means["fitted"] == pytest.approx(fitted.outcome, abs=1e-4)
    assert means["zero"] == pytest.approx(fitted.zero, abs=1e-4)
    assert rows["clean"].mean() == pytest.approx(fitted.own, abs=1e-4)


def test_nothing_to_fit_is_refused(organism, pairs):
    with pytest.raises(EditError, match="steps=0"):
        optimal_constant(organism("mediator"), pairs, steps=0)
    with pytest.raises(SampleError, match="None of 0 pairs"):
        optimal_constant(organism("mediator"), [])
