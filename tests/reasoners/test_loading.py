from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from mindseye.errors import EditError, MindseyeError, ModelError, ProtocolError, UnknownNameError
from mindseye.organisms.blank import PROTOCOL
from mindseye.reasoners import Knockout, LatentProtocol, Reasoner, load
from mindseye.reasoners.manifest import MANIFEST, Manifest
from mindseye.samples import Sample

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
    wiring = (Knockout("post", "prefix"), Knockout("answer", "image"))
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


@pytest.mark.parametrize("make", [Path.mkdir, lambda p: p.write_text("hello")])
def test_an_empty_folder_or_a_file_is_no_model(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "thing"
    make(path)
    assert "is no model folder: it has no config.json" in str(refusal(path))


def test_a_folder_without_a_protocol_is_refused_unless_one_is_given(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    fault = refusal(copy)
    assert isinstance(fault, ProtocolError)
    assert "pass protocol=LatentProtocol(...)" in str(fault)
    assert load(copy, protocol=PROTOCOL, device="cpu").protocol == PROTOCOL


def test_a_hub_id_without_a_protocol_is_refused_before_anything_is_downloaded() -> None:
    assert isinstance(refusal("nobody/nothing"), ProtocolError)


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
    edit_weights(copy, lambda w: w.update({"lvr_head.weight": torch.zeros(2, 2)}))
    fault = refusal(copy)
    assert "unexpected keys" in str(fault)
    assert "lvr_head.weight" in str(fault)


def test_a_weight_of_another_shape_is_refused(copy: Path) -> None:
    edit_weights(copy, lambda w: w.update({"model.norm.weight": torch.ones(64)}))
    assert isinstance(refusal(copy), ModelError)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"model_type": 3}', "\udcff"])
def test_a_malformed_config_is_refused(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content, errors="surrogateescape")
    assert isinstance(refusal(copy), ModelError)


def test_an_architecture_that_has_no_row_is_refused_and_says_where_to_add_one(copy: Path) -> None:
    edit_json(copy / "config.json", lambda c: c.update(model_type="llama"))
    assert "Add a row to reasoners/architectures.py" in str(refusal(copy))


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
}


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
        {"start": 5},
        {"start": None},
        {"pad": []},
        {"end": {}},
        {"start": "<|not a token|>"},
        {"trigger": "sampled"},
    ],
)
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
