"""Finding 2: does the answer change when the latents do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mindseye.causal import Interval, Mediation, mediate
from mindseye.engine import LEVELS, battery
from mindseye.engine.words import WORDS
from mindseye.errors import SampleError
from mindseye.samples import Pair
from mindseye.studies.reproduction.accuracy import change
from mindseye.studies.reproduction.claims import Beside, Claim, Part, Published, Rule, beside
from mindseye.studies.reproduction.models import Model
from mindseye.studies.reproduction.tracking import Track

__all__ = ["IDENTITY", "Edited", "edit", "latent_claims", "mediated", "shares_of"]

PART = "Finding 2: changing latents changes nothing"

IDENTITY = "identity"

MARGIN = 0.05
_WHY = (
    "Within five points either way: wider than every change that the paper calls none (at most "
    "1.0), narrower than every one that it calls a loss (from 31.8)."
)

_MIRAGE = "Mirage, stage 1", "Mirage, stage 2"


def _figures(*after: str) -> tuple[tuple[str, str], ...]:
    """Return the accuracies of Mirage's two stages, before and after."""
    before = ("64.2", "77.0")
    return tuple(
        (stage, f"{one} to {other}")
        for stage, one, other in zip(_MIRAGE, before, after, strict=True)
    )


_CLAIMS: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "shared": (
        "One shared vector for all latents",
        "Forcing all latents to one shared tensor changes next to nothing.",
        (
            *_figures("64.0", "77.2"),
            ("Monet, V*", "82.7 to 83.3"),
            ("Monet, HR-Bench 4K", "71.1 to 70.1"),
            ("Monet, MME-RealWorld-Lite", "46.9 to 46.2"),
        ),
    ),
    "noise:scale=1": (
        "Noise on top of latents",
        "Adding noise to latents changes next to nothing.",
        _figures("64.0", "76.7"),
    ),
    "matched_noise": (
        "Pure noise for latents",
        "Pure noise in the place of latents changes next to nothing.",
        _figures("64.5", "76.2"),
    ),
    "tiny:value=0.001": (
        "A tiny constant for latents",
        "A tiny constant in the place of latents changes next to nothing at stage 1; the loss at "
        "stage 2 is laid to answers that repeat themselves.",
        _figures("65.0", "35.5"),
    ),
}

LATENT_ARMS = tuple(_CLAIMS)


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """One model's answers under several edits, decoded again with each.

    Attributes:
        model: Whose.
        rows: One per pair and arm, as `battery` returns them.
        pairs: By id.
    """

    model: Model
    rows: pd.DataFrame
    pairs: Mapping[str, Pair]

    def with_more(self, other: Edited) -> Edited:
        """Return the same with another's arms; those that both have are left as they are here."""
        fresh = other.rows[~other.rows["arm"].isin(self.rows["arm"])]
        return replace(self, rows=pd.concat([self.rows, fresh], ignore_index=True))

    def answers(self, arm: str) -> pd.Series:
        """Return parsed answers by pair; what could not be parsed is empty."""
        held = self.rows[self.rows["arm"] == arm].set_index("pair")
        return held["answer"].where(held["parsed"].astype(bool), "")

    def right(self, arm: str, pairs: Sequence[str]) -> Bool[np.ndarray, " pairs"]:
        """Return which pairs' clean answer is given."""
        said = self.answers(arm).loc[list(pairs)]
        return np.array([said[pair] == self.pairs[pair].clean.answer for pair in pairs])

    def held(self, *arms: str) -> list[str]:
        """Return the pairs to which all these arms could be applied."""
        each = [set(self.answers(arm).index) for arm in (IDENTITY, *arms)]
        return [pair for pair in self.pairs if all(pair in held for held in each)]

    def change(self, arm: str, *, seed: int) -> Interval:
        """Return how an arm changes the accuracy, on the pairs that it could be applied to."""
        pairs = self.held(arm)
        images = [self.pairs[pair].clean.image_key for pair in pairs]
        before, after = (self.right(each, pairs) for each in (IDENTITY, arm))
        return change(before, after, images, seed=seed)


