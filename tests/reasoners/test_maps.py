"""Heads, projections and end vectors, rebuilt from the tensors that other modules wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, Qwen2_5_VLConfig

from mindseye.errors import ModelError
from mindseye.reasoners.maps import Extras, load_extras, read_tensors
from tests.heads import Gated, Simple

WIDTH, INNER = 12, 20
STOCK = {"model.norm.weight": torch.ones(WIDTH), "model.embed.weight": torch.ones(3, WIDTH)}


def projection(norm: bool) -> nn.Module:
    """CODI's `prj`, with its norm at the end or without."""
    prj = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(WIDTH, INNER), nn.GELU(), nn.Linear(INNER, WIDTH)
    )
    if norm:
        prj.add_module("ln", nn.LayerNorm(WIDTH))
    return prj


FORMS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "simple": ("lvr_head", lambda: Simple(WIDTH)),
    "gated": ("lvr_head", lambda: Gated(WIDTH, INNER)),
    "projection": ("prj", lambda: projection(norm=True)),
    "projection without norm": ("prj", lambda: projection(norm=False)),
}
every_form = pytest.mark.parametrize("form", FORMS)


def drawn(form: str, act: nn.Module | None = None) -> nn.Module:
    """Build a map with random weights, biases and gains too."""
    module = Gated(WIDTH, INNER, act) if act else FORMS[form][1]()
    draw = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=draw)
    return module.eval()


def tensors(form: str, prefix: str = "") -> dict[str, Tensor]:
    """Return what a checkpoint holds of a map."""
    name = FORMS[form][0]
    return {f"{prefix}{name}.{key}": t for key, t in drawn(form).state_dict().items()}


def write(folder: Path, held: Mapping[str, Tensor], *, shards: int = 1, act: str = "silu") -> None:
    """Save a checkpoint's weights, in one file or in several with their index, and its config."""
    folder.mkdir(exist_ok=True)
    text = {"hidden_size": WIDTH, "num_attention_heads": 2, "hidden_act": act}
    Qwen2_5_VLConfig(text_config=text).save_pretrained(folder)
    held = {**STOCK, **held}
    if shards == 1:
        save_file(held, folder / "model.safetensors")
        return
    places = {key: f"model-{i % shards}.safetensors" for i, key in enumerate(sorted(held))}
    for file in set(places.values()):
        save_file({key: held[key] for key in held if places[key] == file}, folder / file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def loaded(folder: Path, held: Mapping[str, Tensor], **options: object) -> Extras:
    write(folder, held, **options)
    return load_extras(folder, held.keys())


def refusal(folder: Path, held: Mapping[str, Tensor], **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(folder, held, **options)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


@every_form
@pytest.mark.parametrize("prefix", ["", "model.", "codi.base_model."])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_map_rebuilt_from_its_tensors_is_the_map_that_wrote_them(
    tmp_path: Path, form: str, prefix: str, shards: int
) -> None:
    name = FORMS[form][0]
    extras = loaded(tmp_path, tensors(form, prefix), shards=shards)
    assert list(extras.modules) == [name]
    assert extras.leftover == ()
    states = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1))
    rebuilt = extras.modules[name]
    assert isinstance(rebuilt, nn.Module)
    torch.testing.assert_close(rebuilt(states), drawn(form)(states), atol=1e-6, rtol=1e-6)


@every_form
def test_a_rebuilt_map_is_ready_to_run_on_the_cpu_in_the_checkpoints_dtype(
    tmp_path: Path, form: str
) -> None:
    held = {key: tensor.bfloat16() for key, tensor in tensors(form).items()}
    (module,) = loaded(tmp_path, held).modules.values()
    assert isinstance(module, nn.Module)
    assert not any(part.training for part in module.modules())
    assert {(p.dtype, p.device.type) for p in module.parameters()} == {(torch.bfloat16, "cpu")}


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_end_vector_is_read_as_it_was_written(tmp_path: Path, prefix: str, shards: int) -> None:
    vector = torch.randn(WIDTH)
    extras = loaded(tmp_path, {f"{prefix}lvr_latent_end_emb": vector}, shards=shards)
    found = extras.modules["lvr_latent_end_emb"]
    assert isinstance(found, Tensor)
    assert torch.equal(found, vector)


