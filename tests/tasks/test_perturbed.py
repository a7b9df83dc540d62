"""Tasks pair their samples with their perturbed selves."""

import numpy as np
import pytest

import mindseye as me
from mindseye.errors import EditError, UnknownNameError
from mindseye.tasks import Perturbed
from mindseye.tasks.digits import Digits


def test_the_clean_side_is_the_tasks_own_sample():
    task = me.task("digits")
    pairs = task.perturbed("noise:sigma=0.2", 5, seed=3)
    for pair, sample in zip(pairs, task.samples(5, seed=3), strict=True):
        assert np.array_equal(pair.clean.image, sample.image)
        assert not np.array_equal(pair.reference.image, sample.image)


def test_equal_seeds_give_equal_pairs_and_pair_i_does_not_depend_on_n():
    few, many = (Digits().perturbed("noise", n, foil="none", seed=1) for n in (2, 5))
    for one, two in zip(few, many, strict=False):
        assert np.array_equal(one.reference.image, two.reference.image)
    other = Digits().perturbed("noise", 2, foil="none", seed=2)
    assert not np.array_equal(few[0].reference.image, other[0].reference.image)


def test_parameters_are_told_in_text_or_by_name():
    by_text = Digits().perturbed("mask_target:fill=mean", 2)
    by_name = Digits().perturbed("mask_target", 2, fill="mean")
    for one, two in zip(by_text, by_name, strict=True):
        assert np.array_equal(one.reference.image, two.reference.image)


def test_scenes_are_drawn_again_as_minimal_pairs():
    pairs = Digits(kinds=("zoom",)).perturbed("redraw:attribute=digit", 6)
    assert {pair.kind for pair in pairs} == {"minimal"}
    assert all(pair.clean.answer != pair.reference.answer for pair in pairs)


def test_what_is_not_known_or_does_not_fit_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'noise'"):
        Digits().perturbed("noize", 2)
    with pytest.raises(EditError, match="no parameter 'volume'"):
        Digits().perturbed("noise", 2, volume=3)


def test_a_task_without_samples_says_so():
    class Empty(Perturbed):
        pass

    with pytest.raises(TypeError, match="samples"):
        Empty()