def edit(
    model: Model, pairs: Sequence[Pair], arms: Sequence[str], *, seed: int, track: Track
) -> Edited:
    """Decode the clean samples of pairs again, with something else as imagination.

    Args:
        model: What runs.
        pairs: Clean and reference samples.
        arms: Names of replacements.
        seed: Of their draws.
        track: Shows progress.

    Raises:
        SampleError: Putting a run's own imagination back changes its answer's logits.
    """
    rows = battery(
        model.reasoner,
        pairs,
        [IDENTITY, *arms],
        levels=("embedding",),
        loop="closed",
        seed=seed,
        track=lambda each: track(f"{model.name}: edits", each),
    )
    rows = rows[rows["loop"] == "closed"]
    missed = float(rows.loc[rows["arm"] == IDENTITY, "effect"].abs().max())
    if missed > 1e-3:
        raise SampleError(
            f"Putting its own imagination back moves {model.name} by {missed:.3g} nats; expected "
            "none, so that nothing said of other edits would hold. Run it in float32."
        )
    return Edited(model, rows, {pair.id: pair for pair in pairs})


def mediated(model: Model, pairs: Sequence[Pair], *, seed: int, track: Track) -> Mediation:
    """Split the effect of exchanging the picture into what goes through the imagination.

    Words are exchanged as words, too: runs that say more or less than their twin take part there.
    """
    return mediate(
        model.reasoner,
        pairs,
        levels=(*LEVELS, WORDS) if model.reasoner.protocol.in_words else LEVELS,
        seed=seed,
        track=lambda each: track(f"{model.name}: mediation", each),
    )


def latent_claims(edited: Sequence[Edited], found: Sequence[Mediation], *, seed: int) -> Part:
    """Hold the changes of accuracy against the margin.

    Args:
        edited: Of the models with latents, by seed.
        found: What `mediate` says of them.
        seed: Of the bootstrap.
    """
    changes = {arm: tuple(each.change(arm, seed=seed) for each in edited) for arm in LATENT_ARMS}
    claims = [
        Claim(
            key=f"latents-{arm.partition(':')[0].replace('_', '-')}",
            title=title,
            part=PART,
            published=Published(statement, figures, "appendix B, table 4"),
            quantity=f"change of accuracy under {arm}, decoded again, on the same items",
            unit="points",
            rule=Rule(-MARGIN, MARGIN, _WHY),
            found=changes[arm],
            unseen=_UNSEEN[arm],
            notes=_verdicts(found) if arm == "shared" else (),
            beside=(shares_of(found),) if arm == "shared" else (),
        )
        for arm, (title, statement, figures) in _CLAIMS.items()
    ]
    rows = pd.concat([rows_of(each, place, "do(Z)") for place, each in enumerate(edited)])
    return Part(tuple(claims), rows)


_UNSEEN = {
    "shared": "An accuracy that stays may mean latents that do nothing, or that do what the image "
    "does as well. Beside it: what the latents of another picture put in (PIE) and what the own "
    "ones hold back (TIE), in log odds of the answer, as shares of the picture's whole effect.",
    "noise:scale=1": "How loud the noise was is not published. Here it is as long as the latent it "
    "is added to.",
    "matched_noise": "How long the noise was is not published; too long a vector is damage, not "
    "absence. Here every vector keeps the length of the one it replaces.",
    "tiny:value=0.001": "A vector of nearly nothing is unlike any that was trained on, so a loss "
    "would not tell damage from absence.",
}


def _verdicts(found: Sequence[Mediation]) -> tuple[str, ...]:
    """Return what a mediation says of each seed."""
    return tuple(
        f"Seed {place}: over the whole ladder of levels the latents are called {each.verdict}. "
        f"{' '.join(each.conclusion.reasons)}"
        for place, each in enumerate(found)
    )


def shares_of(found: Sequence[Mediation]) -> Beside:
    """Return PIE and TIE as shares of TE, by level and seed."""
    held: dict[str, list[Interval | float]] = {}
    for each in found:
        for row in each.shares[each.shares["outcome"] == each.outcome].to_dict("records"):
            name = {"pure": "PIE", "total": "TIE"}[row["share"]]
            held.setdefault(f"{name} / TE at {row['level']}", []).append(
                Interval(row["mean"], row["low"], row["high"])
            )
    return beside(
        "What goes through the imagination",
        f"Of the effect of exchanging the picture, in log odds of the answer "
        f"({found[0].n_pairs} pairs). A dash: no share can be formed",
        "share",
        dict(held),
    )


def rows_of(edited: Edited, place: int, part: str) -> pd.DataFrame:
    """Return whether every item was answered rightly under every arm."""
    gold = edited.rows["pair"].map({key: pair.clean.answer for key, pair in edited.pairs.items()})
    right = (edited.rows["answer"] == gold) & edited.rows["parsed"].astype(bool)
    return pd.DataFrame(
        {
            "part": part,
            "seed": place,
            "model": edited.model.name,
            "item": edited.rows["pair"],
            "arm": edited.rows["arm"],
            "measure": "right",
            "value": right.astype(float),
            "answer": edited.rows["answer"],
        }
    )
