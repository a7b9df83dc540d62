"""A patching sweep, against one replay per cell."""

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.engine import contrast
from mindseye.errors import EditError, SampleError
from mindseye.readouts import logit_difference
from mindseye.reasoners import Edit

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def mediator(organism):
    return organism("mediator")


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(3, seed=2)


def test_every_cell_equals_a_replay_of_its_own(mediator, pairs):
    pair = pairs[0]
    grid = me.sweep(mediator, [pair], hooks=("hook_resid_post",))
    parting = contrast(mediator, pair)
    clean, reference = (
        mediator.run(s).until_answer(parting.forced) for s in (pair.clean, pair.reference)
    )
    for row in grid.rows.to_dict("records"):
        name = f"blocks.{row['layer']}.hook_resid_post"
        spot = reference.spans["latents"][row["slot"]][None]
        edit = Edit(name, spot, clean.cache[name][0, spot])
        alone = mediator.replay(reference, [[edit]]).logits[0, -1]
        assert row["value"] == pytest.approx(logit_difference(alone, parting).item(), abs=1e-4)


def test_the_grid_has_one_row_per_pair_layer_and_slot(mediator, pairs):
    grid = me.sweep(mediator, pairs)
    assert len(grid.to_frame()) == 3 * 4 * 4
    assert len(grid.mean()) == 4 * 4


def test_patching_the_input_of_the_first_block_is_patching_the_embedding(mediator, pairs):
    pair = pairs[0]
    grid = me.sweep(mediator, [pair], layers=[0])
    parting = contrast(mediator, pair)
    clean, reference = (
        mediator.run(s).until_answer(parting.forced) for s in (pair.clean, pair.reference)
    )
    spot = reference.spans["latents"][2][None]
    edit = Edit("hook_embed", spot, clean.embeds[spot])
    alone = mediator.replay(reference, [[edit]]).logits[0, -1]
    assert grid.rows["value"][2] == pytest.approx(logit_difference(alone, parting).item(), abs=1e-4)


def test_noising_a_pair_is_denoising_it_swapped(mediator, pairs):
    pair = pairs[1]
    swapped = me.Pair(pair.reference, pair.clean)
    noised = me.sweep(mediator, [pair], direction="noising").rows
    denoised = me.sweep(mediator, [swapped]).rows
    np.testing.assert_allclose(noised["effect"], -denoised["effect"], atol=1e-4)


def test_the_last_blocks_output_at_a_slot_reaches_nothing(mediator, pairs):
    grid = me.sweep(mediator, pairs, layers=[3], hooks=("hook_resid_post",))
    assert grid.rows["effect"].abs().max() <= 1e-4


def test_some_earlier_site_does_reach_the_answer(mediator, pairs):
    """The twin of the test before."""
    assert me.sweep(mediator, pairs).rows["effect"].abs().max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": [9]}, "layers 0 to 3"),
        ({"hooks": ("hook_nothing",)}, "hook_resid_pre"),
        ({"at": "nowhere"}, "latents"),
    ],
)
def test_sites_that_do_not_exist_are_refused(mediator, pairs, arguments, words):
    with pytest.raises(EditError, match=words):
        me.sweep(mediator, pairs, **arguments)


@pytest.mark.usefixtures("unchecked_types")
def test_another_direction_is_refused(mediator, pairs):
    with pytest.raises(EditError, match="'denoising' and 'noising'"):
        me.sweep(mediator, pairs, direction="sideways")


def test_a_model_that_did_not_imagine_is_no_empty_grid(mediator, pairs, monkeypatch):
    run = type(mediator).run_batch
    monkeypatch.setattr(
        type(mediator), "run_batch", lambda self, s, **more: run(self, s, imagine=False, **more)
    )
    with pytest.raises(SampleError, match="emission rate"):
        me.sweep(mediator, pairs)


def test_equal_arguments_give_equal_grids(mediator, pairs):
    first, second = (me.sweep(mediator, pairs).rows for _ in range(2))
    assert torch.equal(torch.tensor(first["value"]), torch.tensor(second["value"]))
