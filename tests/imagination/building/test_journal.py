from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mindseye.errors import OutputError
from mindseye.imagination.building.journal import Event, Journal, Spent

SETTINGS = {"captioner": "a", "prompt judge": "1"}
ANSWER = Event("i", "d", "rewrite/0", "answer", "red", tokens_in=5, tokens_out=2, tries=1)


def filled(out: Path, *events: Event) -> Path:
    with Journal(out, SETTINGS) as journal:
        for event in events:
            journal.record(event)
        return journal.path


def test_what_was_recorded_is_there_again(tmp_path: Path) -> None:
    unusable = Event("i", "d", "judge", "unusable", "?", "no JSON", 3, 1, 2)
    filled(tmp_path, ANSWER, unusable)
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.step("i", "d", "rewrite/0").answer == "red"
        assert journal.step("i", "d", "judge").unusable == ("no JSON",)
        assert journal.step("i", "d", "refine").answer is None
        assert journal.spent("i") == Spent(8, 3, 3)
        assert journal.by_stage == {"rewrite": Spent(5, 2, 1), "judge": Spent(3, 1, 2)}


def test_a_journal_torn_anywhere_in_its_last_line_goes_on(tmp_path: Path) -> None:
    path = filled(tmp_path, ANSWER, Event("j", "d", "refine", "answer", "torn"))
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(tmp_path, SETTINGS) as journal:
            assert journal.step("i", "d", "rewrite/0").answer == "red"
            assert journal.step("j", "d", "refine").answer is None
            journal.record(Event("j", "d", "refine", "answer", "torn"))
        assert path.read_bytes() == whole


def test_a_first_line_that_was_torn_begins_again(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with Journal(tmp_path, SETTINGS) as journal:
        journal.record(ANSWER)
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.n_recorded == 1


def test_damage_elsewhere_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path, ANSWER, ANSWER)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(OutputError, match="damaged at line 2"):
        Journal(tmp_path, SETTINGS)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    filled(tmp_path, ANSWER)
    with pytest.raises(OutputError, match=r"prompt judge \(1 then, 2 now\).*anew=True"):
        Journal(tmp_path, {**SETTINGS, "prompt judge": "2"})


def test_beginning_anew_keeps_the_old_journal_aside(tmp_path: Path) -> None:
    old = filled(tmp_path, ANSWER).read_bytes()
    for _ in range(2):
        with Journal(tmp_path, {"captioner": "b"}, anew=True) as journal:
            assert journal.n_recorded == 0
    assert (tmp_path / "journal-1.jsonl").read_bytes() == old
    assert (tmp_path / "journal-2.jsonl").is_file()


def test_an_item_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, ANSWER)
    with Journal(tmp_path, SETTINGS) as journal, pytest.raises(OutputError, match="has changed"):
        journal.step("i", "other", "rewrite/0")


def test_failures_are_kept_or_forgotten_as_asked(tmp_path: Path) -> None:
    filled(tmp_path, ANSWER, Event("j", "d", "judge", "failed", reason="timeout", tries=7))
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.step("j", "d", "judge").failed == "timeout"
    with Journal(tmp_path, SETTINGS, retry_failed=True) as journal:
        assert journal.step("j", "d", "judge").failed == ""
        assert journal.step("i", "d", "rewrite/0").answer == "red"
        journal.record(Event("j", "d", "judge", "answer", "now"))
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.step("j", "d", "judge").answer == "now"


def test_two_builds_cannot_write_into_one_folder(tmp_path: Path) -> None:
    with Journal(tmp_path, SETTINGS), pytest.raises(OutputError, match="Another build"):
        Journal(tmp_path, SETTINGS)
    Journal(tmp_path, SETTINGS).__exit__(None, None, None)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "file" / "out", SETTINGS)


def test_a_full_disk_stops_with_a_message_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [40]

    def until_full(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with Journal(tmp_path, SETTINGS) as journal:
        journal.record(ANSWER)
        before = journal.path.read_bytes()
        monkeypatch.setattr(os, "write", until_full)
        with pytest.raises(OutputError, match=r"No space left.*1 events are safe: make room"):
            journal.record(Event("j", "d", "refine", "answer", "lost"))
        assert journal.path.read_bytes() == before
        room[0] = 10_000
        journal.record(Event("j", "d", "refine", "answer", "again"))
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.step("j", "d", "refine").answer == "again"
