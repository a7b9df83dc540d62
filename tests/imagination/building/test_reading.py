from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mindseye.errors import SampleError
from mindseye.imagination.building import Helper, Item, Words, item_of, read_items
from mindseye.imagination.building import files as files_module
from mindseye.imagination.building.layouts import FAULTS
from mindseye.imagination.building.pictures import data_uri
from mindseye.imagination.building.statements import split_answer
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.imagination.building.records import monet, monet_file, paint


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    paint(tmp_path, "a.png")
    paint(tmp_path, "b.png", 1)
    return tmp_path


def write(folder: Path, *found: object, name: str = "data.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in found))
    return file


def read(file: Path, **options: object) -> tuple[list[Item], list[tuple[str, str]]]:
    faults: list[tuple[str, str]] = []

    def tell(fault):
        assert fault.code in FAULTS
        assert fault.said
        faults.append((fault.place.removeprefix(str(file)), fault.code))

    return list(read_items(file, tell=tell, **options)), faults


def test_monets_layout_becomes_an_item(pictures: Path) -> None:
    items, faults = read(write(pictures, monet("7", "a.png", "b.png")))
    item = items[0]
    assert not faults
    assert (item.id, item.source, item.answer) == ("Visual_CoT/7", "Visual_CoT", "red")
    assert item.question == "What is in picture 7?"
    assert item.images == (pictures / "a.png",)
    look, helper, so = item.steps
    assert look == Words("I look closer.")
    assert isinstance(helper, Helper)
    assert (helper.image, helper.kind, helper.box) == (pictures / "b.png", "zoom", None)
    assert so == Words("So it is red.")


def test_openai_messages_become_an_item(pictures: Path) -> None:
    inline = data_uri(pictures / "a.png")
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": inline}},
                {"type": "text", "text": "Which?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Turning it."},
                {"type": "image", "image": "b.png", "bbox": [1, 2, 10.4, 99], "caption": "own"},
            ],
        },
    ]
    (item,), faults = read(write(pictures, {"id": 3, "messages": messages, "answer": "B"}))
    assert not faults
    assert (item.id, item.answer, item.steps[0]) == ("unknown/3", "B", Words("Turning it."))
    helper = item.helpers[0]
    assert (helper.box, helper.kind, helper.text) == ((1, 2, 10, 24), "zoom", "own")
    assert item.images[0].shape == (24, 32, 3)


def test_llavas_layout_becomes_an_item(pictures: Path) -> None:
    record = {
        "id": "x",
        "image": ["a.png", "b.png"],
        "conversations": [
            {"from": "human", "value": "<image>\nHow many?"},
            {"from": "gpt", "value": "I mark them: <image> There are 3. Answer: 3"},
        ],
    }
    (item,), faults = read(write(pictures, record))
    assert not faults
    assert (item.question, item.answer) == ("How many?", "3")
    assert item.images == (pictures / "a.png",)
    assert item.helpers[0].image == pictures / "b.png"
    assert item.helpers[0].kind == "manipulation"
    assert item.steps[-1] == Words("There are 3.")


def test_the_digits_world_becomes_items() -> None:
    zoom = Digits(kinds=("zoom",)).samples(1)[0]
    turn = Digits(kinds=("transform",)).samples(1)[0]
    close, turned = item_of(zoom).helpers[0], item_of(turn).helpers[0]
    assert (close.kind, close.box, close.text) == ("zoom", zoom.regions["target"], zoom.imagination)
    assert (turned.kind, turned.box) == ("manipulation", None)


def test_what_a_source_does_can_be_said_by_the_user(pictures: Path) -> None:
    file = write(pictures, monet("1", "a.png", "b.png"))
    (item,), _ = read(file, kinds={"visual": "manipulation"})
    assert item.helpers[0].kind == "manipulation"


