"""The page on perturbing an image: its Python runs, and its table says what is declared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mindseye import plugins
from mindseye.plugins import find
from tests.interventions.perturbations.scenes import built_in

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "perturb-an-image.md"


@pytest.mark.model
def test_the_python_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_offers", {**plugins._offers})
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert {pair.kind for pair in names["pairs"]} == {"mask_target"}


def test_the_table_of_the_page_says_what_every_perturbation_declares() -> None:
    said = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            first, *declared = [cell.strip() for cell in line.strip("|").split("|")]
            said |= {name: declared for name in re.findall(r"`(\w+)`", first)}
    wanted = {}
    for name in built_in():
        found = find("perturbation", name)
        grid = "yes" if found.keeps_grid else "no"
        touched = ", ".join(sorted(found.touches))
        wanted[name] = [grid, found.in_distribution, found.changes_answer, touched]
    assert said == wanted
