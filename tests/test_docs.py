"""The Python in README and tutorial runs, and links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

from mindseye import plugins

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.model
@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/tutorials/first-audit.md",
        "docs/how-to/patch-and-cut.md",
        "docs/how-to/test-a-claim.md",
        "docs/how-to/extend.md",
        "docs/how-to/replace-latents.md",
        "docs/how-to/intervene-on-words.md",
    ],
)
def test_the_python_of_a_page_runs(name, monkeypatch):
    monkeypatch.setattr(plugins, "_offers", {**plugins._offers})
    names = {"__name__": "page"}
    assert blocks(ROOT / name)
    for block in blocks(ROOT / name):
        exec(compile(block, name, "exec"), names)
    if "said" in names:
        # The tutorial's patch is one that changes the answer's distribution.
        assert len(names["said"]) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda s: s.name)
def test_an_example_runs(script):
    import subprocess
    import sys

    subprocess.run([sys.executable, script], check=True, capture_output=True)
