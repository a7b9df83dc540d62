"""Words and latents under edits of the same strength, for every training seed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mindseye.causal import Interval
from mindseye.imagination import matched
from mindseye.samples import Pair
from mindseye.studies.reproduction.claims import Beside, beside
from mindseye.studies.reproduction.models import Models
from mindseye.studies.reproduction.tracking import Track

__all__ = ["match", "tables"]


def match(models: Models, pairs: Sequence[Pair], *, seed: int, track: Track) -> pd.DataFrame:
    """Edit words and latents alike and return what that does to the answer's log odds.

    Args:
        models: What runs.
        pairs: Clean and reference samples.
        seed: Of the draws.
        track: Shows progress.

    Returns:
        One row per strength, way and training seed, as `matched` returns them, with `seed`.
    """
    frames = []
    for place, (words, latents) in enumerate(zip(models.words, models.latents, strict=True)):
        title = f"{words.name}, {latents.name}: equal edits"
        frames.append(
            matched(
                words.reasoner,
                latents.reasoner,
                pairs,
                seed=seed,
                track=lambda each, title=title: track(title, each),
            ).assign(seed=place)
        )
    return pd.concat(frames, ignore_index=True)


def tables(found: pd.DataFrame) -> tuple[Beside, ...]:
    """Return the same as a table for words and one for latents."""
    return tuple(
        beside(
            f"What is left of {imagines}, and what that does",
            "Change of the answer's log odds as a share of the picture's whole effect; "
            "\N{MINUS SIGN}1 is the whole way to the other picture's answer. Another sample may be "
            "asked another kind of question",
            "share",
            {
                str(leaves): [Interval(*each) for each in rows[["mean", "low", "high"]].to_numpy()]
                for leaves, rows in held.groupby("leaves", sort=False)
            },
        )
        for imagines, held in found.groupby("imagines", sort=False)
    )
