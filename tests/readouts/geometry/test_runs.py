"""The geometry of runs: baselines are states of the same kind, by plain replays."""

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.errors import SampleError
from mindseye.readouts import similarity_runs
from mindseye.readouts.geometry.runs import _states
from mindseye.reasoners import Edit

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(24, kind="placebo", seed=3)


def runs(reasoner, pairs, side):
    return [reasoner.run(getattr(pair, side)) for pair in pairs]


def test_baselines_are_states_where_latents_are_read(organism, pairs):
    trace = organism("natural").run(pairs[0].clean)
    found = _states(trace)
    normed = trace.cache["ln_final.hook_normalized"][0]
    # What is fed back is the post-norm state at the source of each slot.
    torch.testing.assert_close(normed[list(trace.segments[0].sources)], trace.fed_latents)
    torch.testing.assert_close(found["text"], normed[trace.spans["question"]])
    torch.testing.assert_close(found["image tokens"], normed[trace.spans["image"]])
    ours = trace.reasoner
    pad = ours.embed(torch.full_like(trace.latent_positions, ours.tokens.pad))
    fed = Edit("hook_embed", trace.latent_positions, pad)
    hook = "ln_final.hook_normalized"
    dummy = ours.replay(trace, [[fed]], record=[hook]).activations[hook][0]
    torch.testing.assert_close(found["dummy tokens"], dummy[trace.latent_positions])


@pytest.mark.parametrize(
    ("name", "states", "word"),
    [
        ("anisotropic", {}, "anisotropic"),
        (
            "soft-prompt",
            {"pie": "absent", "tie": "absent", "nec": "present"},
            "collapsed-but-functional",
        ),
        ("bypass", {"pie": "absent", "tie": "absent", "nec": "absent"}, "spread"),
    ],
)
def test_organisms_are_named_rightly_beside_three_baselines(organism, pairs, name, states, word):
    reasoner = organism(name)
    clean, quiet = (runs(reasoner, pairs, side) for side in ("clean", "reference"))
    found = similarity_runs(clean, placebos=[quiet], n_permutations=19)
    assert found.degeneracy(**states).word == word
    assert set(found.populations) >= {"latents", "text", "image tokens"}
    assert set(found.signs().baselines) >= {"text", "image tokens"}


def test_equal_seeds_give_equal_rows(organism, pairs):
    clean = runs(organism("bypass"), pairs[:6], "clean")
    one, two = (similarity_runs(clean, n_permutations=5, seed=2).rows for _ in range(2))
    np.testing.assert_array_equal(one["value"], two["value"])


def test_an_oracle_stands_beside_the_latents(organism, pairs):
    clean = runs(organism("natural"), pairs[:6], "clean")
    rows = similarity_runs(clean, oracle="helper", n_permutations=5).rows
    assert {"oracle"} <= set(rows["against"])


def test_runs_without_latents_and_too_few_placebos_are_refused(organism, pairs):
    reasoner = organism("bypass")
    clean = runs(reasoner, pairs[:5], "clean")
    with pytest.raises(SampleError, match="every one must have latents"):
        similarity_runs([*clean, reasoner.run(pairs[0].clean, imagine=False)])
    with pytest.raises(SampleError, match="every one must have latents"):
        similarity_runs([])
    with pytest.raises(SampleError, match=r"5 runs and placebos of \[4\]"):
        similarity_runs(clean, placebos=[clean[:4]])


def test_a_push_of_the_first_latent_is_followed_along_the_slots(organism, pairs):
    """Against a plain closed-loop replay."""
    reasoner = organism("natural")
    clean = runs(reasoner, pairs[:6], "clean")
    rows = similarity_runs(clean, nudge=0.1, n_permutations=5, seed=4).rows
    found = rows[(rows["measure"] == "contraction") & (rows["population"] == "latents")]
    trace = clean[0]
    first = trace.fed_latents[:1]
    push = torch.randn(first.shape, generator=torch.Generator().manual_seed(4))
    edit = Edit(
        "hook_embed",
        trace.latent_positions[:1],
        first + 0.1 * first.norm() * push / push.norm(),
    )
    (run,) = reasoner.replay(trace, [[edit]], mode="closed_loop")
    change = (run.fed_latents - trace.fed_latents).norm(dim=1)
    assert change[0] == pytest.approx(0.1 * float(first.norm()), rel=1e-4)
    assert found["slot"].nunique() >= 3
    assert found["value"].gt(0).all()
    without = similarity_runs(clean, n_permutations=5).rows
    assert "contraction" not in set(without["measure"])
