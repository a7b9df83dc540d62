"""Latents that are moved keep the angles and lengths they should."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import find_replacement

pytestmark = pytest.mark.model


def cosine(one, other):
    return torch.cosine_similarity(one.double(), other.double(), dim=-1)


@pytest.mark.parametrize("toward", ["random", "donor", "twin"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_steer_adds_a_right_angle_of_the_length_it_was_told(given, scale, toward):
    own = given.latents.double()
    added = find_replacement(f"steer:scale={scale},toward={toward}")(given).double() - own
    torch.testing.assert_close(added.norm(dim=-1), scale * own.norm(dim=-1), rtol=1e-3, atol=1e-6)
    assert cosine(added, own).abs().max() < 1e-3


def test_steer_towards_itself_has_nowhere_to_go(given):
    same = replace(given, twin=given.trace)
    made = find_replacement("steer:toward=twin")(same)
    torch.testing.assert_close(made, given.latents, rtol=1e-3, atol=1e-4)


def test_slerp_goes_from_the_latent_to_the_other_one_along_the_sphere(given):
    own, other = given.latents, given.twin.fed_latents
    ends = [find_replacement(f"slerp:share={share},toward=twin")(given) for share in (0, 1)]
    torch.testing.assert_close(ends[0], own)
    torch.testing.assert_close(ends[1], other)
    half = find_replacement("slerp:share=0.5,toward=twin")(given)
    torch.testing.assert_close(cosine(half, own), cosine(half, other), rtol=1e-5, atol=1e-6)
    angles = [cosine(half, each).acos() for each in (own, other)]
    torch.testing.assert_close(sum(angles), cosine(own, other).acos(), rtol=1e-4, atol=1e-5)
    wanted = (own.norm(dim=-1) * other.norm(dim=-1)).sqrt()
    torch.testing.assert_close(half.norm(dim=-1), wanted)


def test_slerp_between_equal_directions_is_a_straight_line(given):
    made = find_replacement("slerp:toward=twin")(replace(given, twin=given.trace))
    torch.testing.assert_close(made, given.latents)


@pytest.mark.parametrize(
    ("asked", "message"), [("slerp:share=1.5", "0 to 1"), ("steer:scale=-1", "from 0 up")]
)
def test_a_way_that_is_none_is_refused(given, asked, message):
    with pytest.raises(EditError, match=message):
        find_replacement(asked)(given)


def test_a_twin_that_is_not_there_is_asked_for(given):
    with pytest.raises(SampleError, match="has no twin of 4 latents"):
        find_replacement("slerp:toward=twin")(replace(given, twin=None))
