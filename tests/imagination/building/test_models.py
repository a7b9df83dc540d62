from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mindseye import Reasoner
from mindseye.errors import ModelError
from mindseye.imagination.building import Asker, LocalModel, Request, Settings, Unanswered, build
from mindseye.organisms.blank import blank_model, blank_processor
from mindseye.tasks.digits import Digits

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def blank() -> tuple[Any, Any]:
    """A random model that falls silent soon: half of its words end a reply."""
    processor = blank_processor()
    model = blank_model(processor, seed=0).eval()
    ids = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.eos_token_id = [ids, *range(0, len(processor.tokenizer), 2)]
    return model, processor


def test_a_digits_world_is_built_by_a_model_in_memory(
    tmp_path: Path, blank: tuple[Any, Any]
) -> None:
    local = LocalModel(*blank, "blank")
    samples = Digits().samples(3)
    settings = Settings(max_new_tokens=24, attempts=2, filtering=False)
    report = build(samples, tmp_path / "words", captioner=local, settings=settings)
    assert len(report.to_frame()) == 3
    assert report.n_kept > 0
    assert (report.to_frame()["tokens_in"] > 100).all()
    settings = Settings(max_new_tokens=24, attempts=1)
    judged = build(samples, tmp_path / "judged", captioner=local, judge=local, settings=settings)
    # A random judge speaks no JSON, and says so instead of letting anything pass.
    assert set(judged.to_frame()["outcome"]) == {"failed"}


def test_a_model_on_disk_says_the_same_every_time(tmp_path: Path, blank: tuple[Any, Any]) -> None:
    for part in blank:
        part.save_pretrained(tmp_path)
    loaded = LocalModel.load(tmp_path, device="cpu")
    sample = Digits().samples(1)[0]
    request = Request("What is here?", (sample.image, sample.helper), 6)
    first, second = loaded.ask(request), LocalModel(*blank, "blank").ask(request)
    assert (first.text, first.tokens_in) == (second.text, second.tokens_in)
    assert 0 < first.tokens_out <= 6
    assert isinstance(loaded, Asker)
    assert loaded.ask(Request("No picture.", (), 4)).tokens_in < first.tokens_in


def test_a_reasoner_lends_its_model(reasoner: Reasoner) -> None:
    sample = Digits().samples(1)[0]
    reply = LocalModel.of(reasoner).ask(Request("What?", (sample.image,), 3))
    assert reply.tokens_out == 3
    assert reply.finish == "length"


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as an image-text model"):
        LocalModel.load(tmp_path)


def test_a_text_model_shown_a_picture_gives_no_reply(blank: tuple[Any, Any]) -> None:
    model, processor = blank
    with pytest.raises(Unanswered, match="the model failed"):
        LocalModel(model, processor.tokenizer, "text").ask(
            Request("What?", (Digits().samples(1)[0].image,), 3)
        )
