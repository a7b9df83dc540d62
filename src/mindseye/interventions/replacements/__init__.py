"""What one may feed in the place of latents.

A replacement is a function from what is `Given` (a run, a pool of other runs' latents, the pair's
other run) to one vector per slot, or to a `Structure`, under a name, with what it declares about
itself. Every call is held to that, and `Familiarity` says how far what is fed lies from what the
model feeds itself.

Start reading at `replacing`, the plug-in point; `constants` has the simplest ones.
"""

from mindseye.interventions.replacements.constants import (
    constant,
    filler,
    first_repeat,
    global_mean,
    pad,
    shared,
    step_mean,
    tiny,
    zero,
)
from mindseye.interventions.replacements.directions import slerp, steer
from mindseye.interventions.replacements.donors import donor, twin
from mindseye.interventions.replacements.familiarity import Familiarity, Strangeness
from mindseye.interventions.replacements.given import Given, Pool, Run
from mindseye.interventions.replacements.noises import (
    matched_noise,
    moment_noise,
    noise,
    target_noise,
    unit_noise,
)
from mindseye.interventions.replacements.optimised import worst
from mindseye.interventions.replacements.oracles import oracle
from mindseye.interventions.replacements.orders import (
    keep_attended,
    keep_half,
    keep_one,
    shuffle,
)
from mindseye.interventions.replacements.reimagined import reimagined
from mindseye.interventions.replacements.replacing import (
    Chosen,
    Replacement,
    Slots,
    Structure,
    find_replacement,
    replacement,
)
from mindseye.interventions.replacements.structures import (
    forced,
    identity,
    markers_only,
    removal,
    slots,
    slots_only,
)
from mindseye.interventions.replacements.subspaces import erase, without_leading, without_random

__all__ = [
    "Chosen",
    "Familiarity",
    "Given",
    "Pool",
    "Replacement",
    "Run",
    "Slots",
    "Strangeness",
    "Structure",
    "constant",
    "donor",
    "erase",
    "filler",
    "find_replacement",
    "first_repeat",
    "forced",
    "global_mean",
    "identity",
    "keep_attended",
    "keep_half",
    "keep_one",
    "markers_only",
    "matched_noise",
    "moment_noise",
    "noise",
    "oracle",
    "pad",
    "reimagined",
    "removal",
    "replacement",
    "shared",
    "shuffle",
    "slerp",
    "slots",
    "slots_only",
    "steer",
    "step_mean",
    "target_noise",
    "tiny",
    "twin",
    "unit_noise",
    "without_leading",
    "without_random",
    "worst",
    "zero",
]
