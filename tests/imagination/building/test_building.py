from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from mindseye.errors import MindseyeError, ModelError, OutputError, SampleError
from mindseye.imagination.building import (
    BuildReport,
    Endpoint,
    Progress,
    Reply,
    Request,
    Settings,
    Unanswered,
    build,
)
from mindseye.tasks.digits import Digits
from tests.imagination.building.records import Fake, monet, monet_file, paint
from tests.imagination.building.serving import KEEP, say, serving


def good(request: Request) -> Reply:
    return Reply(say(request.text), tokens_in=10, tokens_out=4)


def kept(out: Path) -> list[dict[str, Any]]:
    return list(datasets.load_from_disk(str(out / "dataset")))


def run(data: object, out: Path, say: Any = good, **options: Any) -> tuple[BuildReport, Fake]:
    fake = Fake(say)
    return build(data, out, captioner=fake, judge=fake, **options), fake


def test_the_digits_world_is_built_by_an_endpoint(tmp_path: Path) -> None:
    samples = Digits().samples(6)
    with serving() as served:
        endpoint = Endpoint("m", served.url)
        report = build(samples, tmp_path, captioner=endpoint, judge=endpoint)
    assert report.n_kept == 6
    assert len(served.asked) == 18
    rows = kept(tmp_path)
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert row["answer"] == sample.answer
        assert row["imagination"] == f"Refined: {row['captions'][0]}"
        assert row["reason"] == "It fits."
        np.testing.assert_array_equal(np.asarray(row["images"][0]), sample.image)
    assert (
        report.to_frame()[["tokens_in", "tokens_out", "tries"]].values.tolist() == [[21, 9, 3]] * 6
    )
    assert {name: each.tokens_in for name, each in report.spent.items()} == {
        "rewrite": 42,
        "refine": 42,
        "judge": 42,
    }


def test_the_captioner_is_shown_what_each_kind_needs(tmp_path: Path) -> None:
    samples = [Digits(kinds=(kind,)).samples(1)[0] for kind in ("zoom", "transform")]
    _, fake = run(samples[:1], tmp_path / "zoom")
    rewrite, refine, judge = fake.asked
    framed, crop = rewrite.images
    assert "closely at one part" in rewrite.text
    assert samples[0].question in rewrite.text
    assert samples[0].answer not in rewrite.text.split("Write one")[0].replace(
        samples[0].question, ""
    )
    changed = (framed != samples[0].image).any(axis=2)
    left, top, right, bottom = samples[0].regions["target"]
    assert changed.any()
    assert not changed[top + 2 : bottom - 2, left + 2 : right - 2].any()
    np.testing.assert_array_equal(crop, samples[0].helper)
    assert refine.images == ()
    assert len(judge.images) == 1
    _, fake = run(samples[1:], tmp_path / "turn")
    assert "change the picture in their mind" in fake.asked[0].text
    np.testing.assert_array_equal(fake.asked[0].images[0], samples[1].image)


def test_words_before_a_helper_are_its_context(tmp_path: Path) -> None:
    paint(tmp_path, "a.png")
    record = monet("1", "a.png", "a.png")
    steps = record["data"][2]["content"]
    steps.insert(2, {"type": "image", "image": "a.png"})
    (tmp_path / "d.jsonl").write_text(json.dumps(record))
    captions = iter(["The first.", "The second.", "All of it.", KEEP])
    report, fake = run(tmp_path / "d.jsonl", tmp_path / "out", lambda r: Reply(next(captions)))
    assert "I look closer.\nThe first.\n" in fake.asked[1].text
    assert "The second" not in fake.asked[1].text
    assert "I look closer.\nThe first.\nThe second.\nSo it is red.\n" in fake.asked[2].text
    assert "All of it." in fake.asked[3].text
    assert kept(tmp_path / "out")[0]["captions"] == ["The first.", "The second."]
    assert report.n_kept == 1


def test_a_judges_reasons_are_kept_and_counted_per_source(tmp_path: Path) -> None:
    verdicts = ["keep", "contradiction", "ambiguous", "unanswerable"]

    def judge(request: Request) -> Reply:
        i = int(request.text.split("in picture ")[1][0])
        found = {"verdict": verdicts[i], "reason": f"Because {i}."}
        return Reply(f"<think>hm {{</think>```json\n{json.dumps(found)}\n```")

    file = monet_file(tmp_path, 4)
    report = build(file, tmp_path / "out", captioner=Fake(good), judge=Fake(judge, "judge"))
    assert [tuple(row) for row in report.counts.values.tolist()] == [
        ("ReFocus", "rejected", "contradiction", 1),
        ("ReFocus", "rejected", "unanswerable", 1),
        ("Visual_CoT", "kept", "keep", 1),
        ("Visual_CoT", "rejected", "ambiguous", 1),
    ]
    assert report.to_frame()["said"].tolist() == [f"Because {i}." for i in range(4)]
    table = pd.read_parquet(tmp_path / "out" / "items.parquet")
    pd.testing.assert_frame_equal(table, report.to_frame())
    as_parquet = pd.read_parquet(tmp_path / "out" / "dataset.parquet")
    assert as_parquet["id"].tolist() == ["Visual_CoT/0"]
    stored = {"0.png": as_parquet["images"][0][0], "0-helper.png": as_parquet["helper"][0]}
    for name, picture in stored.items():
        assert picture["bytes"] == (tmp_path / "images" / name).read_bytes()


