"""Small models whose causal truth is known by construction.

Start reading at `designs`: a design says what is true of an organism, how its parts are connected
(`circuits`, `blends`) and whose weights it runs on. The weights lie in `weights/`, made by
`training` from `recipes`. `open_organism` is what stands behind `mindseye.load("organism:NAME")`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from mindseye.errors import ModelError, UnknownNameError
from mindseye.organisms.designs import DESIGNS, Design, connect, design, leaky
from mindseye.organisms.recipes import RECIPES, recipe
from mindseye.reasoners import Reasoner

__all__ = [
    "DESIGNS",
    "RECIPES",
    "Design",
    "connect",
    "design",
    "leaky",
    "open_organism",
    "recipe",
    "weights_of",
]


def open_organism(name: str) -> tuple[Path, Callable[[Reasoner], Reasoner]]:
    """Return the folder of an organism's weights, and what connects its parts once it is loaded.

    Raises:
        UnknownNameError: There is no such organism.
        ModelError: This installation lacks its weights.
    """
    plan = design(name)
    return weights_of(plan.weights), functools.partial(connect, plan=plan)


def weights_of(name: str) -> Path:
    """Return the shipped folder of some weights.

    Raises:
        UnknownNameError: No organism has such weights.
        ModelError: This installation lacks them.
    """
    known = [*RECIPES, *(each for plan in DESIGNS.values() for each in plan.trainings)]
    if name not in known:
        raise UnknownNameError(
            f"No weights {name!r}; there are: {', '.join(dict.fromkeys(known))}. Choose one of "
            "these."
        )
    folder = Path(__file__).parent / "weights" / name
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"The weights {name!r} are not in {str(folder.parent)!r}. Reinstall mindseye, or make "
            f"them with: mindseye organisms train {name} --out {folder}"
        )
    return folder
