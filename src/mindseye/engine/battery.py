"""A battery: many things done to the latents, at every level, beside the run as it was."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mindseye.engine.arms import Arms, find_arms, latent_pool
from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET
from mindseye.engine.levels import LEVELS, check_level
from mindseye.engine.replaced import Loop, replaced
from mindseye.engine.twins import Track, comparable
from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Familiarity, Pool
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["battery"]


def battery(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    arms: Arms,
    *,
    levels: Sequence[str] = LEVELS,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    loop: Loop = "open",
    pool: Pool | None = None,
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Replace the clean run's latents in many ways and measure what that does to its answer.

    Open loop, everything that was fed after the latents stays: at `embedding` an arm's vectors are
    fed and the slots recompute; at `kv` and `span` the clean run's later positions read what the
    slots hold in the *reference* run when it is fed the arm's vectors, so that nothing of the clean
    image remains in them. All arms and levels of a pair are branches of one run. Closed loop, the
    sample is decoded again with the arm's vectors fed, so that later latents and words react.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        arms: Replacements by name, such as `["identity", "noise:scale=0.3", "zero:slots=0-2"]`, or
            a mapping from names to replacements or functions of a pair's runs:
            `{"mine": lambda twins: torch.zeros_like(twins.clean.fed_latents)}`.
        levels: Names of `LEVELS`; closed loop there is `embedding` only.
        outcome: Name of a registered outcome, or a function, or several.
        loop: `open` or `closed`.
        pool: Latents of other runs, which donors and means come from and vectors are compared
            with; those of both sides of all pairs, if left out.
        seed: Of the replacements' draws.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair, arm, level and outcome: `pair arm level loop outcome value clean effect
        moved norm_percentile mahalanobis nearest`, and closed loop `answer parsed emitted` of the
        run that came of it. `effect` is `value - clean`, `moved` the largest change of a fed
        vector's entry; the next three are means over the vectors that were put in, as `Strangeness`
        says. Replacements that change how a run is made up are at level `structure` and have none
        of these four: what they remove is always taken out open loop, and what they run again is
        always a run of its own, closed. An arm that needs what a pair lacks, such as a donor of the
        same answer, has no row for that pair.

    Raises:
        EditError: No such level, no arm, or one whose vectors are not what it declares.
        SampleError: In no pair did both runs imagine at the same positions, or an arm needs what
            every pair lacks.
        UnknownNameError: No replacement or outcome of a name.
    """
    chosen = find_arms(arms, seed=seed)
    if not chosen or not levels:
        raise EditError(
            f"battery got arms {tuple(chosen)} and levels {tuple(levels)}; pass at least one of "
            "each."
        )
    if loop not in ("open", "closed"):
        raise EditError(f"battery got loop={loop!r}; it is 'open' or 'closed'.")
    if loop == "closed" and tuple(levels) not in (LEVELS, ("embedding",)):
        raise EditError(
            f"battery got loop='closed' and levels {tuple(levels)}; what a run decodes again can "
            "only be fed at 'embedding'. Leave levels out."
        )
    measures = find_outcomes(outcome)
    for level in levels:
        check_level(reasoner, level)
    known = latent_pool(reasoner, pairs, track) if pool is None else pool
    familiar = Familiarity(known)
    faults: dict[str, SampleError] = {}
    frames = [
        replaced(
            twins,
            chosen,
            levels=levels,
            measures=measures,
            loop=loop,
            familiar=familiar,
            faults=faults,
            budget=budget,
        )
        for twins in comparable(
            reasoner, pairs, track=track, same_positions=not reasoner.protocol.in_words
        )
    ]
    rows = pd.concat(frames, ignore_index=True)
    for name in chosen:
        if name not in set(rows["arm"]):
            raise SampleError(f"Arm {name!r} could be applied to no pair. {faults[name]}")
    return rows