def test_nonsense_and_refusals_are_asked_again_and_then_fail(tmp_path: Path) -> None:
    replies = {
        "nonsense": ["", "...", "\u2026!"],
        "refusal": ["I'm sorry, I can't.", "I cannot help.", "As an AI, no."],
        "cut": [Reply("A ver", "length")] * 3,
        "mended": ["", "I can\u2019t do that.", "A red sign."],
    }
    paint(tmp_path, "a.png")
    names = list(replies)
    lines = [json.dumps(monet(n, "a.png", "a.png", question=f"About {n}?")) for n in names]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))

    def reply(request: Request) -> Reply:
        if "closely at one part" not in request.text:
            return good(request)
        name = request.text.split("About ")[1].split("?")[0]
        said = replies[name].pop(0)
        return said if isinstance(said, Reply) else Reply(said, tokens_in=1)

    report, fake = run(tmp_path / "d.jsonl", tmp_path / "out", reply, settings=Settings(workers=1))
    assert report.to_frame()["outcome"].tolist() == ["failed", "failed", "failed", "kept"]
    assert report.to_frame()["reason"].tolist() == [
        "no word in the reply",
        "refusal",
        "cut off at the most tokens allowed",
        "keep",
    ]
    assert report.to_frame()["tries"].tolist() == [3, 3, 3, 5]
    assert report.to_frame()["said"][1] == "rewrite/0: As an AI, no."
    assert "could not be used: empty reply" in fake.asked[1].text
    assert not any(replies.values())


@pytest.mark.parametrize(
    "said",
    [
        "no",
        "{}",
        "[1]",
        '{"verdict": "maybe", "reason": "x"}',
        '{"verdict": "keep"}',
        '{"verdict": ["keep"], "reason": "x"}',
        '{"verdict": "keep", "reason": " "}',
    ],
)
def test_a_judge_that_says_something_else_fails_the_item(tmp_path: Path, said: str) -> None:
    report = build(
        Digits().samples(1), tmp_path, captioner=Fake(good), judge=Fake(lambda r: Reply(said))
    )
    assert report.n_kept == 0
    assert report.to_frame()["outcome"].tolist() == ["failed"]
    assert len(kept(tmp_path)) == 0


@pytest.mark.usefixtures("short_waits")
def test_one_item_that_times_out_fails_alone_and_may_be_retried(tmp_path: Path) -> None:
    file = monet_file(tmp_path, 3)
    slow = [True]

    def behave(text: str, n: int) -> str | float:
        return 0.5 if slow[0] and "picture 1" in text else say(text)

    with serving(behave) as served:
        endpoint = Endpoint("m", served.url, timeout=0.2, max_retries=1)

        def again(**options: Any) -> BuildReport:
            return build(file, tmp_path / "out", captioner=endpoint, judge=endpoint, **options)

        assert again().to_frame()["reason"].tolist() == ["keep", "timeout", "keep"]
        n_asked, slow[0] = len(served.asked), False
        assert again().to_frame()["reason"].tolist() == ["keep", "timeout", "keep"]
        assert len(served.asked) == n_asked
        assert again(retry_failed=True).n_kept == 3
        assert len(served.asked) == n_asked + 3


def test_a_model_that_answers_nobody_stops_the_build(tmp_path: Path) -> None:
    def silent(request: Request) -> Reply:
        raise Unanswered("timeout", 7)

    settings = Settings(workers=2, give_up_after=5)
    with pytest.raises(ModelError, match=r"'fake' left \d+ requests in a row.*retry_failed=True"):
        run(Digits().samples(30), tmp_path, silent, settings=settings)
    report, _ = run(Digits().samples(30), tmp_path, settings=settings, retry_failed=True)
    assert report.n_kept == 30


def test_a_build_that_stops_asks_nothing_more(tmp_path: Path) -> None:
    def slow(request: Request) -> Reply:
        time.sleep(0.1)
        return good(request)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    fake = Fake(slow)
    with pytest.raises(KeyboardInterrupt):
        build(
            Digits().samples(20),
            tmp_path,
            captioner=fake,
            judge=fake,
            settings=Settings(workers=2),
            progress=interrupt,
        )
    # What was under way when the first eight were in hand is recorded; the rest is asked later.
    held = (tmp_path / "journal.jsonl").read_bytes().count(b"\n") - 1
    assert len(fake.asked) == held < 12
    assert run(Digits().samples(20), tmp_path)[0].n_kept == 20