def test_a_head_and_an_end_vector_come_together(tmp_path: Path) -> None:
    held = {**tensors("simple"), "lvr_latent_end_emb": torch.ones(WIDTH)}
    assert loaded(tmp_path, held).modules.keys() == {"lvr_head", "lvr_latent_end_emb"}


def test_keys_that_are_no_map_are_left_over_in_order(tmp_path: Path) -> None:
    write(tmp_path, tensors("simple"))
    strange = ("z.weight", "visual.proj.weight", "my_lvr_head.weight", "prj", "a.lvr_latent_end")
    extras = load_extras(tmp_path, {*strange, *tensors("simple")})
    assert extras.leftover == tuple(sorted(strange))
    assert extras.modules.keys() == {"lvr_head"}


def test_without_a_map_no_file_is_opened(tmp_path: Path) -> None:
    assert load_extras(tmp_path / "nowhere", ["z.weight"]) == Extras({}, ("z.weight",))


def test_a_key_that_the_stock_class_renamed_while_loading_is_found_under_its_old_name(
    tmp_path: Path,
) -> None:
    write(tmp_path, tensors("simple", "model."))
    said = [key.replace("model.", "model.language_model.") for key in tensors("simple", "model.")]
    module = load_extras(tmp_path, said).modules["lvr_head"]
    assert isinstance(module, nn.Module)
    states = torch.randn(4, WIDTH)
    torch.testing.assert_close(module(states), drawn("simple")(states), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("act", ["silu", "gelu", "relu"])
def test_a_gated_head_takes_the_activation_of_the_text_config(tmp_path: Path, act: str) -> None:
    module = loaded(tmp_path, tensors("gated"), act=act).modules["lvr_head"]
    assert isinstance(module, nn.Module)
    reference = drawn("gated", {"silu": nn.SiLU(), "gelu": nn.GELU(), "relu": nn.ReLU()}[act])
    states = torch.randn(4, WIDTH)
    torch.testing.assert_close(module(states), reference(states), atol=1e-6, rtol=1e-6)


def test_a_gated_head_takes_the_activation_of_a_config_that_is_flat(tmp_path: Path) -> None:
    write(tmp_path, tensors("gated"))
    LlamaConfig(hidden_size=WIDTH, num_attention_heads=2, hidden_act="relu").save_pretrained(
        tmp_path
    )
    module = load_extras(tmp_path, tensors("gated")).modules["lvr_head"]
    states = torch.randn(4, WIDTH)
    assert isinstance(module, nn.Module)
    torch.testing.assert_close(
        module(states), drawn("gated", nn.ReLU())(states), atol=1e-6, rtol=1e-6
    )


def test_an_activation_that_nobody_knows_is_named(tmp_path: Path) -> None:
    assert "softsquash" in refusal(tmp_path, tensors("gated"), act="softsquash")


def test_a_gated_head_without_a_config_is_refused(tmp_path: Path) -> None:
    write(tmp_path, tensors("gated"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"gated lvr_head.*hidden_act"):
        load_extras(tmp_path, tensors("gated"))


EACH_TENSOR = [(form, key) for form in FORMS for key in tensors(form)]


@pytest.mark.parametrize(("form", "key"), EACH_TENSOR)
def test_a_missing_tensor_is_named(tmp_path: Path, form: str, key: str) -> None:
    held = tensors(form)
    del held[key]
    assert f"has no tensor {key}, though" in refusal(tmp_path, held)


@pytest.mark.parametrize(("form", "key"), EACH_TENSOR)
def test_a_tensor_that_does_not_fit_the_others_is_refused_with_shapes(
    tmp_path: Path, form: str, key: str
) -> None:
    held = tensors(form)
    held[key] = torch.ones(*(n + 1 for n in held[key].shape))
    message = refusal(tmp_path, held)
    assert f"has {FORMS[form][0]}." in message
    assert "of shape (" in message
    if held[key].ndim == 1:  # a matrix may be what the others are held against
        assert f"has {key} of shape {tuple(held[key].shape)}" in message


@pytest.mark.parametrize(
    ("form", "key"),
    [
        ("simple", "lvr_head.mlp.0.weight"),
        ("gated", "lvr_head.gate_proj.weight"),
        ("projection", "prj.1.weight"),
    ],
)
def test_a_weight_that_is_no_matrix_is_named(tmp_path: Path, form: str, key: str) -> None:
    held = {**tensors(form), key: torch.ones(4)}
    assert f"has {key} of shape (4,); expected a matrix" in refusal(tmp_path, held)


@every_form
def test_a_tensor_too_many_is_named(tmp_path: Path, form: str) -> None:
    key = f"model.{FORMS[form][0]}.more.weight"
    message = refusal(tmp_path, {**tensors(form, "model."), key: torch.ones(2)})
    assert f"has a tensor {key}, which no known form" in message


def test_a_head_of_no_known_form_is_refused_by_what_it_has(tmp_path: Path) -> None:
    assert "lvr_head.weight" in refusal(tmp_path, {"lvr_head.weight": torch.ones(2, 2)})


def test_an_end_vector_with_more_than_one_axis_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"lvr_latent_end_emb": torch.ones(1, WIDTH)})
    assert f"lvr_latent_end_emb of shape (1, {WIDTH}); expected one axis" in message


