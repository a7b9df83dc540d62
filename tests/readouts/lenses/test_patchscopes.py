"""A vector in the place of a word is what the word itself would have been."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError, EngineError, ModelError, SampleError
from mindseye.readouts.lenses import LATENT, Scope, lens, patchscope
from mindseye.reasoners import Reasoner, Trace

pytestmark = pytest.mark.model

CLOSE = {"atol": 1e-4, "rtol": 1e-4}  # float32 sums in another order
LAYERS = [LATENT, 0, 1, 2]
WIDE = Scope(n_tokens=3)


@pytest.fixture(scope="module")
def target(reasoner: Reasoner) -> Trace:
    return WIDE.run(reasoner)


def own_state(target: Trace, layer: int, place: int = -1) -> torch.Tensor:
    name = "hook_embed" if layer == LATENT else f"blocks.{layer}.hook_resid_post"
    state = target.reasoner.replay(target, record=[name]).activations[name]
    return state[0, : target.n_prompt][place][None].detach()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("place", [-1, 2])
def test_a_words_own_state_reproduces_the_plain_run(reasoner, target, layer, place):
    scope = replace(WIDE, position=place)
    logits, (said,) = patchscope(reasoner, own_state(target, layer, place), layer, scope, target)
    torch.testing.assert_close(logits[0], target.logits[0], **CLOSE)
    assert said == reasoner.read(target.token_ids.tolist())


def test_another_words_embedding_is_the_prompt_with_that_word(reasoner, target):
    other = int(target.prompt_ids[0])
    assert other != target.prompt_ids[-1]
    embedded = reasoner.embed(torch.tensor([other])).detach()
    logits, (said,) = patchscope(reasoner, embedded, LATENT, WIDE, target)
    ids = target.prompt_ids.clone()
    ids[-1] = other
    plain = reasoner.run({"input_ids": ids[None]}, max_new_tokens=3, imagine=False)
    torch.testing.assert_close(logits[0], plain.logits[0], **CLOSE)
    assert said == reasoner.read(plain.token_ids.tolist())
    assert (logits[0] - target.logits[0]).abs().max() > 1e-2


def test_a_state_put_into_another_layer_is_another_thing(reasoner, target):
    state = own_state(target, 0)
    logits, _ = patchscope(reasoner, state, 0, replace(WIDE, into=2), target)
    assert (logits[0] - target.logits[0]).abs().max() > 1e-2


def test_many_vectors_are_read_as_each_alone(reasoner, target):
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(19, target.embeds.shape[1], generator=draw)
    together, texts = patchscope(reasoner, vectors, 1, WIDE, target)
    assert len(texts) == 19
    for i in (0, 16, 18):
        alone, (said,) = patchscope(reasoner, vectors[i : i + 1], 1, WIDE, target)
        torch.testing.assert_close(together[i], alone[0], **CLOSE)
        assert texts[i] == said


def test_the_lens_puts_what_was_fed_where_the_model_reads_embeddings(reasoner, traces, target):
    frame = lens(reasoner, traces[:2], kind="patchscopes", top=2, scope=WIDE).to_frame()
    assert set(frame["layer"]) == {LATENT}
    logits, texts = patchscope(reasoner, traces[1].fed_latents, LATENT, WIDE, target)
    rows = frame.query("run == 1 and rank == 0")
    assert rows["token"].tolist() == logits.argmax(dim=-1).tolist()
    assert rows["context"].tolist() == list(texts)


@pytest.mark.parametrize(
    ("scope", "error", "said"),
    [
        (Scope(""), SampleError, "of 0 tokens"),
        (Scope(n_tokens=0), SampleError, "n_tokens=0"),
        (Scope(position=400), EditError, "position=400"),
        (Scope(into=9), EditError, "this model has 0 to 3"),
    ],
)
def test_a_scope_that_points_nowhere_is_refused(reasoner, scope, error, said):
    with pytest.raises(error, match=said):
        scope.run(reasoner)


def test_without_a_tokenizer_there_is_no_prompt(reasoner):
    with pytest.raises(ModelError, match="without a processor"):
        WIDE.run(replace(reasoner, processor=None))


def test_a_model_of_two_routes_cannot_be_asked(organism):
    ours = organism("dial")
    assert ours.blend is not None
    target = WIDE.run(ours)
    with pytest.raises(EngineError, match="two routes"):
        patchscope(ours, torch.zeros(1, target.embeds.shape[1]), LATENT, WIDE, target)