@pytest.mark.parametrize(
    ("settings", "n_asked", "imagination"),
    [
        (Settings(rewriting="placeholder", refining=False), 1, "<think_image>"),
        (Settings(rewriting="placeholder", refining=False, filtering=False), 0, "<think_image>"),
        (Settings(rewriting="own", refining=False, filtering=False), 0, "own"),
        (Settings(refining=False, filtering=False), 1, None),
        (Settings(filtering=False), 2, None),
    ],
)
def test_stages_can_be_left_out(
    tmp_path: Path, settings: Settings, n_asked: int, imagination: str | None
) -> None:
    sample = Digits().samples(1)[0]
    report, fake = run([sample], tmp_path, settings=settings)
    assert (len(fake.asked), report.n_kept) == (n_asked, 1)
    row = kept(tmp_path)[0]
    if imagination is not None:
        assert row["imagination"] == (sample.imagination if imagination == "own" else imagination)
    assert row["verdict"] == ("keep" if settings.filtering else "not judged")


def test_own_prompts_are_used_and_checked(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "refine.md").write_text(
        "Rewrite the chain of $question for $$5. Chain of thoughts: $chain"
    )
    _, fake = run(Digits().samples(1), tmp_path / "out", prompts=own)
    assert "for $5. Chain" in fake.asked[1].text
    with pytest.raises(OutputError, match="prompt refine"):
        run(Digits().samples(1), tmp_path / "out")
    for name, text, message in [
        ("refine.md", "$answer", r"holds \$answer; it gets \$chain, \$question"),
        ("judge.md", "5 $", r"holds a lone \$"),
        ("other.md", "x", "has a name that nothing asks for"),
    ]:
        (own / name).write_text(text)
        with pytest.raises(MindseyeError, match=message):
            run(Digits().samples(1), tmp_path / "out", prompts=own)
        (own / name).unlink()
    with pytest.raises(MindseyeError, match="holds no prompt"):
        run(Digits().samples(1), tmp_path / "out", prompts=own)


def test_data_that_looks_like_a_template_is_left_as_it_is(tmp_path: Path) -> None:
    paint(tmp_path, "a.png")
    asked = "What of $answer, ${chain} and {question}?"
    (tmp_path / "d.jsonl").write_text(json.dumps(monet("1", "a.png", "a.png", question=asked)))
    _, fake = run(tmp_path / "d.jsonl", tmp_path / "out")
    assert all(asked in request.text for request in fake.asked)


def test_the_same_build_again_asks_nothing_and_writes_the_same(tmp_path: Path) -> None:
    file, out = monet_file(tmp_path, 3), tmp_path / "out"
    seen: list[Progress] = []
    run(file, out, progress=seen.append)
    before = {p.name: p.read_bytes() for p in out.glob("*.*") if p.is_file()}
    _, fake = run(file, out)
    assert not fake.asked
    assert {p.name: p.read_bytes() for p in out.glob("*.*") if p.is_file()} == before
    assert [each.done for each in seen] == [1, 2, 3]
    assert (seen[-1].outcomes["kept"], seen[-1].tokens_in) == (3, 90)
    assert not list(out.glob(".fresh*"))


def test_without_its_journal_a_build_would_ask_everything_again(tmp_path: Path) -> None:
    file, out = monet_file(tmp_path, 3), tmp_path / "out"
    run(file, out)
    (out / "journal.jsonl").unlink()
    assert len(run(file, out)[1].asked) == 9


def test_a_limit_builds_the_beginning_and_may_be_raised_later(tmp_path: Path) -> None:
    file, out = monet_file(tmp_path, 4), tmp_path / "out"
    assert run(file, out, limit=1)[0].n_kept == 1
    report, fake = run(file, out)
    assert (report.n_kept, len(fake.asked)) == (4, 9)


def test_faults_are_listed_and_skipped_or_stop_the_build(tmp_path: Path) -> None:
    file = monet_file(tmp_path, 2)
    broken = tmp_path / "images" / "1.png"
    broken.write_bytes(broken.read_bytes()[:600])  # it begins like a picture
    file.write_text(file.read_text() + "{\n")
    report, _ = run(file, tmp_path / "out")
    assert [(f.place.rsplit(":", 1)[1], f.code) for f in report.faults] == [
        ("3", "broken record"),
        ("2", "missing image"),
    ]
    assert report.to_frame()["outcome"].tolist() == ["kept", "faulty"]
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [fault["code"] for fault in found["faults"]] == ["broken record", "missing image"]
    for line in ("{", ""):
        file.write_text(file.read_text().rstrip("{\n") + f"\n{line}")
        with pytest.raises(SampleError, match="on_fault='skip'"):
            run(file, tmp_path / "stopped", on_fault="stop")


