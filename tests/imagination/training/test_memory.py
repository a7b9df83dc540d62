"""The memory plan counts what the stock classes hold, and divides what is sharded."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from mindseye.errors import ModelError
from mindseye.imagination.training.loading import adapter_config
from mindseye.imagination.training.memory import QWEN2_5_VL_7B as SHAPE
from mindseye.imagination.training.memory import memory_plan
from mindseye.imagination.training.recipe import PAPER

LORA = dataclasses.replace(PAPER, tuning="lora")


@pytest.fixture(scope="module")
def seven_billion():
    """The 7B model without any memory behind it."""
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 3584,
        },
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config)


def test_the_shape_counts_the_parameters_of_the_stock_model(seven_billion):
    vision = sum(p.numel() for p in seven_billion.model.visual.parameters())
    everything = sum(p.numel() for p in seven_billion.parameters())
    assert (SHAPE.vision, SHAPE.text) == (vision, everything - vision)
    assert everything == 8_292_166_656  # what the hub says of the checkpoint


@pytest.mark.parametrize("train_vision", [False, True])
def test_the_adapter_counts_what_peft_would_train(seven_billion, train_vision):
    recipe = dataclasses.replace(LORA, train_vision=train_vision)
    config = adapter_config(recipe)
    assert isinstance(config, LoraConfig)
    with torch.device("meta"):
        tuned = get_peft_model(seven_billion, config)
    trained, _ = tuned.get_nb_trainable_parameters()
    tuned.unload()
    assert memory_plan(recipe).trained == trained


def test_full_training_on_one_gpu_holds_eighteen_bytes_per_trained_parameter():
    plan = memory_plan(dataclasses.replace(PAPER, train_vision=True))
    assert plan.weights + plan.gradients + plan.optimiser == 18 * plan.trained


def test_zero2_divides_all_but_the_computed_weights_and_full_sharding_those_too():
    alone, zero2 = memory_plan(PAPER), memory_plan(PAPER, 8, sharding="zero2")
    computed = 2 * (SHAPE.text + SHAPE.vision)
    assert zero2.weights == computed + (alone.weights - computed) // 8
    assert zero2.optimiser == alone.optimiser // 8
    full = memory_plan(PAPER, 8, sharding="full_shard")
    assert full.weights == pytest.approx(alone.weights / 8 + 4 * SHAPE.block, rel=1e-9)
    assert full.activations == alone.activations


def test_checkpointing_and_lora_need_less():
    kept = dataclasses.replace(PAPER, gradient_checkpointing=False)
    assert memory_plan(PAPER).activations < memory_plan(kept).activations / 10
    assert memory_plan(LORA).total < memory_plan(PAPER).total / 4


def test_a_plan_without_a_length_is_refused():
    with pytest.raises(ModelError, match="no max_pixels"):
        memory_plan(dataclasses.replace(PAPER, max_pixels=None))
    with pytest.raises(ModelError, match="n_gpus=0"):
        memory_plan(PAPER, 0)
