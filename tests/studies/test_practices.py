"""Four single numbers, and what they are read as."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mindseye.engine import Contrast
from mindseye.organisms import DESIGNS
from mindseye.studies.practices import FOOLED_BY, practices, right

N_RUNS, N_SLOTS, WIDTH = 24, 2, 6


def found(noise=0.0, one=0.0):
    """As much of a mediation as practices look at."""
    lost = {"noise": noise, "shared": one}
    return SimpleNamespace(
        pinned=pd.DataFrame(
            {"level": level, "pin": pin, "outcome": outcome, "nec": value}
            for pin, lost_there in lost.items()
            for level, outcome, value in (
                ("embedding", "right", lost_there),
                ("embedding", "logit difference", 9.0),
                ("kv", "right", 9.0),
            )
        )
    )


def traces(offset=0.0, spells=False, seed=0):
    """Runs whose latents share an offset, and may spell out their answers."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(N_RUNS):
        latents = torch.randn(N_SLOTS, WIDTH, generator=draw) + offset
        if spells:
            latents[:, i % 2] += 6
        sample = SimpleNamespace(answer=str(i % 2))
        made.append(SimpleNamespace(fed_latents=latents, sample=sample))
    return made


@pytest.fixture(autouse=True)
def _duck(unchecked_types):
    """Runs and mediations here are made up."""


def test_the_cosine_is_the_mean_over_pairs_of_inputs_slot_by_slot():
    runs = traces(offset=1.0)
    fed = np.stack([run.fed_latents.numpy() for run in runs])
    wanted = [
        fed[i, s] @ fed[j, s] / np.linalg.norm(fed[i, s]) / np.linalg.norm(fed[j, s])
        for s in range(N_SLOTS)
        for i in range(N_RUNS)
        for j in range(N_RUNS)
        if i != j
    ]
    said = practices(found(), runs)["raw cosine"]
    assert said.value == pytest.approx(np.mean(wanted), abs=1e-5)
    assert said.active


def test_latents_that_share_a_large_vector_look_all_alike():
    said = practices(found(), traces(offset=30.0))["raw cosine"]
    assert said.value > 0.9
    assert not said.active


def test_latents_that_spell_out_the_answer_are_read():
    spelled, silent = (practices(found(), traces(spells=s))["probe"] for s in (True, False))
    assert spelled.active
    assert spelled.value > 0.9
    assert not silent.active


@pytest.mark.parametrize(
    ("lost", "active"), [(0.0, False), (0.05, False), (0.2, True), (-1, False)]
)
def test_ablations_are_points_of_accuracy_lost_at_embedding(lost, active):
    said = practices(found(noise=lost), traces())
    assert said["noise ablation"].value == pytest.approx(lost)
    assert said["noise ablation"].active == active
    assert said["shared tensor"].value == 0
    assert practices(found(one=lost), traces())["shared tensor"].active == active


def test_right_is_whether_the_clean_answer_is_the_most_likely():
    logits = torch.tensor([[3.0, 1, 2], [1, 3, 2]])
    assert right(logits, Contrast((), 0, 1)).tolist() == [1, 0]
    assert right(logits, Contrast((), 2, 1)).tolist() == [0, 0]


def test_every_practice_has_an_organism_made_to_mislead_it():
    assert list(FOOLED_BY) == list(practices(found(), traces()))
    assert set(FOOLED_BY.values()) <= set(DESIGNS)
