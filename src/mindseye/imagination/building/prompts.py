"""What captioner and judge are told: text files, ours or the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from mindseye.errors import MindseyeError

__all__ = ["PLACES", "Prompts"]

PLACES: Mapping[str, frozenset[str]] = {
    "rewrite-zoom": frozenset({"question", "context"}),
    "rewrite-manipulation": frozenset({"question", "context"}),
    "refine": frozenset({"question", "chain"}),
    "judge": frozenset({"question", "answer", "imagination"}),
}
"""The prompts, and what each may put where its text says `$name`."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The four prompts by name, as templates.

    Attributes:
        texts: What each says, with `$name` where something is filled in and `$$` for a dollar sign.
    """

    texts: Mapping[str, str]

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Prompts:
        """Read the prompts that come with the package, or the user's where there are any.

        Args:
            folder: Holds `rewrite-zoom.md`, `rewrite-manipulation.md`, `refine.md` or `judge.md`;
                one that is missing is ours.

        Raises:
            MindseyeError: There is no such folder, a file in it is called otherwise, or a prompt
                wants something filled in that it does not get.
        """
        shipped = files("mindseye.imagination").joinpath("prompts")
        texts = {name: shipped.joinpath(f"{name}.md").read_text("utf-8") for name in PLACES}
        for file in _files(None if folder is None else Path(folder)):
            texts[file.stem] = _read(file)
        return cls(texts)

    def fill(self, name: str, **values: str) -> str:
        """Return a prompt with everything filled in, exactly as it is."""
        return Template(self.texts[name]).substitute(values).strip()

    @property
    def digests(self) -> dict[str, str]:
        """Tells every prompt from another wording of it."""
        return {
            name: hashlib.sha256(text.encode()).hexdigest()[:16]
            for name, text in self.texts.items()
        }


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise MindseyeError(
            f"The prompts {str(folder)!r} are no folder; expected one with some of "
            f"{', '.join(f'{name}.md' for name in PLACES)}. Check the path."
        )
    found = sorted(folder.glob("*.md"))
    for file in found:
        if file.stem not in PLACES:
            raise MindseyeError(
                f"The prompt {str(file)!r} has a name that nothing asks for; expected "
                f"{', '.join(f'{name}.md' for name in PLACES)}. Rename it."
            )
    if not found:
        raise MindseyeError(
            f"The folder {str(folder)!r} holds no prompt; expected some of "
            f"{', '.join(f'{name}.md' for name in PLACES)}. Leave it out to use ours."
        )
    return found


def _read(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise MindseyeError(
            f"The prompt {str(file)!r} cannot be read ({fault}); expected UTF-8 text. Save it so."
        ) from fault
    template, places = Template(text), PLACES[file.stem]
    wanted = set(template.get_identifiers())
    if not template.is_valid() or not wanted <= places:
        odd = ", ".join(f"${name}" for name in sorted(wanted - places)) or "a lone $"
        raise MindseyeError(
            f"The prompt {str(file)!r} holds {odd}; it gets "
            f"{', '.join(f'${name}' for name in sorted(places))}. Write $$ for a dollar sign."
        )
    return text
