"""Training a model to imagine, in words or in latents, on the same data.

Start with `recipe` (every choice, and whose it is) and `running` (`train` from load to saved
folder). `data` reads and checks the rows, `encoding` turns them into ids and names each token's
part, `loading` makes the model ready, `trainer` is trl's with a weighted loss, `losses` and
`latents` hold what is minimised, `scoring` picks the checkpoint, `saving` writes the folder, and
`memory` plans on paper. `launching` names the files in `configs/`, for `accelerate launch`.
"""

from __future__ import annotations

from mindseye.imagination.training.launching import launch_config
from mindseye.imagination.training.losses import alignment_loss
from mindseye.imagination.training.memory import MemoryPlan, memory_plan
from mindseye.imagination.training.recipe import ORIGINS, PAPER, LatentPlan, Recipe
from mindseye.imagination.training.running import Trained, dry_run, train

__all__ = [
    "ORIGINS",
    "PAPER",
    "LatentPlan",
    "MemoryPlan",
    "Recipe",
    "Trained",
    "alignment_loss",
    "dry_run",
    "launch_config",
    "memory_plan",
    "train",
]
