"""The four cells, against running each counterfactual the plain way."""

import dataclasses
import importlib

import pytest
import torch

import mindseye as me
from mindseye.engine import LEVELS, contrast, crossed_cells
from mindseye.engine.levels import mediator_hooks
from mindseye.errors import EditError, SampleError
from mindseye.reasoners.spans import positions

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def natural(organism):
    return organism("natural")


@pytest.fixture(scope="module")
def pair():
    return me.task("digits").pairs(1, seed=5)[0]


@pytest.fixture(scope="module")
def runs(natural, pair):
    return natural.run(pair.clean).until_answer(), natural.run(pair.reference).until_answer()


@pytest.fixture(scope="module")
def cells(natural, runs):
    return crossed_cells(natural, *runs, LEVELS)


@torch.no_grad()
def test_the_embedding_cell_is_the_run_fed_with_the_other_latents(natural, runs, cells):
    """The plain way: no hooks, only another sequence of input embeddings."""
    clean, reference = runs
    embeds = reference.embeds.clone()
    embeds[reference.spans["latents"]] = clean.embeds[clean.spans["latents"]]
    plain = natural.replay(dataclasses.replace(reference, embeds=embeds)).logits[0, -1]
    torch.testing.assert_close(cells["embedding"].crossed[0, 1, 0], plain, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("level", "span"), [("kv", "latents"), ("span", "segment")])