def test_every_fault_is_counted_with_its_line_and_the_rest_is_read(pictures: Path) -> None:
    good = monet("good", "a.png", "b.png")
    no_helper = monet("1", "a.png", "b.png")
    del no_helper["data"][2]["content"][1]
    no_question = monet("2", "a.png", "b.png", question=" ")
    twice = {"messages": [{"role": r, "content": r} for r in ("user", "assistant", "user")]}
    boxed = monet("3", "a.png", "b.png")
    boxed["metadata"]["bbox"] = [9, 9, 1, 1]
    (pictures / "text.png").write_text("no picture")
    file = write(
        pictures,
        '{"data": [',
        {"something": "else"},
        no_question,
        twice,
        monet("4", "a.png", "b.png", last="So it is red."),
        no_helper,
        monet("5", "nowhere.png", "b.png"),
        monet("6", "a.png", "text.png"),
        monet("7", "https://example.org/a.png", "b.png"),
        boxed,
        good,
        good,
        "[1, 2]",
    )
    items, faults = read(file)
    assert [item.id for item in items] == ["Visual_CoT/good"]
    assert faults == [
        (":1", "broken record"),
        (":2", "unknown layout"),
        (":3", "no question"),
        (":4", "several questions"),
        (":5", "no answer"),
        (":6", "no helper image"),
        (":7", "missing image"),
        (":8", "missing image"),
        (":9", "missing image"),
        (":10", "wrong region"),
        (":12", "repeated id"),
        (":13", "broken record"),
    ]


def test_bytes_that_are_no_utf8_cost_their_line_only(pictures: Path) -> None:
    file = pictures / "data.jsonl"
    good = json.dumps(monet("1", "a.png", "b.png")).encode()
    file.write_bytes(b'{"id": "\xff"}\n' + good + b"\n" + b"\x00\x01\n" + b"[" * 100_000)
    items, faults = read(file)
    assert len(items) == 1
    assert faults == [(":1", "broken record"), (":3", "broken record"), (":4", "broken record")]


def test_a_fault_stops_the_reading_if_it_is_told_to(pictures: Path) -> None:
    file = write(pictures, monet("1", "a.png", "b.png"), "{")
    with pytest.raises(SampleError, match=r"data\.jsonl:2: broken record.*on_fault='skip'"):
        list(read_items(file, on_fault="stop"))


def test_samples_without_helper_or_answer_are_faults() -> None:
    whole = Digits().samples(1)[0]
    bare = Sample(whole.images, whole.question, whole.answer)
    mute = Sample(whole.images, whole.question, " ", helper=whole.helper, id="m")
    lost = Sample((Path("none.png"),), whole.question, "1", helper=whole.helper, id="l")
    codes: list[str] = []
    found = read_items([bare, mute, lost, whole], tell=lambda fault: codes.append(fault.code))
    assert [item.id for item in found] == [whole.id]
    assert codes == ["no helper image", "no answer", "missing image"]


def test_data_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="is no file or folder"):
        list(read_items(tmp_path / "none.jsonl"))
    with pytest.raises(SampleError, match=r"holds no \.jsonl"):
        list(read_items(tmp_path))


def test_a_folder_is_searched_and_images_may_lie_elsewhere(tmp_path: Path) -> None:
    monet_file(tmp_path / "one", 2)
    (tmp_path / "two").mkdir()
    write(tmp_path / "two", [monet("x", "0.png", "1.png")], name="train.json")
    found = list(read_items(tmp_path / "two", images=tmp_path / "one" / "images"))
    assert [item.id for item in found] == ["Visual_CoT/x"]
    assert len([item for item in read_items(tmp_path) if item]) == 2


def test_a_json_file_may_hold_one_record_or_lines(pictures: Path) -> None:
    one, two = monet("1", "a.png", "b.png"), monet("2", "a.png", "b.png")
    assert len(read(write(pictures, json.dumps(one, indent=2), name="one.json"))[0]) == 1
    items, faults = read(write(pictures, one, "{", two, name="lines.json"))
    assert len(items) == 2
    assert faults == [(":2", "broken record")]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_an_array_is_read_in_chunks_of_any_size(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [{"a": "é" * 30}, 12345, [], {"b": [1, {"c": None}]}, "x", 1.5e3, 7]
    file = tmp_path / "data.json"
    file.write_text(json.dumps(held, indent=1, ensure_ascii=False))
    monkeypatch.setattr(files_module, "_CHUNK", chunk)
    assert [record for _, record in files_module.records(file)] == held


def test_a_broken_array_loses_its_rest_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    for text in ('[{"a": 1}, {"b": ]', '[{"a": 1} {"b": 2}]', '[{"a": 1}', '[{"a": 1},'):
        file.write_text(text)
        (_, first), (place, broken) = files_module.records(file)
        assert first == {"a": 1}
        assert place.endswith("#1")
        assert "the rest of the file is lost" in broken.said


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() == text and "<" not in text and split_answer(text)[1] is None
)
chains = st.lists(texts | st.none(), min_size=1, max_size=6).filter(
    # Words that follow each other are one step in the marks of LLaVA.
    lambda steps: None in steps and all(a is None or b is None for a, b in pairwise(steps))
)