def test_data_without_any_item_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("{\n{}\n")
    with pytest.raises(SampleError, match=r"holds no item \(1 x broken record, 1 x unknown layout"):
        run(tmp_path / "d.jsonl", tmp_path / "out")
    with pytest.raises(SampleError, match="no record at all"):
        run([], tmp_path / "out")


def test_what_is_missing_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    samples = Digits().samples(1)
    with pytest.raises(MindseyeError, match="captioner=None"):
        build(samples, tmp_path)
    with pytest.raises(MindseyeError, match="judge=None"):
        build(samples, tmp_path, captioner=Fake(good))
    with pytest.raises(MindseyeError, match="Pass refining=False"):
        Settings(rewriting="placeholder")
    with pytest.raises(MindseyeError, match="attempts=0"):
        Settings(attempts=0)
    with pytest.raises(MindseyeError, match="store_images='embedded'"):
        run(samples, tmp_path, store_images="paths")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", ["rewriting", "kinds", "on_fault", "store_images"])
def test_a_word_that_is_no_choice_is_refused(tmp_path: Path, name: str) -> None:
    def attempt() -> None:
        if name == "rewriting":
            Settings(rewriting="maybe")
        if name == "kinds":
            Settings(kinds={"x": "maybe"})
        run(Digits().samples(1), tmp_path, **{name: "maybe"})

    with pytest.raises(MindseyeError, match=rf"{name}.*='maybe'; it takes '"):
        attempt()


def test_paths_may_be_stored_instead_of_pictures(tmp_path: Path) -> None:
    run(monet_file(tmp_path, 1), tmp_path / "out", store_images="paths")
    assert kept(tmp_path / "out")[0]["images"] == [str(tmp_path / "images" / "0.png")]
    assert kept(tmp_path / "out")[0]["helper"] == str(tmp_path / "images" / "0-helper.png")


def test_other_settings_models_or_data_are_refused_unless_it_begins_anew(tmp_path: Path) -> None:
    file, out = monet_file(tmp_path, 1), tmp_path / "out"
    run(file, out)
    with pytest.raises(OutputError, match=r"max_new_tokens \(512 then, 9 now\)"):
        run(file, out, settings=Settings(max_new_tokens=9))
    with pytest.raises(OutputError, match=r"captioner \(fake then, other now\)"):
        build(file, out, captioner=Fake(good, "other"), judge=Fake(good))
    file.write_text(file.read_text().replace("What is in", "Who is in"))
    with pytest.raises(OutputError, match="has changed since"):
        run(file, out)
    report, fake = run(file, out, anew=True)
    assert (report.n_kept, len(fake.asked)) == (1, 3)


def test_a_disk_that_fills_up_while_asking_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = monet_file(tmp_path, 6), tmp_path / "out"
    write, room = os.write, [2500]

    def until_full(descriptor: int, data: bytes) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", until_full)
        with pytest.raises(OutputError, match=r"No space left.*make room"):
            run(file, out, settings=Settings(workers=2))
    held = (out / "journal.jsonl").read_bytes()
    assert held.endswith(b"\n")
    report, fake = run(file, out)
    assert report.n_kept == 6
    assert len(fake.asked) == 18 - (held.count(b"\n") - 1)
    assert (out / "journal.jsonl").read_bytes().startswith(held)


def test_a_disk_that_fills_up_while_writing_leaves_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = monet_file(tmp_path, 2), tmp_path / "out"
    run(file, out, limit=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
        with pytest.raises(OutputError, match=r"No space left.*answers are safe"):
            run(file, out)
    assert len(kept(out)) == 1
    report, fake = run(file, out)
    assert (report.n_kept, len(fake.asked), len(kept(out))) == (2, 0, 2)


def test_untrusted_text_is_escaped_on_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x"
    paint(tmp_path, "a.png")
    record = monet(
        evil, "a.png", "a.png", source=f"s{evil}", question=evil, last=f"{evil} \\boxed{{{evil}}}"
    )
    (tmp_path / "d.jsonl").write_text(
        json.dumps(record) + "\n" + json.dumps({"data": [{"role": evil}]})
    )

    def reply(request: Request) -> Reply:
        if "You check training data" in request.text:
            return Reply(json.dumps({"verdict": "keep", "reason": evil}))
        return Reply(evil)

    run(tmp_path / "d.jsonl", tmp_path / "out", reply)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64") == 2


def test_the_output_replaces_only_its_own_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    run(Digits().samples(1), out)
    shutil.rmtree(out / "dataset")
    run(Digits().samples(1), out)
    assert (out / "notes.txt").read_text() == "mine"
    assert len(kept(out)) == 1