def test_the_kv_cell_is_a_cache_spliced_by_hand(natural, runs, cells, level, span):
    """The plain way: prefill each run's own cache, splice rows, decode the end marker on top."""
    from transformers import DynamicCache

    from mindseye.reasoners.wiring import attention_bias

    decoder = natural.architecture.text_decoder(natural.model)
    _, reference = runs
    caches = []
    for run in runs:
        cache = DynamicCache(config=natural.model.config.get_text_config())
        n = len(run.labels)
        decoder(
            inputs_embeds=run.embeds[None],
            attention_mask=attention_bias(run.labels[None], n, (), run.embeds.dtype),
            position_ids=run.position_ids[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        caches.append(cache)
    donor, spliced = caches
    where = positions(reference.labels, span)
    for layer, given in zip(spliced.layers, donor.layers, strict=True):
        layer.keys[:, :, where] = given.keys[:, :, where]
        layer.values[:, :, where] = given.values[:, :, where]
    # At `span` the end marker reads its own spliced row, so its fresh row must not shadow it.
    if level == "kv":
        spliced.crop(-1)
        labels = reference.labels[None]
        bias = attention_bias(labels, 1, (), reference.embeds.dtype)
    else:
        labels = torch.cat([reference.labels, reference.labels[-1:]])[None]
        bias = attention_bias(labels, 1, (), reference.embeds.dtype)
        bias[..., -1] = torch.finfo(bias.dtype).min
    states = decoder(
        inputs_embeds=reference.embeds[None, -1:],
        attention_mask=bias,
        position_ids=reference.position_ids[:, None, -1:],
        past_key_values=spliced,
        use_cache=True,
    ).last_hidden_state
    plain = natural.model.lm_head(states)[0, -1]
    torch.testing.assert_close(cells[level].crossed[0, 1, 0], plain, atol=2e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_diagonal_is_what_each_run_said(runs, cells, level):
    clean, reference = runs
    torch.testing.assert_close(
        cells[level].crossed[1, 1, 0], clean.reasoner.run(clean.sample).logits[6], atol=2e-5, rtol=0
    )
    torch.testing.assert_close(
        cells[level].crossed[0, 0, 0], reference.reasoner.run(reference.sample).logits[6],
        atol=2e-5, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_own_latents_put_back_change_nothing(cells, level):
    diagonal = torch.stack([cells[level].crossed[0, 0], cells[level].crossed[1, 1]])
    assert diagonal.shape[:2] == (2, 1)
    torch.testing.assert_close(cells[level].unedited, diagonal, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_edits_that_are_kept_make_the_cells_off_the_diagonal(natural, runs, cells, level):
    """Given to a plain replay of the input they belong to."""
    for x, run in enumerate(runs[::-1]):
        plain = natural.replay(run, [cells[level].edits[x]]).logits[0, -1]
        torch.testing.assert_close(cells[level].crossed[x, 1 - x, 0], plain, atol=2e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_what_an_edit_wrote_stood_there_and_was_another_runs(runs, cells, level):
    assert cells[level].missed == 0
    assert cells[level].moved > 0.1
    if level == "embedding":
        clean, reference = runs
        assert cells[level].moved == (clean.fed_latents - reference.fed_latents).abs().max()


def test_an_edit_that_is_lost_is_missed_by_all_it_should_have_moved(natural, runs, monkeypatch):
    # The package has a function of the same name.
    engine = importlib.import_module("mindseye.engine.exact.compute")
    monkeypatch.setattr(engine, "write", lambda *_: None)
    lost = crossed_cells(natural, *runs, ("embedding",))["embedding"]
    assert lost.missed == pytest.approx(lost.moved, rel=1e-5)
    torch.testing.assert_close(lost.crossed[:, 0], lost.crossed[:, 1], atol=1e-5, rtol=0)


def test_several_positions_are_read_at_once(natural, pair, cells):
    """As along an answer: the token before the last one is where the answers part."""
    parting = contrast(natural, pair)
    longer = [natural.run(x).until_answer((parting.clean,)) for x in (pair.clean, pair.reference)]
    found = crossed_cells(natural, *longer, LEVELS, read=(-2, -1))
    for level in LEVELS:
        both = found[level]
        torch.testing.assert_close(
            both.crossed[:, :, 0], cells[level].crossed[:, :, 0], atol=2e-5, rtol=0
        )
        plain = natural.replay(longer[0]).logits[0, -2:]
        torch.testing.assert_close(both.unedited[1], plain, atol=2e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_others_latents_change_something(cells, level):
    """The twin of the identity test: the edit does fire."""
    moved = cells[level].crossed[0, 1] - cells[level].crossed[0, 0]
    assert moved.abs().max() > 1e-3


def test_equal_runs_give_equal_cells(natural, runs):
    clean, _ = runs
    both = crossed_cells(natural, clean, clean, ("kv",))["kv"]
    crossed = both.crossed
    assert both.moved == 0
    torch.testing.assert_close(crossed, crossed[0, 0].expand_as(crossed), atol=1e-5, rtol=0)


def test_runs_whose_segments_stand_elsewhere_are_refused(natural):
    zoom = me.task("digits", kinds=("zoom",)).samples(1)[0]
    turn = me.task("digits", kinds=("transform",)).samples(1)[0]
    with pytest.raises(EditError, match="segments at positions"):
        crossed_cells(natural, natural.run(zoom), natural.run(turn), ("kv",))


def test_an_unknown_level_is_refused_with_the_known_ones(natural):
    with pytest.raises(EditError, match="embedding, kv, span"):
        mediator_hooks(natural, "telepathy")


def test_answers_part_at_their_first_different_token(natural, pair):
    parting = contrast(natural, pair)
    encode = natural.processor.tokenizer.encode
    assert [parting.clean] == encode(pair.clean.answer)
    assert [parting.reference] == encode(pair.reference.answer)
    assert parting.forced == ()


def test_an_answer_that_begins_the_other_parts_from_it_at_the_end_of_turn(natural):
    scene = me.task("digits").samples(1)[0]
    short, long = (me.Sample(scene.images, scene.question, answer) for answer in ("7", "73"))
    parting = contrast(natural, me.Pair(short, long))
    tokenizer = natural.processor.tokenizer
    assert list(parting.forced) == tokenizer.encode("7")
    assert parting.clean == tokenizer.eos_token_id
    assert [parting.reference] == tokenizer.encode("3")


def test_answers_with_the_same_ids_are_refused(natural):
    scene = me.task("digits").samples(1)[0]
    one, other = (me.Sample(scene.images, scene.question, a) for a in ("e\u0301", "\u00e9"))
    with pytest.raises(SampleError, match="same token ids"):
        contrast(natural, me.Pair(one, other))
