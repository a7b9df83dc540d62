from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from mindseye import plugins
from mindseye.errors import EditError, MindseyeError, ModelError, ProtocolError, UnknownNameError
from mindseye.organisms.blank import PROTOCOL
from mindseye.reasoners import Knockout, LatentProtocol, Reasoner, load, protocol, wrap
from mindseye.reasoners.manifest import MANIFEST, Manifest
from mindseye.samples import Sample
from tests.models import MEDIATOR

pytestmark = pytest.mark.model

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint to break."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refusal(source: str | Path, **options: object) -> MindseyeError:
    """Load what cannot be loaded and return the one-line error."""
    with pytest.raises(MindseyeError) as caught:
        load(source, device="cpu", **options)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return caught.value


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def test_a_saved_folder_loads_with_its_protocol_wiring_and_weights(folder: Path) -> None:
    reasoner = load(folder, device="cpu")
    assert reasoner.name == str(folder)
    assert reasoner.protocol == PROTOCOL
    assert reasoner.wiring == ()
    assert not reasoner.model.training
    stored = load_file(folder / WEIGHTS)
    marker = stored["model.embed_tokens.weight"][reasoner.tokens.start]
    assert torch.equal(reasoner.model.get_input_embeddings().weight[reasoner.tokens.start], marker)


def test_a_folder_given_as_text_loads_as_one_given_as_a_path(folder: Path) -> None:
    assert load(str(folder), device="cpu").protocol == load(folder, device="cpu").protocol


def test_wiring_survives_the_folder(copy: Path) -> None:
    wiring = (
        Knockout("post", "prefix"),
        Knockout("answer", "image"),
        Knockout("answer", "image", (1, 2)),
    )
    Manifest(PROTOCOL, wiring).save(copy)
    assert load(copy, device="cpu").wiring == wiring
    assert Manifest.load(copy) == Manifest(PROTOCOL, wiring) != Manifest(PROTOCOL)


def test_a_protocol_given_in_python_goes_before_the_folders(folder: Path) -> None:
    longer = LatentProtocol(PROTOCOL.start, PROTOCOL.pad, PROTOCOL.end, n_slots=7)
    assert load(folder, protocol=longer, device="cpu").protocol == longer


def test_plain_transformers_loads_the_folder_with_no_weight_missing(folder: Path) -> None:
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values())
    ours = load(folder, device="cpu").model.state_dict()
    theirs = model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_weights_saved_in_half_precision_load_in_float32_and_run(
    copy: Path, samples: list[Sample]
) -> None:
    edit_weights(copy, lambda w: w.update({key: value.half() for key, value in w.items()}))
    edit_json(copy / "config.json", lambda c: c.update(dtype="float16"))
    reasoner = load(copy, device="cpu")
    assert {p.dtype for p in reasoner.model.parameters()} == {torch.float32}
    trace = reasoner.run(samples[0], max_new_tokens=8)
    assert trace.emitted
    assert trace.logits.dtype == torch.float32
    torch.testing.assert_close(reasoner.replay(trace).logits[0], trace.logits, atol=1e-5, rtol=1e-5)


def test_another_dtype_is_obeyed_when_asked_for(folder: Path, samples: list[Sample]) -> None:
    reasoner = load(folder, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in reasoner.model.parameters()} == {torch.bfloat16}
    assert reasoner.run(samples[0], max_new_tokens=8).embeds.dtype == torch.bfloat16


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    fault = refusal(tmp_path / "nowhere")
    assert isinstance(fault, ModelError)
    assert "neither a folder nor a hub id" in str(fault)


@pytest.mark.parametrize("name", ["", "nowhere", "a/b/c", "~/model", "./model", "organism:"])
def test_a_name_that_can_be_nothing_is_refused_without_asking_the_network(name: str) -> None:
    refusal(name)


def test_an_unknown_organism_is_refused_with_those_there_are() -> None:
    fault = refusal("organism:unicorn")
    assert isinstance(fault, UnknownNameError)
    assert "mediator" in str(fault)


def test_a_loader_gives_a_folder_and_finishes_what_is_loaded_from_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cloud(name: str) -> tuple[Path, Callable[[Reasoner], Reasoner]]:
        asked.append(name)
        return folder, lambda reasoner: dataclasses.replace(reasoner, wiring=MEDIATOR)

    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))
    plugins.register("loader", "cloud")(cloud)
    found = load("cloud:team/model:v2", device="cpu", dtype=torch.float64)
    assert asked == ["team/model:v2"]
    assert found.name == "cloud:team/model:v2"
    assert found.protocol == PROTOCOL
    assert found.wiring == MEDIATOR
    assert found.model.dtype == torch.float64


