"""From folders as the families publish them to reasoners that run; weights are tiny and random."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mindseye as me
from mindseye import plugins
from mindseye.errors import MindseyeError, ModelError, ProtocolError, UnknownNameError
from mindseye.organisms.blank import PROTOCOL
from mindseye.reasoners import LatentProtocol, Reasoner, Trace
from mindseye.reasoners.processor import without_video
from mindseye.reasoners.spans import SPANS
from tests.heads import Gated, Simple
from tests.tiny import EOS, IMAGE, PATCH, SEEING, WIDTH, tiny

pytestmark = pytest.mark.model

WEIGHTS = "model.safetensors"
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
QUESTION = "What is in the picture?"
PIXELS = np.random.default_rng(0).integers(0, 255, (4 * PATCH, 6 * PATCH, 3), dtype=np.uint8)

MONET = ["<abs_vis_token_pad>", "<abs_vis_token>", "</abs_vis_token>", "<observation>"]
LVR = ["<|lvr_start|>", "<|lvr|>", "<|lvr_latent_end|>", "<|lvr_end|>"]
MIRAGE = ["<|latent_pad|>", "<|latent_start|>", "<|latent_end|>"]
SKILA = ["<|skila|>", "<|sketch_start|>", "<|sketch_end|>"]
SWIMBIRD = ["<|latent|>", "<|latent_start|>", "<|latent_end|>"]
LASER = ["<|laser_start|>", "<|laser|>", "<|laser_end|>"]
COCONUT = ["<|start-latent|>", "<|end-latent|>", "<|latent|>"]
COVT = ["<|sam_pad|>", "<|dino_pad|>"]
LAVIT = ["<lvr1>", "<lvr2>", "<lvr3>", "<lvr4>"]


# Folders ------------------------------------------------------------------------------------------

_QWEN = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
_PLACES: dict[str, tuple[tuple[str, ...], str]] = {
    "llava_onevision": (("<image>", "<video>", "<x>", "<y>"), "<image>"),
    "internvl": (("<IMG_CONTEXT>", "<video>", "<img>", "</img>"), "<IMG_CONTEXT>\n"),
    "gemma3": (
        ("<image_soft_token>", "<v>", "<start_of_image>", "<end_of_image>"),
        "<start_of_image>",
    ),
}
"""Image placeholder, video placeholder, begin and end; and what a chat template writes."""

_NAMED: dict[str, dict[str, str]] = {
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    "gemma3": {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
}
"""Tokens that a stock processor asks its tokenizer for by attribute."""


def template(image: str) -> str:
    return (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{% if message.content is string %}{{ message.content }}{% else %}"
        "{% for part in message.content %}{% if part.type == 'image' %}" + image + "{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer_of(model_type: str, added: Sequence[str]) -> Any:
    """Build a tokenizer with the special ids of `tests.tiny`, and a family's tokens at its end."""
    places = _PLACES.get(model_type, (_QWEN, ""))[0]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *places]
    stock = transformers.GPT2Tokenizer if model_type == "gpt2" else transformers.Qwen2Tokenizer
    tokenizer: Any = stock(extra_special_tokens=special).train_new_from_iterator(
        [QUESTION], vocab_size=270, show_progress=False
    )
    tokenizer.add_special_tokens(
        {
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "extra_special_tokens": special,
        }
    )
    tokenizer.add_tokens(list(added), special_tokens=True)
    assert tokenizer.convert_tokens_to_ids([*special[1:4]]) == [1, EOS, IMAGE]
    return tokenizer


