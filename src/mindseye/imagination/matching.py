"""Words and latents under edits of the same strength.

The paper replaces latents by something uninformative and has words rewritten by an adversary, and
compares the two drops. Here each row does the same to both: leaves as much of what was imagined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from mindseye.causal import means, mediate
from mindseye.causal.mediation import image_of
from mindseye.engine import Outcome, Track, battery
from mindseye.engine.words import WORDS
from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["STRENGTHS", "Strength", "matched"]


class Strength(NamedTuple):
    """What an edit leaves of what was imagined, and the arms that do it.

    Attributes:
        leaves: What is left, in words.
        words: The replacement of words.
        latents: The replacement of latents.
    """

    leaves: str
    words: str
    latents: str


STRENGTHS = (
    Strength("everything", "identity", "identity"),
    Strength("the same facts", "paraphrase", "reimagined:after=redraw:attribute=handwriting"),
    Strength("one fact changed, not asked for", "attribute", "noise:scale=0.3"),
    Strength("another sample's, same answer", "donor:answer=same", "donor:answer=same"),
    Strength("the pieces, in another order", "shuffle", "shuffle"),
    Strength("its length", "filler", "filler"),
    Strength("its norms", "matched_noise", "matched_noise"),
    Strength("nothing, it is taken out", "markers_only", "markers_only"),
    Strength("another sample's, other answer", "donor:answer=other", "donor:answer=other"),
    Strength("the counterfactual twin's", "twin", "twin"),
    Strength("what misleads most", "adversarial", "worst"),
)
"""From leaving everything to saying the opposite. Latents have no single facts that could be named,
so beside one changed fact stands the weakest change they have: a little noise."""


def matched(
    words: Reasoner,
    latents: Reasoner,
    pairs: Sequence[Pair],
    *,
    strengths: Sequence[Strength] = STRENGTHS,
    outcome: str | Outcome = "logit_difference",
    seed: int = 0,
    track: Track = iter,
) -> pd.DataFrame:
    """Edit the imagination of two models alike, and measure what that does to their answers.

    Both are measured open loop, where the answer begins; words are put in as words and read anew,
    latents as what is fed (level `embedding`). Effects are shares of the model's own total effect,
    the change of its answer from one picture of a pair to the other, so that models with logits of
    other scales compare: -1 is the whole way to the other answer.

    Args:
        words: A model that imagines in words.
        latents: One that imagines in latents.
        pairs: Clean and reference samples.
        strengths: The rows.
        outcome: Name of a registered outcome, or a function.
        seed: Of the replacements' draws and the bootstrap.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per strength and model: `leaves imagines arm mean low high n`, the mean share with
        its 95 % interval over images; the total effect is taken as known.

    Raises:
        SampleError: One of the models imagines in no pair, its answer does not change with the
            picture, or an arm can be applied to no pair.
    """
    clusters = {pair.id: image_of(pair) for pair in pairs}
    found = []
    for imagines, reasoner in (("words", words), ("latents", latents)):
        arms = [getattr(each, imagines) for each in strengths]
        rows = battery(
            reasoner,
            pairs,
            list(dict.fromkeys(arms)),
            levels=("embedding",),
            outcome=outcome,
            seed=seed,
            track=track,
        )
        rows = rows.assign(effect=rows["effect"] / _total_effect(reasoner, pairs, outcome))
        shares = means(rows, ["arm"], clusters=clusters, seed=seed).set_index("arm").loc[arms]
        leaves = [each.leaves for each in strengths]
        found.append(shares.reset_index().assign(leaves=leaves, imagines=imagines))
    columns = ["leaves", "imagines", "arm", "mean", "low", "high", "n"]
    return pd.concat(found, ignore_index=True)[columns]


def _total_effect(reasoner: Reasoner, pairs: Sequence[Pair], outcome: str | Outcome) -> float:
    """Return how far the answer goes from one picture of a pair to the other, on average.

    Raises:
        SampleError: It goes nowhere.
    """
    level = WORDS if reasoner.protocol.in_words else "embedding"
    effect = mediate(reasoner, pairs, levels=(level,), outcome=outcome, pins={}).effect(
        "te", level=level
    )
    if effect.low <= 0 <= effect.high:
        raise SampleError(
            f"The answers of {reasoner.name!r} do not change from one picture of a pair to the "
            f"other (total effect {effect.low:.3g} to {effect.high:.3g}), so that there is nothing "
            "to take shares of. Give it more pairs, or pairs that it tells apart."
        )
    return effect.mean
