"""Builds that are killed at random points, and started again until they are done."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import datasets
import pytest

from mindseye.imagination.building import Endpoint, Settings, build
from tests.imagination.building.records import monet_file
from tests.imagination.building.serving import Served, say, serving

N = 12


def build_it(file: str, out: str, url: str) -> None:
    endpoint = Endpoint("m", url, max_retries=0)
    settings = Settings(workers=3)
    build(file, out, captioner=endpoint, judge=endpoint, settings=settings)


@pytest.fixture(scope="module")
def context() -> Any:
    """Processes that begin with everything imported, in a server that has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mindseye.imagination.building", "datasets", "openai", __name__]
    )
    return context


def recorded(out: Path) -> set[tuple[str, str]]:
    """Item and step of every answer whose line is whole."""
    path = out / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")[1:-1] if path.is_file() else []
    return {(event["item"], event["step"]) for event in map(json.loads, lines)}


def asked(served: Served) -> list[tuple[str, str]]:
    return [key_of(text) for text in served.asked]


def key_of(text: str) -> tuple[str, str]:
    """Which item and step a request is about; every question names its picture."""
    number = int(text.split("in picture ")[1].split("?")[0])
    step = "judge" if "You check" in text else "refine" if "Rewrite the" in text else "rewrite/0"
    return f"{('Visual_CoT', 'ReFocus')[number % 2]}/{number}", step


def rows(out: Path) -> list[dict[str, Any]]:
    found = datasets.load_from_disk(str(out / "dataset")).cast_column(
        "images", datasets.List(datasets.Image(decode=False))
    )
    return list(found)


def test_a_build_killed_at_random_points_is_the_same_in_the_end(
    tmp_path: Path, context: Any
) -> None:
    file = monet_file(tmp_path, N)
    rng = random.Random(0)

    def behave(text: str, n: int) -> str:
        time.sleep(0.01)
        return say(text)

    with serving(behave) as served:
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        build_it(str(file), str(whole), served.url)
        assert sorted(asked(served)) == sorted(recorded(whole))
        served.asked.clear()
        kills = 0
        for _ in range(20):
            known, before = recorded(broken), len(served.asked)
            process = context.Process(target=build_it, args=(str(file), str(broken), served.url))
            process.start()
            # Somewhere among the requests; once these are all answered, amid the writing.
            wanted = before + rng.randint(1, 9)
            while process.is_alive() and len(served.asked) < wanted:
                if (broken / ".fresh").is_dir():
                    time.sleep(rng.random() * 0.1)
                    break
                time.sleep(0.001)
            time.sleep(rng.random() * 0.02)
            if kills < 7:
                kills += process.is_alive()
                process.kill()
            process.join()
            assert not known & set(asked(served)[before:])
            assert known <= recorded(broken)
            if process.exitcode == 0:
                break
        assert process.exitcode == 0
    assert kills >= 5
    assert set(asked(served)) == recorded(broken) == recorded(whole)
    # Each kill may cost the replies that were under way, of which there are no more than workers.
    assert len(served.asked) <= len(recorded(whole)) + 3 * kills
    assert rows(broken) == rows(whole)
    assert len({row["id"] for row in rows(broken)}) == len(rows(broken)) == N
    for name in ("report.html", "report.json", "dataset.parquet", "items.parquet"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
