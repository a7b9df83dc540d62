"""The table of the page on replacing latents says what is declared."""

import re
from pathlib import Path

from mindseye.imagination import rewording
from mindseye.plugins import find
from tests.interventions.replacements.scenes import built_in

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "replace-latents.md"


def test_the_table_of_the_page_says_what_every_replacement_declares():
    said = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            first, *declared = [cell.strip() for cell in line.strip("|").split("|")]
            said |= {name: declared for name in re.findall(r"`(\w+)`", first)}
    wanted = {}
    in_language = [rewording.adversarial, rewording.attribute, rewording.paraphrase]
    for found in (*(find("replacement", name) for name in built_in()), *in_language):
        keeps, needs = (", ".join(sorted(words)) or "–" for words in (found.keeps, found.needs))
        wanted[found.name] = [found.carries, found.in_distribution, keeps, needs]
    assert said == wanted
