"""What the latents say: every readout of a study, on models whose truth is known."""

import numpy as np
import pytest

import mindseye as me
from mindseye.errors import SampleError, UnknownNameError
from mindseye.studies import read_latents

pytestmark = pytest.mark.model

ARMS = ("identity", "twin", "donor:answer=same", "removal")


def pairs(n=20):
    task = me.task("digits")
    return task.pairs(n), task.pairs(n, kind="placebo")


@pytest.fixture(scope="module")
def inert(organism):
    """Of the model whose latents spell the answer and which nothing reads."""
    return read_latents(organism("bypass"), *pairs(), verdict="negligible", replacements=ARMS)


def test_what_nothing_reads_is_decodable_and_inert(inert):
    rows = inert.probes.to_frame()
    pooled = rows[(rows["measure"] == "accuracy") & (rows["representation"] == "latents, pooled")]
    assert pooled["value"].max() > 0.8
    effects = inert.effects().set_index("arm")["mean"]
    assert effects[["identity", "twin"]].abs().max() < 1e-4
    shown = inert.lens.agreement().set_index("layer").loc[-1]
    assert shown["share"] > shown["others"] + 0.3


def test_arms_stand_in_the_order_they_were_asked_for_with_their_pairs(inert):
    effects = inert.effects()
    assert effects["arm"].tolist() == list(ARMS)
    assert effects.set_index("arm").loc["twin", "n"] == 20
    assert 0 < effects.set_index("arm").loc["donor:answer=same", "n"] <= 20
    assert effects.set_index("arm").loc["removal", "level"] == "structure"


def test_the_summary_is_plain_data(inert):
    import json

    said = json.loads(json.dumps(inert.summary(), allow_nan=False))
    assert said["degeneracy"] == "spread"
    assert said["n_runs"] == 20
    assert set(said["baseline_cosines"]) >= {"text", "image tokens"}
    assert len(said["replacements"]) == len(ARMS)


def test_a_soft_prompt_is_called_so_where_the_mediation_says_that_it_is_needed(organism):
    found = read_latents(
        organism("soft-prompt"), *pairs(12), verdict="soft prompt", replacements=["identity"]
    )
    assert found.degeneracy.word == "collapsed-but-functional"


def test_samples_without_a_region_have_no_attention_to_one(organism):
    from dataclasses import replace

    minimal, placebo = pairs(5)
    bare = [replace(p, clean=replace(p.clean, regions={})) for p in minimal]
    found = read_latents(organism("bypass"), bare, placebo, replacements=["zero"])
    assert found.attention is None
    assert found.probes is None or np.isfinite(found.probes.table().to_numpy()).all()


def test_an_unknown_replacement_and_too_few_runs_are_refused(organism):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        read_latents(organism("bypass"), *pairs(4), replacements=["zeros"])
    with pytest.raises(SampleError, match="run"):
        read_latents(organism("bypass"), *pairs(2))
