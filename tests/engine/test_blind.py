"""Runs whose image tokens are all the mean one."""

import pytest
import torch

import mindseye as me
from mindseye.errors import SampleError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def samples():
    return me.task("digits").samples(8, seed=3)


def test_a_model_that_sees_nothing_of_the_picture_guesses(organism, samples):
    rows = me.blind_runs(organism("mediator"), samples)
    assert rows["sample"].tolist() == [sample.id for sample in samples]
    assert (rows["answer"] == rows["gold"]).mean() > 0.8
    assert (rows["blind_answer"] == rows["gold"]).mean() < 0.5
    assert (rows["flipped"] == (rows["answer"] != rows["blind_answer"])).all()
    assert (rows["latents_moved"] > 0.1).all()


def test_it_is_the_run_that_embeds_every_image_token_as_the_mean(organism, samples):
    """Against a plain forward pass on embeddings written by hand."""
    ours = organism("mediator")
    traces = [ours.run(sample) for sample in samples]
    image_id = ours.model.config.image_token_id
    seen = torch.cat([t.embeds[: t.n_prompt][t.prompt_ids == image_id] for t in traces])
    first = traces[0]
    embeds = first.embeds[: first.n_prompt].clone()
    embeds[first.prompt_ids == image_id] = seen.mean(dim=0)
    said = ours.model(
        inputs_embeds=embeds[None],
        position_ids=first.position_ids[:, None, : first.n_prompt],
    ).logits[0, -1]
    rows = me.blind_runs(ours, samples)
    assert rows["blind_emitted"][0] == (int(said.argmax()) == ours.tokens.start)


def test_no_sample_and_one_without_a_picture_are_refused(organism):
    with pytest.raises(SampleError, match="got 0 samples"):
        me.blind_runs(organism("mediator"), [])
    blank = me.Sample((), "Which digit?", "1", id="words")
    with pytest.raises(SampleError, match=r"of which \['words'\] show no image"):
        me.blind_runs(organism("mediator"), [blank])
