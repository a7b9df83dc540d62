"""Small trained models whose causal truth is known by construction.

Start reading at `recipes`: a recipe is all it takes to make one. The trained folders are shipped in
`weights/`; `load_organism` is what stands behind `mindseye.load("organism:NAME")`.
"""

from __future__ import annotations

from pathlib import Path

from mindseye.errors import ModelError
from mindseye.organisms.recipes import RECIPES, recipe

__all__ = ["RECIPES", "load_organism", "recipe"]


def load_organism(name: str) -> Path:
    """Return the shipped folder of the organism `name`.

    Raises:
        UnknownNameError: There is no such organism.
        ModelError: This installation lacks its weights.
    """
    recipe(name)
    folder = Path(__file__).parent / "weights" / name
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"The weights of organism {name!r} are not in {str(folder.parent)!r}. Reinstall "
            f"mindseye, or make them with: mindseye organisms train {name} --out {folder}"
        )
    return folder
