"""Our effects against statsmodels' mediation analysis of one structural model.

We see all four cells of every unit, statsmodels only one of them and two regressions; what they
call by different names must be the same number.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.mediation import Mediation

from mindseye.causal import effects, ratio_interval

NAMES = {
    "te": "total_effect",
    "pde": "ADE_ctrl",
    "tde": "ADE_tx",
    "pie": "ACME_ctrl",
    "tie": "ACME_tx",
}
"""What statsmodels calls our effects; control or treated is where the other path is held."""

PARTS = [name for name in NAMES if name != "te"]
SWAPS = list(itertools.combinations(PARTS, 2))
A, B, C = 1.0, 0.5, 3.0
UNITS = 1000

seeds = pytest.mark.parametrize("seed", [0, 1, 2])
interactions = pytest.mark.parametrize("interaction", [0.0, 1.0])


class Interacting(sm.OLS):
    """A regression on 1, x, m and x * m that follows what is put in for x and m.

    Mediation does so by itself only for formulas, which it parses again at every draw.
    """

    def predict(self, params, exog=None):
        return super().predict(params, columns(exog[:, 1], exog[:, 2]))


def columns(x, m):
    return np.stack([np.ones_like(m), x, m, x * m], axis=1)


@functools.cache
def structure(seed, interaction):
    """Return the cells of M = a x + e, Y = c x + b m + d x m + f, and x, m and y as observed.

    A unit keeps its a, e and f in every cell, as a network keeps its weights.
    """
    rng = np.random.default_rng(seed)
    a = A + 0.3 * rng.standard_normal(UNITS)
    e, f = rng.standard_normal(UNITS), 0.5 * rng.standard_normal(UNITS)

    def y(x, z):
        m = a * z + e
        return C * x + B * m + interaction * x * m + f

    cells = np.stack([np.stack([y(x, z) for z in (0, 1)], axis=1) for x in (0, 1)], axis=1)
    x = (rng.permutation(UNITS) % 2).astype(float)
    return cells, (x, a * x + e, y(x, x))


@functools.cache
def theirs(seed, interaction):
    """Return what statsmodels draws from the distribution of every effect."""
    x, m, y = structure(seed, interaction)[1]
    seen = columns(x, m)
    outcome = Interacting(y, seen) if interaction else sm.OLS(y, seen[:, :3])
    mediation = Mediation(outcome, sm.OLS(m, seen[:, :2]), (1, 1), mediator=2)
    return mediation.fit(method="parametric", n_rep=200, rng=seed)


def differing(ours, found, names=NAMES):
    """Return the effects that are more than three of statsmodels' standard errors apart."""
    apart = []
    for name, their in names.items():
        draws = getattr(found, their)
        if abs(ours[name].mean() - draws.mean()) > 3 * draws.std():
            apart.append(name)
    return apart


@seeds
@interactions
def test_effects_are_those_of_statsmodels(seed, interaction):
    cells, _ = structure(seed, interaction)
    assert differing(effects(cells), theirs(seed, interaction)) == []


@seeds
@pytest.mark.parametrize("swap", SWAPS, ids="-".join)
def test_any_two_effects_that_change_names_are_noticed(seed, swap):
    """The twin of the test before: with an interaction no two of the four are equal."""
    one, other = swap
    names = NAMES | {one: NAMES[other], other: NAMES[one]}
    cells, _ = structure(seed, 1.0)
    assert set(differing(effects(cells), theirs(seed, 1.0), names)) == {one, other}


@seeds
def test_cells_whose_axes_change_places_are_noticed(seed):
    swapped = effects(structure(seed, 1.0)[0].transpose(0, 2, 1))
    assert set(differing(swapped, theirs(seed, 1.0))) == set(PARTS)


@seeds
def test_the_proportion_mediated_is_that_of_statsmodels(seed):
    own = effects(structure(seed, 0.0)[0])
    low, high = np.quantile(theirs(seed, 0.0).prop_med_avg, [0.025, 0.975])
    mediated, direct = (ratio_interval(own[name], own["te"]) for name in ("pie", "pde"))
    assert mediated is not None
    assert direct is not None
    assert mediated.low <= A * B / (C + A * B) <= mediated.high
    assert low <= mediated.mean <= high
    assert not low <= direct.mean <= high