@given(
    layout=st.sampled_from(["data", "messages", "conversations"]),
    question=texts,
    chain=chains,
    answer=texts,
    array=st.booleans(),
)
@settings(max_examples=60)
def test_an_item_comes_back_from_every_layout(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    question: str,
    chain: list[str | None],
    answer: str,
    array: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "round"
    if not folder.is_dir():
        paint(folder, "a.png")
    picture = {"type": "image", "image": "a.png"}
    parts = [picture if text is None else {"type": "text", "text": text} for text in chain]
    asked = [picture, {"type": "text", "text": question}]
    roles = [{"role": "user", "content": asked}, {"role": "assistant", "content": parts}]
    record: dict[str, object] = {"id": "i", "answer": answer, layout: roles}
    if layout == "conversations":
        said = "".join("<image>" if text is None else text for text in chain)
        record["image"] = ["a.png"] * (1 + chain.count(None))
        record[layout] = [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": said},
        ]
    file = folder / ("data.json" if array else "data.jsonl")
    file.write_text(json.dumps([record] if array else record))
    (item,) = read_items(file, on_fault="stop")
    assert (item.question, item.answer, len(item.images)) == (question, answer, 1)
    steps = [None if isinstance(step, Helper) else step.text for step in item.steps]
    assert steps == chain


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "messages",
                    "conversations",
                    "role",
                    "content",
                    "type",
                    "image",
                    "text",
                    "image_url",
                    "url",
                    "from",
                    "value",
                    "metadata",
                    "bbox",
                    "answer",
                    "images",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(record=json_values)
@settings(max_examples=150)
def test_whatever_a_record_holds_it_is_an_item_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, record: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    file.write_text(json.dumps(record))
    items, faults = read(file)
    assert len(items) + len(faults) == 1


@pytest.mark.parametrize(
    ("said", "reasoning", "answer"),
    [
        (r"It is red. So \boxed{A}.", "It is red.", "A"),
        (r"\boxed{\text{two}}", "", "two"),
        ("First.\nThe final answer is: B", "First.", "B"),
        ("I see 3.5 of them. <answer>3.5</answer>", "I see 3.5 of them.", "3.5"),
        ("Nothing here.", "Nothing here.", None),
        (r"Cut off \boxed{A", r"Cut off \boxed{A", None),
    ],
)
def test_the_sentence_that_states_the_answer_is_left_out(
    said: str, reasoning: str, answer: str | None
) -> None:
    assert split_answer(said) == (reasoning, answer)


def test_half_a_character_becomes_a_sign_that_can_be_written(pictures: Path) -> None:
    record = monet("1", "a.png", "b.png", question="half \ud83d")
    (item,), _ = read(write(pictures, record))
    assert item.question == "half \ufffd"


def test_a_digest_tells_items_of_one_name_apart(pictures: Path) -> None:
    found = [
        next(read_items(write(pictures, monet("1", "a.png", "b.png", question=q)))).digest
        for q in ("One?", "Two?", "One?")
    ]
    assert found[0] == found[2] != found[1]


def test_a_record_cannot_name_a_file_that_is_no_picture(pictures: Path) -> None:
    (pictures / "secret.png").symlink_to("/etc/hostname")
    _, faults = read(write(pictures, monet("1", "a.png", "secret.png")))
    assert faults == [(":1", "missing image")]
    assert Image.open(pictures / "a.png").size == (32, 24)
