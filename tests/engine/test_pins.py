"""What pins a mediator, against plain replays."""

import pytest
import torch

from mindseye.engine import LEVELS, find_arms, mediators_of, pinned
from mindseye.engine.levels import tail_start
from mindseye.errors import EditError
from mindseye.reasoners import Edit
from mindseye.reasoners.spans import positions
from tests.engine.branches_strategy import EXACT
from tests.engine.random_twins import VARIED, twins

pytestmark = pytest.mark.model

every_model = pytest.mark.parametrize("model_type", VARIED)


def fed(both, *names):
    return mediators_of(find_arms(names), both)[0]


def zero(both):
    return fed(both, "zero")["zero"]


def noise(both):
    return fed(both, "matched_noise")["matched_noise"]


def pins_of(both, arms, levels=LEVELS):
    vectors = mediators_of(find_arms(arms), both)[0]
    return pinned(both, vectors, levels, tail_start(both.clean, levels))


def refed(both, vectors, *hooks):
    """What the reference run holds when its slots are fed something else."""
    feeding = Edit("hook_embed", both.clean.latent_positions, vectors)
    return both.clean.reasoner.replay(both.reference, [[feeding]], record=hooks).activations


def test_zeros_are_zeros_and_noise_has_the_norm_of_what_it_replaces():
    both = twins("llama")
    own = both.clean.fed_latents
    assert zero(both).shape == own.shape
    assert not zero(both).any()
    drawn = noise(both)
    torch.testing.assert_close(drawn.norm(dim=-1), own.norm(dim=-1))
    assert not torch.cosine_similarity(drawn, own).abs().gt(0.6).any()


def test_noise_is_fixed_by_the_pair_and_differs_between_pairs():
    one, other = twins("llama"), twins("qwen2_5_vl")
    assert torch.equal(noise(one), noise(one))
    assert not torch.allclose(noise(one), noise(other))


@every_model
def test_at_embedding_a_pin_is_what_was_fed(model_type):
    both = twins(model_type)
    found = pins_of(both, {"zero": "zero", "noise": "matched_noise"}, ["embedding"])
    for name, arm in (("zero", zero), ("noise", noise)):
        (edit,) = found.edits["embedding", name]
        assert edit.hook == "hook_embed"
        assert torch.equal(edit.positions, both.clean.latent_positions)
        assert torch.equal(edit.value, arm(both))


@pytest.mark.parametrize("level", ["kv", "span", "residual:1"])
@every_model
def test_deeper_a_pin_is_what_the_reference_run_holds_when_it_is_fed(model_type, level):
    both = twins(model_type)
    found = pins_of(both, {"zero": "zero", "noise": "matched_noise"}, [level])
    span = "segment" if level == "span" else "latents"
    for name, arm in (("zero", zero), ("noise", noise)):
        edits = found.edits[level, name]
        left = refed(both, arm(both), *(edit.hook for edit in edits))
        assert len(edits) == (1 if level == "residual:1" else 6)
        for edit in edits:
            assert torch.equal(edit.positions, positions(both.reference.labels, span))
            torch.testing.assert_close(edit.value, left[edit.hook][0, edit.positions], **EXACT)


@every_model
def test_nothing_of_the_clean_image_remains_in_a_deeper_pin(model_type):
    """The same pin would come of any other clean run that was fed as many vectors."""
    both = twins(model_type)
    found = pins_of(both, ["zero"], ["kv"])
    turned = type(both)(both.pair, both.parting, both.said, both.reference, both.reference)
    for one, other in zip(
        found.edits["kv", "zero"], pins_of(turned, ["zero"], ["kv"]).edits["kv", "zero"],
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one.value, other.value, **EXACT)


@every_model
def test_what_fired_is_seen_in_the_first_layer(model_type):
    both = twins(model_type)
    found = pins_of(both, {"zero": "zero", "own": lambda twins: twins.reference.fed_latents})
    hook = "blocks.0.attn.hook_v"
    where = both.reference.latent_positions
    own = both.clean.reasoner.replay(both.reference, record=[hook]).activations[hook]
    shown = refed(both, zero(both), hook)[hook]
    wanted = (shown - own)[0, where].abs().max().item()
    assert found.fired["zero"] == pytest.approx(wanted, abs=1e-9)
    assert wanted > 1e-2
    assert found.fired["own"] <= 1e-9


def test_there_is_a_pin_for_every_level_and_arm_in_order():
    found = pins_of(twins("llama"), {"zero": "zero", "noise": "matched_noise"})
    assert list(found.edits) == [(level, name) for level in LEVELS for name in ("zero", "noise")]


def test_an_arm_of_another_shape_is_refused_by_name():
    with pytest.raises(EditError, match=r"'short' feeds vectors of shape \(2, 48\)"):
        pins_of(twins("llama"), {"short": lambda both: zero(both)[1:]})


def test_what_leaves_no_vectors_is_no_pin():
    with pytest.raises(EditError, match=r"'removal' changes how a run is made up.*battery"):
        pins_of(twins("llama"), ["removal"])