def test_a_map_that_is_there_twice_is_refused_by_both_names(tmp_path: Path) -> None:
    message = refusal(tmp_path, {**tensors("simple"), **tensors("simple", "model.")})
    assert "lvr_head.ln_q.bias" in message
    assert "model.lvr_head.ln_q.bias" in message


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_pickles_are_refused_by_name_and_never_opened(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"lvr_head.weight": Trap(sprung)}, tmp_path / "pytorch_model.bin")
    for read in (lambda: load_extras(tmp_path, tensors("simple")), lambda: read_tensors(tmp_path)):
        with pytest.raises(ModelError, match=r"holds only pytorch_model\.bin.*safetensors"):
            read()
    assert not sprung.exists()


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        load_extras(tmp_path, tensors("simple"))


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 64])
def test_a_corrupt_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors' cannot be read"):
        load_extras(tmp_path, tensors("simple"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": null}'])
def test_a_broken_index_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json' is no index of shards"):
        load_extras(tmp_path, tensors("simple"))


def test_a_shard_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, tensors("simple"), shards=3)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-1\.safetensors' cannot be read"):
        load_extras(tmp_path, tensors("simple"))


def test_a_shard_without_what_the_index_promises_is_refused_by_both_names(tmp_path: Path) -> None:
    write(tmp_path, tensors("simple"), shards=3)
    for shard in tmp_path.glob("model-*.safetensors"):
        save_file(STOCK, shard)
    with pytest.raises(ModelError, match=r"model-\d\.safetensors' has no tensor lvr_head\."):
        load_extras(tmp_path, tensors("simple"))


def test_a_single_file_goes_before_an_index_as_it_does_for_the_stock_class(tmp_path: Path) -> None:
    write(tmp_path, {}, shards=3)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert read_tensors(tmp_path).keys() == {"a"}


@pytest.mark.parametrize("shards", [1, 3])
def test_tensors_are_read_by_name_or_all_at_once(tmp_path: Path, shards: int) -> None:
    write(tmp_path, tensors("simple"), shards=shards)
    everything = {**STOCK, **tensors("simple")}
    assert read_tensors(tmp_path).keys() == everything.keys()
    some = ["lvr_head.ln_q.bias", "model.norm.weight"]
    assert {key: t.tolist() for key, t in read_tensors(tmp_path, some).items()} == {
        key: everything[key].tolist() for key in some
    }
    assert read_tensors(tmp_path, []) == {}


def test_a_tensor_that_is_in_no_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {})
    with pytest.raises(ModelError, match=r"has no tensor moon\.weight; expected it among the 2"):
        read_tensors(tmp_path, ["moon.weight"])
