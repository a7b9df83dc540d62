"""On models whose truth is known, the geometry gets the word that is known."""

from __future__ import annotations

import numpy as np
import pytest

import mindseye as me
from mindseye.readouts.geometry import similarity, stack

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("name", "states", "word"),
    [
        ("anisotropic", {}, "anisotropic"),
        ("feedback", {}, "spread"),
        ("bypass", {"pie": "absent", "tie": "absent", "nec": "absent"}, "spread"),
        ("soft-prompt", {"pie": "absent", "tie": "absent", "nec": "present"}, None),
    ],
)
def test_fed_latents_of_an_organism_are_named_rightly(name, states, word):
    reasoner = me.load(f"organism:{name}", device="cpu")
    pairs = me.task("digits").pairs(24, kind="placebo", seed=3)

    def fed(sample):
        return reasoner.run(sample).fed_latents.float().cpu().numpy()

    found = similarity(
        stack([fed(pair.clean) for pair in pairs]),
        placebo=stack([fed(pair.reference) for pair in pairs]),
        n_permutations=19,
        rng=np.random.default_rng(0),
    )
    assert found.degeneracy(**states).word == (word or "collapsed-but-functional")
    # The raw cosine alone cannot part the first from the last.
    high = found.signs().cosine > 0.9
    assert high == (name in ("anisotropic", "soft-prompt"))
