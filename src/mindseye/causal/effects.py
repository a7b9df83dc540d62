"""Natural and controlled effects from the cells of a pair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mindseye.errors import UnknownNameError

__all__ = ["ALIASES", "EFFECTS", "NAMES", "controlled", "effect_name", "effects"]

NAMES = {
    "te": "total effect",
    "pde": "pure direct effect (natural direct, NDE)",
    "tde": "total direct effect",
    "pie": "pure indirect effect (natural indirect, NIE)",
    "tie": "total indirect effect",
    "int": "mediated interaction",
}
"""What every effect is called in full."""

EFFECTS = tuple(NAMES)

ALIASES = {"nde": "pde", "nie": "pie"}
"""Pearl's names. TE is not their sum unless the interaction is zero."""


def effect_name(name: str) -> str:
    """Return an effect's own name for any of its names.

    Raises:
        UnknownNameError: No such effect.
    """
    found = ALIASES.get(name, name)
    if found not in NAMES:
        raise UnknownNameError(
            f"No effect {name!r}; there are {', '.join(EFFECTS)}, and as aliases nde and nie. Ask "
            "for one of these."
        )
    return found


def effects(cells: Float[np.ndarray, "pairs 2 2"]) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Split the effect of each pair's input change into direct and mediated parts.

    Args:
        cells: Outcome Y[x, z] of input x with the latents of z; 0 is the reference, 1 the clean
            run. Any unit; logit differences come in nats.

    Returns:
        By name, one value per pair, in the outcome's unit; te = pde + tie = tde + pie, and
        int = tie - pie = tde - pde.

    Source: Robins & Greenland 1992; Pearl 2001 (his NDE and NIE are pde and pie).
    """
    y00, y01, y10, y11 = cells[:, 0, 0], cells[:, 0, 1], cells[:, 1, 0], cells[:, 1, 1]
    return {
        "te": y11 - y00,
        "pde": y10 - y00,
        "tde": y11 - y01,
        "pie": y01 - y00,
        "tie": y11 - y10,
        "int": (y11 - y01) - (y10 - y00),
    }


def controlled(
    cells: Float[np.ndarray, "pairs 2 2"], pinned: Float[np.ndarray, "pairs 2"]
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Compare each pair's cells with both inputs under one and the same mediator z*.

    Args:
        cells: As for `effects`.
        pinned: Outcome Y(x, z*), by input; index 0 is the reference.

    Returns:
        By name, one value per pair: `cde`, what the input does with the mediator at z*; `intref`,
        the reference interaction, so that te = cde + intref + int + pie; and `nec`, what the clean
        run loses under z*, which is an indirect effect only if z* = Z(x0).

    Source: Robins & Greenland 1992; VanderWeele 2014 (four-way decomposition).
    """
    cde = pinned[:, 1] - pinned[:, 0]
    return {
        "cde": cde,
        "intref": cells[:, 1, 0] - cells[:, 0, 0] - cde,
        "nec": cells[:, 1, 1] - pinned[:, 1],
    }
