"""Our decode loop against stock `generate`."""

from __future__ import annotations

import pytest
import torch

from mindseye.reasoners import Reasoner, wrap
from mindseye.reasoners.prompt import encode
from mindseye.samples import Sample

pytestmark = pytest.mark.model

N_NEW = 16


def generate(
    reasoner: Reasoner, samples: list[Sample], *, ban: bool = True, **options: object
) -> list[list[int]]:
    """Let the stock model generate greedily from our prompts."""
    prompt = encode(reasoner.processor, samples)
    out = reasoner.model.generate(
        input_ids=prompt.input_ids,
        attention_mask=prompt.attention_mask,
        mm_token_type_ids=prompt.features["mm_token_type_ids"],
        pixel_values=prompt.features["pixel_values"],
        image_grid_thw=prompt.features["image_grid_thw"],
        do_sample=False,
        max_new_tokens=N_NEW,
        suppress_tokens=[reasoner.tokens.start] if ban else None,
        **options,
    )
    return out[:, prompt.input_ids.shape[1] :].tolist()


def ours(reasoner: Reasoner, sample: Sample, *, imagine: bool = False) -> list[int]:
    trace = reasoner.run(sample, max_new_tokens=N_NEW, imagine=imagine)
    assert torch.equal(trace.token_ids, trace.sampled_ids) == (not trace.segments)
    return trace.token_ids.tolist()


def test_without_imagination_our_loop_says_what_stock_generate_says(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    assert {sample.kind for sample in samples} == {"zoom", "transform"}
    said = [ours(reasoner, sample) for sample in samples]
    assert said == [generate(reasoner, [sample])[0] for sample in samples]
    assert len({tuple(ids) for ids in said}) > 1


def test_if_the_start_marker_is_not_banned_the_two_part_ways(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    for sample in samples:
        stock = generate(reasoner, [sample], ban=False)[0]
        assert stock[0] == reasoner.tokens.start
        assert ours(reasoner, sample, imagine=False) != stock
        assert ours(reasoner, sample, imagine=True) != stock


def test_logits_agree_at_every_step(reasoner: Reasoner, samples: list[Sample]) -> None:
    prompt = encode(reasoner.processor, samples[:1])
    stock = reasoner.model.generate(
        input_ids=prompt.input_ids,
        attention_mask=prompt.attention_mask,
        mm_token_type_ids=prompt.features["mm_token_type_ids"],
        pixel_values=prompt.features["pixel_values"],
        image_grid_thw=prompt.features["image_grid_thw"],
        do_sample=False,
        max_new_tokens=N_NEW,
        suppress_tokens=[reasoner.tokens.start],
        output_logits=True,
        return_dict_in_generate=True,
    )
    trace = reasoner.run(samples[0], max_new_tokens=N_NEW, imagine=False)
    # Stock generate gives no mask to an unpadded batch, so its attention kernel may be another.
    torch.testing.assert_close(trace.logits, torch.cat(stock.logits), atol=1e-4, rtol=1e-4)


def test_prompts_padded_into_one_batch_say_what_they_say_alone(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    together = generate(reasoner, samples)
    assert together == [ours(reasoner, sample) for sample in samples]


def test_a_prompt_about_two_images_is_read_as_stock_generate_reads_it(
    reasoner: Reasoner, samples: list[Sample]
) -> None:
    scene = samples[0].image
    two = Sample(images=(scene, 255 - scene), question="Which digit changed?", answer="1")
    swapped = Sample(images=(255 - scene, scene), question="Which digit changed?", answer="1")
    assert ours(reasoner, two) == generate(reasoner, [two])[0]
    first, second = (
        reasoner.run(s, max_new_tokens=1, imagine=False).logits for s in (two, swapped)
    )
    assert not torch.allclose(first, second, atol=1e-2)


def test_both_loops_stop_at_the_same_end_of_sequence(
    reasoner: Reasoner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = ours(reasoner, samples[0])
    eos = next(token for token in free[2:] if token not in free[:2])
    monkeypatch.setattr(reasoner.model.generation_config, "eos_token_id", eos)
    stopping = wrap(reasoner.model, reasoner.processor, reasoner.protocol)
    cut = ours(stopping, samples[0])
    assert cut == free[: free.index(eos) + 1] == generate(reasoner, samples[:1])[0]
    assert len(cut) < len(free)
