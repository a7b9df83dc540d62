"""Lenses: what latents say, were they words.

Start reading at `lens`. It gathers `states`, points one of four lenses at them (`logit`, `tuned`,
`latentlens`, `patchscopes`) and reads shuffled vectors the same way, since any vector says
something: the floors are in `vocabulary`, and `agreement` counts how often a known word shows up,
beside how often it would have anyway.
"""

from mindseye.readouts.lenses.agreement import target_ids
from mindseye.readouts.lenses.latentlens import Found, Index, build_index
from mindseye.readouts.lenses.lens import Kind, Lens, lens
from mindseye.readouts.lenses.logit import unembedded
from mindseye.readouts.lenses.patchscopes import IDENTITY, Scope, patchscope
from mindseye.readouts.lenses.states import LATENT
from mindseye.readouts.lenses.tuned import TunedLens, fit_tuned_lens

__all__ = [
    "IDENTITY",
    "LATENT",
    "Found",
    "Index",
    "Kind",
    "Lens",
    "Scope",
    "TunedLens",
    "build_index",
    "fit_tuned_lens",
    "lens",
    "patchscope",
    "target_ids",
    "unembedded",
]
