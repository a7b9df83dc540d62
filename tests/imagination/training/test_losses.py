"""Losses equal their formulas, written out."""

import math

import pytest
import torch

from mindseye.errors import ModelError
from mindseye.imagination.training.losses import alignment_loss, pooled_slots, token_weights


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


@pytest.fixture
def pair():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, generator=draw), torch.randn(2, 3, 5, generator=draw)


def test_alignment_over_features_holds_each_slot_against_its_target(pair):
    student, teacher = (tensor.tolist() for tensor in pair)
    by_hand = [
        sum(1 - cosine(student[layer][k], teacher[layer][k]) for k in range(3)) / 3
        for layer in range(2)
    ]
    torch.testing.assert_close(alignment_loss(*pair), torch.tensor(by_hand))


def test_alignment_over_slots_holds_each_feature_against_its_course(pair):
    student, teacher = (tensor.mT.tolist() for tensor in pair)
    by_hand = [
        sum(1 - cosine(student[layer][j], teacher[layer][j]) for j in range(5)) / 5
        for layer in range(2)
    ]
    torch.testing.assert_close(alignment_loss(*pair, axis="slots"), torch.tensor(by_hand))


def test_the_slot_axis_is_what_monets_code_computes(pair):
    shipped = 1 - torch.nn.functional.cosine_similarity(*pair)
    torch.testing.assert_close(alignment_loss(*pair, axis="slots").mean(), shipped.mean())


def test_over_slots_latents_of_other_content_can_be_perfectly_aligned(pair):
    _, teacher = pair
    scaled = teacher * torch.tensor([1.0, 9.0, 0.1, 5.0, 2.0])
    assert alignment_loss(scaled, teacher, "slots").max() < 1e-6
    assert alignment_loss(scaled, teacher, "features").min() > 0.01


def test_no_gradient_reaches_the_target(pair):
    student, teacher = (tensor.clone().requires_grad_() for tensor in pair)
    alignment_loss(student, teacher).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.usefixtures("unchecked_types")
def test_other_shapes_are_refused(pair):
    with pytest.raises(ModelError, match=r"latents of shape \(2, 3, 5\)"):
        alignment_loss(pair[0], pair[1][:, :2])


def test_pooling_averages_contiguous_groups_and_leaves_nothing_out():
    features = torch.arange(10.0)[:, None]
    assert pooled_slots(features, 3)[:, 0].tolist() == [1.5, 5.0, 8.0]
    with pytest.raises(ModelError, match="gives 10 features, fewer than 11"):
        pooled_slots(features, 11)


def test_weights_follow_parts():
    weights = token_weights(torch.tensor([[0, 1, 2]]), 0.25, 3.0)
    assert weights.tolist() == [[0.0, 0.25, 3.0]]
