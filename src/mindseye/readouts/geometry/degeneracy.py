"""From numbers to a word: whether latents are collapsed, or merely point the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mindseye.causal import Interval

__all__ = ["LIMITS", "Degeneracy", "Limits", "Signs", "State", "degeneracy"]

State = Literal["present", "absent", "mixed", "undecided"]
"""Of an effect held against its margin, as a mediation's verdict has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the words part. They are conventions, stated so that they can be disputed.

    Attributes:
        cosine: Mean raw cosine between images from which vectors point the same way.
        constant: Share of the energy that differs between images, up to which that is rounding.
        informative_ratio: tr S / tr N whose lower bound shows that latents tell images apart: half
            of their scatter is the image's.
        informative_rank: Likewise for the retrieval rank, halfway from chance to always first.
        noise_ratio: tr S / tr N whose upper bound shows that they do not: a fifth at most is.
        chance_rank: Likewise for the retrieval rank.
        participation: Participation ratio of the scatter between images, in units of that of the
            placebos', below which a few directions hold something that the traces do not show.
    """

    cosine: float = 0.9
    constant: float = 1e-10
    informative_ratio: float = 2.0
    informative_rank: float = 0.75
    noise_ratio: float = 1.25
    chance_rank: float = 0.6
    participation: float = 0.8


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Signs:
    """The numbers that decide, of one slot or of all slots joined.

    Attributes:
        cosine: Mean raw cosine between images.
        between: Share of the energy that differs between images, tr S / (|mu|^2 + tr S).
        ratio: tr S / tr N; none without placebo runs.
        rank: Mean retrieval rank of a run from its placebo; none without placebo runs.
        participation: Participation ratio of the scatter between images.
        placebo_participation: Of that between a run and its placebo.
        baselines: Mean raw cosine of other states, by name: what is usual in this model.
    """

    cosine: float
    between: float
    ratio: Interval | None = None
    rank: Interval | None = None
    participation: float = float("nan")
    placebo_participation: float = float("nan")
    baselines: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Degeneracy:
    """A word and why.

    Attributes:
        word: `spread`, `anisotropic`, `collapsed`, `collapsed-but-functional` or `inconclusive`.
        reasons: Sentences that support it.
    """

    word: str
    reasons: tuple[str, ...]


def degeneracy(
    signs: Signs,
    *,
    pie: State | None = None,
    tie: State | None = None,
    nec: State | None = None,
    limits: Limits = LIMITS,
) -> Degeneracy:
    """Name what the geometry of latents shows.

    A high raw cosine only says that the mean holds most of the energy. What decides is whether
    images can be told apart beyond what benign placebos do:

    | scatter, retrieval | raw cosine | exchange (PIE, TIE) | loss (NEC) | word |
    |---|---|---|---|---|
    | beyond placebos | below the limit | | | spread |
    | beyond placebos | high | | | anisotropic |
    | as placebos, or constant | | absent or unknown | absent or unknown | collapsed |
    | as placebos, or constant | | absent | present | collapsed-but-functional |

    Missing placebo runs, bounds that straddle a limit, signs that disagree, or an exchange of
    collapsed latents that does something, make it inconclusive. Latents that are constant to
    rounding need no placebo. None of these words says that latents are used: only interventions do.

    Args:
        signs: What was measured.
        pie: State of the effect of clean latents in the reference run, at the level at which the
            vectors stand (`embedding` for what is fed back).
        tie: The same of what reference latents take from the clean run.
        nec: State of what the clean run loses without its latents.
        limits: Where the words part.

    Source: the distinction between anisotropy and collapse follows Ethayarajh 2019,
        arXiv 1909.00512, and Timkey & van Schijndel 2021, arXiv 2109.04404; limits are ours.
    """
    if signs.between <= limits.constant:
        constant = "Latents are the same for all images, to rounding."
        return _collapsed((constant,), pie, tie, nec)
    if (
        signs.ratio is None
        or signs.rank is None
        or np.isnan([signs.ratio.low, signs.rank.low]).any()
    ):
        return Degeneracy(
            "inconclusive",
            (
                _raw(signs),
                "No placebo runs: nothing says how far latents scatter when the image stays.",
            ),
        )
    reasons = (_raw(signs), *_compared(signs))
    if signs.ratio.low >= limits.informative_ratio and signs.rank.low >= limits.informative_rank:
        return Degeneracy("anisotropic" if signs.cosine >= limits.cosine else "spread", reasons)
    if signs.ratio.high > limits.noise_ratio or signs.rank.high > limits.chance_rank:
        return Degeneracy(
            "inconclusive",
            (
                *reasons,
                "That shows neither that images can be told apart (lower bounds of at least "
                f"{limits.informative_ratio:g} and {limits.informative_rank:g}) nor that they "
                f"cannot (upper bounds of at most {limits.noise_ratio:g} and "
                f"{limits.chance_rank:g}).",
            ),
        )
    least = limits.participation * signs.placebo_participation
    if not signs.participation >= least:
        return Degeneracy(
            "inconclusive",
            (
                *reasons,
                f"Yet images scatter in fewer directions (participation ratio "
                f"{signs.participation:.3g}) than placebos ({signs.placebo_participation:.3g}), so "
                "a few directions may tell them apart.",
            ),
        )
    return _collapsed(reasons, pie, tie, nec)


def _collapsed(
    reasons: tuple[str, ...], pie: State | None, tie: State | None, nec: State | None
) -> Degeneracy:
    """Tell collapsed latents that are needed as such from others."""
    exchange = {"PIE": pie, "TIE": tie}
    doing = [name for name, state in exchange.items() if state in ("present", "mixed")]
    if doing:
        return Degeneracy(
            "inconclusive",
            (
                *reasons,
                f"Yet exchanging them does something ({', '.join(doing)}). Measure both at the "
                "same level and on the same pairs.",
            ),
        )
    inert = all(state == "absent" for state in exchange.values())
    if inert and nec in ("present", "mixed"):
        needed = "Exchanging them does nothing (PIE, TIE), and the answer is lost without (NEC)."
        return Degeneracy("collapsed-but-functional", (*reasons, needed))
    if inert and nec == "absent":
        return Degeneracy("collapsed", (*reasons, "Nor is anything lost without them (NEC)."))
    unknown = "Whether they are needed as such was not shown; that takes PIE, TIE and NEC."
    return Degeneracy("collapsed", (*reasons, unknown))


def _raw(signs: Signs) -> str:
    """Say what the raw cosine is, and what is usual."""
    usual = ", ".join(f"{value:.2f} for {name}" for name, value in signs.baselines.items())
    beside = f" ({usual})" if usual else ""
    return f"Mean raw cosine between images: {signs.cosine:.2f}{beside}."


def _compared(signs: Signs) -> tuple[str, str]:
    """Say how images compare with placebos; both were measured."""
    assert signs.ratio is not None
    assert signs.rank is not None
    ratio, rank = signs.ratio, signs.rank
    return (
        f"Between images latents scatter {ratio.mean:.3g} times as much as under placebos "
        f"({ratio.low:.3g} to {ratio.high:.3g}).",
        f"A placebo run is nearer to its own run than to {rank.mean:.0%} of the others "
        f"({rank.low:.0%} to {rank.high:.0%}; 50% by chance).",
    )