def processor_of(model_type: str, tokenizer: Any) -> Any:
    """Build the stock processor, less its video part, for patches as small as the tiny models'."""
    for name, token in _NAMED.get(model_type, {}).items():
        tokenizer._set_model_specific_special_tokens({name: token})
    _, image = _PLACES.get(model_type, (_QWEN, "<|vision_start|><|image_pad|><|vision_end|>"))
    options: dict[str, Any] = {"chat_template": template(image)}
    side = 2 * PATCH
    if model_type == "llava_onevision":
        grid = [[side, side], [side, 2 * side], [2 * side, side]]
        images: Any = transformers.LlavaOnevisionImageProcessorPil(
            size={"height": side, "width": side}, image_grid_pinpoints=grid
        )
        options |= {"num_image_tokens": 4, "vision_feature_select_strategy": "full"}
    elif model_type == "internvl":
        images = transformers.GotOcr2ImageProcessorPil(
            size={"height": 2 * side, "width": 2 * side}, max_patches=2, crop_to_patches=True
        )
        options["image_seq_length"] = 4
    elif model_type == "gemma3":
        images = transformers.Gemma3ImageProcessorPil(size={"height": 2 * side, "width": 2 * side})
        options["image_seq_length"] = 4
    else:
        images = transformers.Qwen2VLImageProcessorPil(
            patch_size=PATCH,
            merge_size=2,
            size={"shortest_edge": side * side, "longest_edge": 36 * side * side},
        )
    stock = transformers.PROCESSOR_MAPPING[type(tiny(model_type).model.config)]
    return without_video(stock)(images, tokenizer, **options)


def publish(
    folder: Path,
    model_type: str,
    added: Sequence[str] = (),
    *,
    config: Mapping[str, Any] | None = None,
    extras: Mapping[str, Tensor] | None = None,
    rows: int = 8,
) -> Any:
    """Save a checkpoint as a family would, and return its model.

    Args:
        folder: Where to.
        model_type: Its architecture.
        added: The family's tokens.
        config: Fields that the family adds to the config.
        extras: Tensors it saves beside the stock model.
        rows: Of the embedding matrix, beyond the tokenizer's ids.
    """
    tokenizer = tokenizer_of(model_type, added)
    model = tiny(model_type, vocab=len(tokenizer) + rows).model
    model.save_pretrained(folder)
    (processor_of(model_type, tokenizer) if model_type in SEEING else tokenizer).save_pretrained(
        folder
    )
    edit_config(folder, lambda c: c.update(config or {}))
    edit_weights(folder, lambda w: w.update(extras or {}))
    return model


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def in_the_old_format(folder: Path) -> None:
    """Name keys and lay the config out as transformers 4.51 did for Qwen2.5-VL."""

    def rename(weights: dict[str, Tensor]) -> None:
        for key in list(weights):
            old = re.sub(r"^model\.language_model\.", "model.", key)
            weights[re.sub(r"^model\.visual\.", "visual.", old)] = weights.pop(key)

    def flatten(config: dict[str, Any]) -> None:
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        del text["model_type"]
        config.update(
            text,
            rope_theta=rope["rope_theta"],
            rope_scaling={"type": "mrope", "mrope_section": rope["mrope_section"]},
            torch_dtype=config.pop("dtype"),
            transformers_version="4.51.3",
        )

    edit_weights(folder, rename)
    edit_config(folder, flatten)
    keys = load_file(folder / WEIGHTS).keys()
    assert any(key.startswith("visual.blocks.0.") for key in keys)
    assert any(key.startswith("model.layers.0.") for key in keys)
    assert not any("language_model" in key for key in keys)