def test_a_folder_has_nothing_to_finish(folder: Path) -> None:
    found = load(folder, device="cpu")
    assert found.wiring == ()
    assert found.blend is None


@pytest.mark.parametrize("make", [Path.mkdir, lambda p: p.write_text("hello")])
def test_an_empty_folder_or_a_file_is_no_model(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "thing"
    make(path)
    assert "is no model folder: it has no config.json" in str(refusal(path))


STRANGE = LatentProtocol("<|strange_start|>", "<|strange_pad|>", "<|strange_end|>", n_slots=4)


def make_strange(folder: Path) -> None:
    """Give a checkpoint's markers names that no family uses; their ids stay."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / file).read_text()
        assert "<|latent_" in text
        (folder / file).write_text(text.replace("<|latent_", "<|strange_"))


def test_a_folder_without_a_protocol_is_refused_unless_one_is_given(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    make_strange(copy)
    fault = refusal(copy)
    assert isinstance(fault, ProtocolError)
    assert "no known family's tokens; presets are" in str(fault)
    assert "mirage" in str(fault)
    assert "or a LatentProtocol(...)" in str(fault)
    given = load(copy, protocol=STRANGE, device="cpu")
    assert given.protocol == STRANGE
    assert given.report.recognised == "given"


def test_a_model_of_strange_tokens_is_wrapped_only_with_a_protocol(copy: Path) -> None:
    make_strange(copy)
    loaded = load(copy, protocol=STRANGE, device="cpu")
    with pytest.raises(ProtocolError, match="no known family's tokens"):
        wrap(loaded.model, loaded.processor)
    with pytest.raises(ProtocolError, match="no known family's tokens"):
        wrap(loaded.model)
    assert wrap(loaded.model, loaded.processor, STRANGE).tokens == loaded.tokens


def test_a_folder_without_a_manifest_is_recognised_by_its_tokens(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    told = load(copy, device="cpu")
    assert told.protocol == protocol("mirage") != PROTOCOL
    assert "preset mirage, by '<|latent_start|>', '<|latent_pad|>'" in told.report.recognised
    assert "protocol='ilvr'" in told.report.recognised
    assert wrap(told.model, told.processor).protocol == told.protocol
    assert load(copy, protocol="ilvr", device="cpu").protocol == protocol("ilvr")
    assert load(copy, protocol=PROTOCOL, device="cpu").protocol == PROTOCOL


def test_a_manifest_that_says_there_is_no_protocol_is_believed(copy: Path) -> None:
    Manifest(None).save(copy)
    fault = refusal(copy)
    assert isinstance(fault, ProtocolError)
    assert f"{MANIFEST} has none" in str(fault)
    assert load(copy, protocol="mirage", device="cpu").protocol == protocol("mirage")


def test_a_manifest_goes_before_the_tokens_and_a_given_name_before_the_manifest(
    folder: Path,
) -> None:
    told = load(folder, device="cpu")
    assert told.protocol == PROTOCOL
    assert MANIFEST in told.report.recognised
    assert load(folder, protocol="mirage", device="cpu").protocol == protocol("mirage")


def test_a_preset_that_nobody_offers_is_refused_with_those_there_are(folder: Path) -> None:
    fault = refusal(folder, protocol="mirages")
    assert isinstance(fault, UnknownNameError)
    assert "mirage" in str(fault)


def test_a_preset_whose_tokens_the_checkpoint_lacks_is_refused_by_token(folder: Path) -> None:
    fault = refusal(folder, protocol="monet_vllm")
    assert isinstance(fault, ProtocolError)
    assert "no token '<abs_vis_token" in str(fault)


@pytest.mark.parametrize("name", ["lvr_vector", "codi"])
def test_a_preset_whose_weights_the_checkpoint_lacks_is_refused_by_name(
    copy: Path, name: str
) -> None:
    wanted = protocol(name, start=8, pad=7, end=9)
    fault = refusal(copy, protocol=wanted)
    assert isinstance(fault, ProtocolError)
    assert (wanted.map or "lvr_latent_end_emb") in str(fault)
    assert "no extra weights" in str(fault)


def test_a_layer_that_the_model_lacks_cannot_be_fed_back(folder: Path) -> None:
    last = dataclasses.replace(PROTOCOL, source="layer:3")
    assert load(folder, protocol=last, device="cpu").protocol == last
    fault = refusal(folder, protocol=dataclasses.replace(PROTOCOL, source="layer:4"))
    assert isinstance(fault, ProtocolError)
    assert "layers 0 to 3" in str(fault)


def test_a_run_ends_at_the_generation_configs_end_of_sequence_unless_told_otherwise(
    copy: Path,
) -> None:
    assert load(copy, device="cpu").eos == {2}
    edit_json(copy / "generation_config.json", lambda c: c.update(eos_token_id=[2, 5]))
    several = load(copy, device="cpu")
    assert several.eos == {2, 5}
    assert wrap(several.model, several.processor, PROTOCOL).eos == {2, 5}
    assert wrap(several.model, several.processor, PROTOCOL, eos=7).eos == {7}
    assert wrap(several.model, several.processor, PROTOCOL, eos=(7, 8)).eos == {7, 8}
    assert wrap(several.model, several.processor, PROTOCOL, eos=()).eos == set()


def test_a_hub_id_that_is_not_in_the_cache_is_refused_without_the_network() -> None:
    fault = refusal("nobody/nothing", local_files_only=True)
    assert isinstance(fault, ModelError)
    assert "nobody/nothing" in str(fault)


@pytest.mark.parametrize(
    "content",
    [b"", b"not safetensors at all", b"\x00" * 64, b"\xff" * 9],
    ids=["empty", "text", "zeros", "ones"],
)
def test_corrupt_weights_are_refused(copy: Path, content: bytes) -> None:
    (copy / WEIGHTS).write_bytes(content)
    assert isinstance(refusal(copy), ModelError)


def test_truncated_weights_are_refused(copy: Path) -> None:
    content = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(content[: len(content) // 2])
    assert isinstance(refusal(copy), ModelError)


def test_a_folder_without_weights_is_refused(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    assert isinstance(refusal(copy), ModelError)


def test_a_missing_weight_is_refused_by_name(copy: Path) -> None:
    edit_weights(copy, lambda w: w.pop("model.layers.2.mlp.up_proj.weight"))
    fault = refusal(copy)
    assert "missing keys" in str(fault)
    assert "layers.2.mlp.up_proj.weight" in str(fault)


def test_a_weight_too_many_is_refused_by_name(copy: Path) -> None:
    edit_weights(copy, lambda w: w.update({"stray_head.weight": torch.zeros(2, 2)}))
    fault = refusal(copy)
    assert "unexpected keys" in str(fault)
    assert "stray_head.weight" in str(fault)


def test_a_weight_too_many_is_refused_even_if_a_known_map_has_its_beginning(copy: Path) -> None:
    edit_weights(copy, lambda w: w.update({"lvr_head.weight": torch.zeros(2, 2)}))
    assert "lvr_head.weight" in str(refusal(copy))


def test_a_vector_beside_the_stock_weights_is_kept_and_named_in_the_report(copy: Path) -> None:
    vector = torch.arange(128.0)
    edit_weights(copy, lambda w: w.update({"lvr_latent_end_emb": vector}))
    found = load(copy, device="cpu")
    assert found.report.extras == ("lvr_latent_end_emb",)
    assert torch.equal(found.modules["lvr_latent_end_emb"], vector)
    assert found.protocol == PROTOCOL


def test_a_weight_of_another_shape_is_refused(copy: Path) -> None:
    edit_weights(copy, lambda w: w.update({"model.norm.weight": torch.ones(64)}))
    assert isinstance(refusal(copy), ModelError)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"model_type": 3}', "\udcff"])
def test_a_malformed_config_is_refused(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content, errors="surrogateescape")
    assert isinstance(refusal(copy), ModelError)


def test_an_architecture_that_has_no_row_is_refused_and_says_where_to_add_one(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "mamba"}')
    assert "Add a row to reasoners/architectures.py" in str(refusal(copy))


def test_an_architecture_that_transformers_does_not_know_is_refused_by_name(copy: Path) -> None:
    edit_json(copy / "config.json", lambda c: c.update(model_type="unicorn_vl"))
    fault = refusal(copy)
    assert isinstance(fault, ModelError)
    assert "unicorn_vl" in str(fault)


@pytest.mark.parametrize("part", ["tokenizer.json", "processor_config.json"])
@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_missing_or_broken_tokenizer_or_image_processor_is_refused(
    copy: Path, part: str, content: str | None
) -> None:
    if content is None:
        (copy / part).unlink()
    else:
        (copy / part).write_text(content)
    refusal(copy)


def test_a_folder_without_a_chat_template_is_refused(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    refusal(copy)


MANIFESTS = {
    "empty": "",
    "no json": "{",
    "not text": "\udcff\udcfe",
    "a list": "[]",
    "null": "null",
    "a number": "3",
    "no fields": "{}",
    "no wiring": '{"protocol": null}',
    "wiring is null": '{"protocol": null, "wiring": null}',
    "wiring is a number": '{"protocol": null, "wiring": 3}',
    "wiring is text": '{"protocol": null, "wiring": "post"}',
    "a knockout is text": '{"protocol": null, "wiring": ["post"]}',
    "a knockout lacks its source": '{"protocol": null, "wiring": [{"target": "post"}]}',
    "unknown span": '{"protocol": null, "wiring": [{"target": "post", "source": "moon"}]}',
    "the protocol is empty": '{"protocol": {}, "wiring": []}',
    "the protocol is false": '{"protocol": false, "wiring": []}',
    "the protocol is zero": '{"protocol": 0, "wiring": []}',
    "the protocol is an empty text": '{"protocol": "", "wiring": []}',
    "the protocol is a text": '{"protocol": "monet", "wiring": []}',
    "the protocol is a list": '{"protocol": [1], "wiring": []}',
    "a protocol's field is unknown": '{"protocol": {"source": "token_embedding", "stop": 3}, '
    '"wiring": []}',
}


def test_fields_that_a_manifests_protocol_leaves_out_have_their_defaults(copy: Path) -> None:
    edit_json(copy / MANIFEST, lambda m: m["protocol"].pop("n_slots"))
    edit_json(copy / MANIFEST, lambda m: m["protocol"].update(end_by_token=True))
    found = load(copy, device="cpu").protocol
    assert found == dataclasses.replace(PROTOCOL, n_slots=None, end_by_token=True)


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_malformed_manifest_is_refused(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content, errors="surrogateescape")
    refusal(copy)


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_malformed_manifest_is_refused_even_if_a_protocol_is_given(
    copy: Path, content: str
) -> None:
    """What the folder says of its wiring counts, so it must be readable as a whole."""
    (copy / MANIFEST).write_text(content, errors="surrogateescape")
    refusal(copy, protocol=PROTOCOL)


@pytest.mark.parametrize(
    "change",
    [
        {"n_slots": 0},
        {"n_slots": "4"},
        {"n_slots": 2.5},
        {"n_slots": None},
        {"n_slots": True},
        {"start": 3.5},
        {"start": True},
        {"start": None},
        {"start": 10**6},
        {"start": -(10**6)},
        {"pad": []},
        {"pad": [None]},
        {"pad": {}},
        {"end": {}},
        {"end": None},
        {"start": "<|not a token|>"},
        {"trigger": "now and then"},
        {"source": "layer:99"},
        {"source": 3},
        {"map": "lvr_head"},
        {"end_by_vector": {"name": "lvr_latent_end_emb"}},
        {"steps": 4},
    ],
    ids=str,
)
@pytest.mark.usefixtures("unchecked_types")
def test_a_manifest_with_a_bad_protocol_is_refused(copy: Path, change: dict[str, object]) -> None:
    edit_json(copy / MANIFEST, lambda m: m["protocol"].update(change))
    assert isinstance(refusal(copy), ProtocolError)


def test_an_unknown_span_in_a_wiring_is_named(copy: Path) -> None:
    edit_json(copy / MANIFEST, lambda m: m.update(wiring=[{"target": "post", "source": "moon"}]))
    fault = refusal(copy)
    assert isinstance(fault, EditError | ModelError)
    assert "moon" in str(fault)


def test_a_marker_whose_id_lies_beyond_the_matrix_is_refused(copy: Path, folder: Path) -> None:
    reasoner: Reasoner = load(folder, device="cpu")
    reasoner.processor.tokenizer.add_tokens(["<|beyond|>"], special_tokens=True)
    reasoner.processor.save_pretrained(copy)
    edit_json(copy / MANIFEST, lambda m: m["protocol"].update(start="<|beyond|>"))
    assert "but the embedding matrix has" in str(refusal(copy))