def in_shards(folder: Path) -> None:
    """Spread the weights over two files and an index."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    places = {key: f"model-{i % 2}-of-2.safetensors" for i, key in enumerate(sorted(weights))}
    for file in set(places.values()):
        part = {key: weights[key] for key in weights if places[key] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def load(folder: Path, **options: Any) -> Reasoner:
    return me.load(folder, **({} if "device_map" in options else {"device": "cpu"}), **options)


def ask(reasoner: Reasoner, **options: Any) -> Trace:
    images = (PIXELS,) if hasattr(reasoner.processor, "image_processor") else ()
    return reasoner.run(me.Sample(images, QUESTION, "A"), **options)


def refusal(folder: Path, kind: type[MindseyeError], **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def assert_same_weights(reasoner: Reasoner, model: Any) -> None:
    ours, theirs = reasoner.model.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    for key, weight in theirs.items():
        assert torch.equal(ours[key], weight), key


# Families, by their tokens ------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """What a family publishes, and what must be made of it."""

    model_type: str
    added: list[str]
    preset: str
    markers: tuple[str | None, str | None, str | None]
    n_slots: int | None
    config: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "Monet": Family("qwen2_5_vl", MONET, "monet_vllm", (MONET[1], MONET[0], MONET[2]), 10),
    "LVR": Family("qwen2_5_vl", LVR, "lvr_steps", (LVR[0], LVR[1], LVR[3]), 8),
    "Mirage": Family("qwen2_5_vl", MIRAGE, "mirage", (MIRAGE[1], MIRAGE[0], MIRAGE[2]), 8),
    "a Qwen2-VL": Family("qwen2_vl", MIRAGE, "mirage", (MIRAGE[1], MIRAGE[0], MIRAGE[2]), 8),
    "SkiLa": Family(
        "qwen2_5_vl",
        SKILA,
        "skila",
        (SKILA[1], SKILA[0], SKILA[2]),
        10,
        {"sketch_token_num": 5},
    ),
    "SkiLa without its number": Family(
        "qwen2_5_vl", SKILA, "skila", (SKILA[1], SKILA[0], SKILA[2]), 54
    ),
    "SwimBird": Family(
        "qwen3_vl",
        SWIMBIRD,
        "swimbird",
        (SWIMBIRD[1], SWIMBIRD[0], SWIMBIRD[2]),
        12,
        {"max_latent_token": 6},
    ),
    "Laser": Family("qwen2_5_vl", LASER, "laser", (LASER[0], LASER[1], LASER[2]), 16),
    "Coconut": Family("gpt2", COCONUT, "coconut", (COCONUT[0], COCONUT[2], COCONUT[1]), 6),
    "Coconut on Llama": Family(
        "llama", COCONUT, "coconut", (COCONUT[0], COCONUT[2], COCONUT[1]), 6
    ),
}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


@every_family
def test_a_folder_is_recognised_by_its_tokens_and_their_ids_are_looked_up(
    tmp_path: Path, family: Family
) -> None:
    publish(tmp_path, family.model_type, family.added, config=family.config)
    reasoner = load(tmp_path)
    assert reasoner.protocol.name == family.preset
    assert reasoner.protocol.n_slots == family.n_slots
    ids = [marker and reasoner.tokenizer.convert_tokens_to_ids(marker) for marker in family.markers]
    assert [reasoner.tokens.start, reasoner.tokens.pad, reasoner.tokens.end] == ids
    assert reasoner.report is not None
    assert f"preset {family.preset}" in reasoner.report.recognised
    assert reasoner.report.missing == reasoner.report.unexpected == reasoner.report.extras == ()


@every_family
def test_the_same_tokens_in_another_order_are_looked_up_again(
    tmp_path: Path, family: Family
) -> None:
    publish(tmp_path, family.model_type, ["<more>", *reversed(family.added)], config=family.config)
    reasoner = load(tmp_path)
    assert reasoner.protocol.name == family.preset
    for marker, index in zip(
        family.markers,
        (reasoner.tokens.start, reasoner.tokens.pad, reasoner.tokens.end),
        strict=True,
    ):
        assert index is not None
        assert reasoner.read([index]) == marker


@every_family
def test_a_loaded_folder_runs_as_the_model_in_memory_does_under_plain_ids(
    tmp_path: Path, family: Family
) -> None:
    # In double precision, because each latent feeds the next and multiplies what was rounded off.
    model = publish(tmp_path, family.model_type, family.added, config=family.config).double()
    reasoner = load(tmp_path, dtype=torch.float64)
    trace = ask(reasoner, max_new_tokens=24, force_start=True)
    assert len(trace.latents) > 0
    assert set(trace.latent_positions.tolist()) >= set(trace.segments[0].slots)
    tokens = reasoner.tokens
    changes: dict[str, Any] = {"start": tokens.start, "pad": tokens.pad, "end": tokens.end}
    after = {"after_forced_end": tokens.after_forced_end} if tokens.after_forced_end else {}
    by_ids = me.protocol(family.preset, n_slots=family.n_slots, **changes, **after)
    prepared = {
        "input_ids": trace.prompt.input_ids,
        "attention_mask": trace.prompt.attention_mask,
        **trace.prompt.features,
    }
    again = me.wrap(model, protocol=by_ids, eos=EOS).run(
        prepared, max_new_tokens=24, force_start=True
    )
    assert again.token_ids.tolist() == trace.token_ids.tolist()
    torch.testing.assert_close(again.latents, trace.latents, atol=1e-6, rtol=1e-6)


def test_covt_is_recognised_by_the_experts_it_has(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", COVT)
    reasoner = load(tmp_path)
    assert reasoner.protocol.name == "covt"
    assert reasoner.protocol.pad == tuple(COVT)
    assert reasoner.tokens.slots == set(reasoner.tokenizer.convert_tokens_to_ids(COVT))
    assert len(ask(reasoner, max_new_tokens=6).token_ids) > 0


def test_lavit_is_recognised_by_its_numbered_tokens(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", LAVIT)
    reasoner = load(tmp_path)
    assert reasoner.protocol.name == "lavit"
    assert reasoner.tokens.slots == set(reasoner.tokenizer.convert_tokens_to_ids(LAVIT))
    assert len(ask(reasoner, max_new_tokens=6).token_ids) > 0


def test_a_token_that_is_a_latent_counts_as_one_when_the_model_says_it(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", LAVIT)
    said = int(ask(load(tmp_path, protocol="text"), max_new_tokens=1).token_ids[0])
    latent = LatentProtocol(
        pad=(said,), source="token_embedding", visible="sampled", segments="many"
    )
    trace = ask(load(tmp_path, protocol=latent), max_new_tokens=3)
    assert trace.segments[0].visible_ids[0] == said
    assert trace.segments[0].slots[0] == trace.n_prompt


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl", "gpt2", "llama"])
def test_a_folder_without_latents_answers_in_words_as_stock_generate_does(
    tmp_path: Path, model_type: str
) -> None:
    model = publish(tmp_path, model_type)
    reasoner = load(tmp_path, protocol="text")
    assert_same_weights(reasoner, model)
    trace = ask(reasoner, max_new_tokens=6)
    assert trace.token_ids.tolist() == generated(reasoner, trace)


def generated(reasoner: Reasoner, trace: Trace) -> list[int]:
    """What stock `generate` says to the prompt of a run, in as many tokens."""
    features = dict(trace.prompt.features)
    if not reasoner.architecture.grid_positions:
        features.pop("mm_token_type_ids", None)
    out = reasoner.model.generate(
        input_ids=trace.prompt.input_ids,
        attention_mask=trace.prompt.attention_mask,
        **features,
        do_sample=False,
        max_new_tokens=len(trace.token_ids),
    )
    return out[0, trace.n_prompt :].tolist()


@pytest.mark.parametrize("model_type", ["llava_onevision", "internvl", "gemma3"])
def test_other_families_that_see_load_with_their_stock_processors(
    tmp_path: Path, model_type: str
) -> None:
    model = publish(tmp_path, model_type)
    reasoner = load(tmp_path, protocol="text")
    assert_same_weights(reasoner, model)
    trace = ask(reasoner, max_new_tokens=6)
    assert trace.token_ids.tolist() == generated(reasoner, trace)
    spans = [SPANS[label] for label, _ in groupby(trace.prompt.labels[0].tolist())]
    assert spans[:3] == ["system", "image", "question"]
    image = trace.prompt.input_ids[0][trace.prompt.labels[0] == SPANS.index("image")]
    shown = trace.prompt.input_ids[0] == IMAGE
    assert (image == IMAGE).sum() == shown.sum() > 0


def test_smolvlm_without_the_packages_its_processor_needs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindseye.reasoners.processor.find_spec", lambda _name: None)
    model = tiny("smolvlm").model
    model.save_pretrained(tmp_path)
    tokenizer_of("smolvlm", ()).save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"processor_class": "SmolVLMProcessor"}')
    assert str(tmp_path) in refusal(tmp_path, ModelError, protocol="text")


# Old names, extra weights -------------------------------------------------------------------------

AS_LVR = {
    "architectures": ["QwenWithLVR"],
    "lvr_id": 271,
    "lvr_start_id": 270,
    "lvr_end_id": 273,
    "lvr_latent_end_id": 272,
    "loss_lvr_fct": "mse",
}
VECTOR = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))


HEADS = {"simple": lambda: Simple(WIDTH), "glu": lambda: Gated(WIDTH, 64)}
every_head = pytest.mark.parametrize("head", HEADS)


def head_of(kind: str) -> nn.Module:
    torch.manual_seed(6)
    return HEADS[kind]()


def head_tensors(kind: str) -> dict[str, Tensor]:
    return {f"lvr_head.{key}": tensor for key, tensor in head_of(kind).state_dict().items()}


@pytest.mark.parametrize("shards", [False, True])
@torch.no_grad()
def test_an_lvr_folder_in_the_old_format_loads_whole(tmp_path: Path, shards: bool) -> None:
    model = publish(tmp_path, "qwen2_5_vl", LVR, config={**AS_LVR, "lvr_head": False})
    in_the_old_format(tmp_path)
    if shards:
        in_shards(tmp_path)
    reasoner = load(tmp_path)
    assert type(reasoner.model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert_same_weights(reasoner, model)
    assert reasoner.protocol == me.protocol("lvr_steps")
    assert reasoner.modules == {}
    assert reasoner.report is not None
    assert reasoner.report.missing == reasoner.report.unexpected == ()
    assert reasoner.model.config.lvr_start_id == 270
    inputs = ask(reasoner, max_new_tokens=1).prompt
    given = {"input_ids": inputs.input_ids, **inputs.features}
    torch.testing.assert_close(
        reasoner.model(**given).logits, model(**given).logits, atol=1e-5, rtol=1e-5
    )


@every_head
@pytest.mark.parametrize("shards", [False, True])
@torch.no_grad()
def test_an_lvr_folder_with_a_head_brings_it_along(tmp_path: Path, head: str, shards: bool) -> None:
    config = {**AS_LVR, "lvr_head": True, "lvr_head_type": head}
    model = publish(tmp_path, "qwen2_5_vl", LVR, config=config, extras=head_tensors(head))
    in_the_old_format(tmp_path)
    if shards:
        in_shards(tmp_path)
    reasoner = load(tmp_path)
    assert_same_weights(reasoner, model)
    assert reasoner.protocol == me.protocol("lvr_steps", map="lvr_head", map_at="slots")
    assert reasoner.report is not None
    assert reasoner.report.extras == ("lvr_head",)
    module = reasoner.modules["lvr_head"]
    assert isinstance(module, nn.Module)
    states = torch.randn(5, WIDTH)
    torch.testing.assert_close(module(states), head_of(head)(states), atol=1e-6, rtol=1e-6)
    trace = ask(reasoner, max_new_tokens=14, force_start=True)
    torch.testing.assert_close(trace.fed_latents[0], trace.latents[0], **CLOSE)  # at the start id
    torch.testing.assert_close(trace.fed_latents[1:], head_of(head)(trace.latents[1:]), **CLOSE)
    assert len(trace.latents) == 8


def test_an_lvr_folder_with_an_end_vector_is_ended_by_it(tmp_path: Path) -> None:
    config = {**AS_LVR, "latent_end_token": True}
    extras = {"lvr_latent_end_emb": VECTOR}
    model = publish(tmp_path, "qwen2_5_vl", LVR, config=config, extras=extras)
    in_the_old_format(tmp_path)
    reasoner = load(tmp_path)
    assert_same_weights(reasoner, model)
    assert reasoner.protocol == me.protocol("lvr_vector")
    found = reasoner.modules["lvr_latent_end_emb"]
    assert isinstance(found, Tensor)
    assert torch.equal(found, VECTOR)
    latents = ask(reasoner, max_new_tokens=14, force_start=True).latents
    assert len(latents) == 8
    edit_weights(tmp_path, lambda w: w.update(lvr_latent_end_emb=latents[2].clone()))
    ended = ask(load(tmp_path), max_new_tokens=14, force_start=True).segments[0]
    assert ended.stop == "vector"
    assert len(ended.slots) == 3


@every_head
def test_an_lvr_folder_may_have_a_head_and_an_end_vector(tmp_path: Path, head: str) -> None:
    extras = {"lvr_latent_end_emb": VECTOR, **head_tensors(head)}
    publish(tmp_path, "qwen2_5_vl", LVR, config=AS_LVR, extras=extras)
    reasoner = load(tmp_path)
    assert reasoner.protocol == me.protocol("lvr_vector", map="lvr_head", map_at="slots")
    assert reasoner.modules.keys() == {"lvr_head", "lvr_latent_end_emb"}
    assert len(ask(reasoner, max_new_tokens=14, force_start=True).latents) == 8


def test_a_preset_asked_for_by_name_takes_what_the_checkpoint_says_of_itself(
    tmp_path: Path,
) -> None:
    publish(tmp_path / "a", "qwen2_5_vl", LVR, extras=head_tensors("simple"))
    assert load(tmp_path / "a", protocol="lvr_steps").protocol.map == "lvr_head"
    publish(tmp_path / "b", "qwen2_5_vl", SKILA, config={"sketch_token_num": 4})
    assert load(tmp_path / "b", protocol="skila").protocol.n_slots == 8
    publish(tmp_path / "c", "qwen2_5_vl", MIRAGE)
    assert load(tmp_path / "c", protocol="ilvr").protocol == me.protocol("ilvr")


def test_extra_weights_take_the_dtype_and_place_of_the_model(tmp_path: Path) -> None:
    extras = {"lvr_latent_end_emb": VECTOR, **head_tensors("glu")}
    publish(tmp_path, "qwen2_5_vl", LVR, config=AS_LVR, extras=extras)
    reasoner = load(tmp_path, dtype=torch.bfloat16)
    head, vector = (reasoner.modules[name] for name in ("lvr_head", "lvr_latent_end_emb"))
    assert isinstance(head, nn.Module)
    assert isinstance(vector, Tensor)
    assert {p.dtype for p in head.parameters()} == {vector.dtype} == {torch.bfloat16}
    assert ask(reasoner, max_new_tokens=4, force_start=True).latents.dtype == torch.bfloat16


# Options ------------------------------------------------------------------------------------------


def test_a_device_map_and_a_dtype_reach_the_stock_class(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR, extras=head_tensors("simple"))
    mapped = load(tmp_path, device_map="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in mapped.model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in mapped.model.parameters()} == {"cpu"}
    trace = ask(mapped, max_new_tokens=6, force_start=True)
    assert trace.latents.dtype == torch.bfloat16
    assert (
        trace.token_ids.tolist()
        == ask(
            load(tmp_path, dtype=torch.bfloat16), max_new_tokens=6, force_start=True
        ).token_ids.tolist()
    )


def test_an_option_of_the_stock_class_reaches_it(tmp_path: Path) -> None:
    publish(tmp_path, "llama")
    reasoner = load(tmp_path, protocol="text", attn_implementation="eager")
    assert reasoner.model.config._attn_implementation == "eager"


# Protocols from elsewhere -------------------------------------------------------------------------


@pytest.fixture
def forget_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))


@pytest.mark.usefixtures("forget_offers")
@pytest.mark.parametrize("made", [False, True], ids=["an object", "a function"])
def test_a_registered_protocol_is_known_by_its_name(tmp_path: Path, made: bool) -> None:
    publish(tmp_path, "llama", ["<s>", "<p>", "<e>"])
    mine = LatentProtocol("<s>", "<p>", "<e>", n_slots=2, name="mine")
    me.register("protocol", "mine")((lambda: mine) if made else mine)
    reasoner = load(tmp_path, protocol="mine")
    assert reasoner.protocol == mine
    assert reasoner.report is not None
    assert "mine" in reasoner.report.recognised
    assert len(ask(reasoner, max_new_tokens=6, force_start=True).latents) == 2


@pytest.mark.usefixtures("forget_offers")
def test_an_installed_protocol_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "qwen2_5_vl", MIRAGE)
    entry = EntryPoint("theirs", "mindseye.organisms.blank:PROTOCOL", "mindseye.protocol")

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [entry] if group == entry.group and name in (None, entry.name) else []

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    reasoner = load(tmp_path, protocol="theirs")
    assert reasoner.protocol == PROTOCOL
    assert len(ask(reasoner, max_new_tokens=8, force_start=True).latents) == 4


@pytest.mark.usefixtures("forget_offers")
def test_a_plug_in_that_offers_no_protocol_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "llama")
    me.register("protocol", "odd")(dict)
    assert "'odd'" in refusal(tmp_path, ProtocolError, protocol="odd")


def test_an_unknown_preset_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    publish(tmp_path, "llama")
    message = refusal(tmp_path, UnknownNameError, protocol="mirrage")
    assert "'mirrage'" in message
    for name in ("mirage", "lvr_steps", "codi", "text"):
        assert name in message


# Bad folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "token"),
    [
        ("mirage", "latent_"),
        ("lvr_steps", "lvr"),
        ("monet_vllm", "abs_vis_token"),
        ("covt", "_pad"),
    ],
)
def test_a_tokenizer_without_the_familys_tokens_is_refused_by_one_of_them(
    tmp_path: Path, preset: str, token: str
) -> None:
    publish(tmp_path, "qwen2_5_vl", ["<|something|>"])
    message = refusal(tmp_path, ProtocolError, protocol=preset)
    assert re.search(f"has no token '<[^']*{token}[^']*'", message)


def test_a_folder_that_says_nothing_of_latents_is_refused_with_the_presets(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", MIRAGE[:2])
    message = refusal(tmp_path, ProtocolError)
    assert "says nothing of latents" in message
    assert "swimbird" in message


def test_a_marker_that_splits_into_several_ids_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", [MIRAGE[0], MIRAGE[2]])
    path = tmp_path / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    known = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
    tokenizer["model"]["vocab"][MIRAGE[1]] = known
    path.write_text(json.dumps(tokenizer))
    message = refusal(tmp_path, ProtocolError, protocol="mirage")
    assert f"knows '{MIRAGE[1]}' as id {known} but splits it" in message


def test_a_marker_beyond_the_matrix_is_named_with_its_id(tmp_path: Path) -> None:
    model = publish(tmp_path, "qwen2_5_vl", MIRAGE, rows=-1)
    message = refusal(tmp_path, ProtocolError)
    rows = model.get_input_embeddings().num_embeddings
    assert f"Token '{MIRAGE[2]}' has id {rows}, but the embedding matrix has {rows} rows" in message


@pytest.mark.parametrize("old", [False, True])
def test_a_missing_tensor_of_the_stock_model_is_named(tmp_path: Path, old: bool) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR)
    if old:
        in_the_old_format(tmp_path)
    edit_weights(
        tmp_path,
        lambda w: w.pop(next(key for key in w if key.endswith("layers.1.mlp.up_proj.weight"))),
    )
    message = refusal(tmp_path, ModelError)
    assert "missing keys" in message
    assert "layers.1.mlp.up_proj.weight" in message


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR, extras={"latent_projection.weight": torch.ones(2, 2)})
    message = refusal(tmp_path, ModelError)
    assert "unexpected keys" in message
    assert "latent_projection.weight" in message


def test_an_unknown_tensor_beside_a_known_head_is_named_too(tmp_path: Path) -> None:
    extras = {**head_tensors("simple"), "moon.weight": torch.ones(2)}
    publish(tmp_path, "qwen2_5_vl", LVR, extras=extras)
    message = refusal(tmp_path, ModelError)
    assert "moon.weight" in message
    assert "lvr_head" not in message


@every_head
def test_a_head_that_lacks_a_tensor_is_refused_by_its_name(tmp_path: Path, head: str) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR, extras=head_tensors(head))
    key = list(head_tensors(head))[-1]
    edit_weights(tmp_path, lambda w: w.pop(key))
    assert f"has no tensor {key}" in refusal(tmp_path, ModelError)


@every_head
def test_a_head_with_a_tensor_of_another_shape_is_refused_by_its_name(
    tmp_path: Path, head: str
) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR, extras=head_tensors(head))
    key = list(head_tensors(head))[-1]
    edit_weights(tmp_path, lambda w: w.update({key: torch.ones(3)}))
    assert f"has {key} of shape (3,)" in refusal(tmp_path, ModelError)


def test_a_preset_that_takes_a_head_is_refused_where_there_is_none(tmp_path: Path) -> None:
    publish(tmp_path, "qwen2_5_vl", LVR)
    assert "'lvr_latent_end_emb'" in refusal(tmp_path, ProtocolError, protocol="lvr_vector")
    mapped = me.protocol("lvr_steps", map="lvr_head")
    assert "'lvr_head'" in refusal(tmp_path, ProtocolError, protocol=mapped)


def test_an_architecture_that_has_no_row_is_refused_by_name(tmp_path: Path) -> None:
    publish(tmp_path, "llama")
    edit_config(tmp_path, lambda c: c.update(model_type="mistral"))
    assert "'mistral'" in refusal(tmp_path, ModelError, protocol="text")


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    model = publish(tmp_path, "llama")
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert WEIGHTS in refusal(tmp_path, ModelError, protocol="text")
