"""The instrument against models whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch

import mindseye.reasoners as reasoners
from mindseye.causal import Mediation, mediate
from mindseye.engine import Branch, compute, snapshot
from mindseye.errors import UnknownNameError
from mindseye.organisms import DESIGNS, Design, connect, design, leaky, weights_of
from mindseye.organisms.blank import PROTOCOL, blank_model, blank_processor
from mindseye.organisms.blends import rank
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair
from mindseye.studies.practices import SHARED, Practice, practices, right
from mindseye.tasks import task

__all__ = ["GAINS", "KNOWN", "Tested", "Validation", "random_organism", "sensitivity", "validate"]

KNOWN = tuple(name for name, plan in DESIGNS.items() if plan.verdict is not None)
"""Organisms whose verdict is known."""

GAINS = (0.005, 0.01, 0.02, 0.05, 0.08, 0.12, 0.2, 0.4)
"""Of the leak whose smallest detected size is sought."""

_PINS = {"zero": "zero", "noise": "matched_noise", "shared": f"tiny:value={SHARED}"}

Track = Callable[[str, Sequence[Pair]], Iterable[Pair]]
"""Wraps pairs to show progress; the first argument is the organism's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """One organism, its truth and what was found.

    Attributes:
        name: The organism.
        plan: Its design.
        mediation: What `mediate` found.
        practices: What single numbers would have said.
        trained: Whether it ran on the shipped weights.
    """

    name: str
    plan: Design
    mediation: Mediation
    practices: dict[str, Practice]
    trained: bool

    @property
    def wrong(self) -> list[str]:
        """Where the instrument contradicts the truth: levels, or `ladder`; empty if nowhere."""
        found = {level: each.word for level, each in self.mediation.verdicts.items()}
        missed = [level for level, word in self.plan.levels.items() if found[level] != word]
        # Of random weights only what follows from the design is known.
        known = self.trained or len(self.plan.levels) == len(found)
        if known and self.mediation.verdict != self.plan.verdict:
            missed.append("ladder")
        return missed


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the instrument says of every organism."""

    tested: tuple[Tested, ...]

    @property
    def wrong(self) -> dict[str, list[str]]:
        """Organisms of which something is wrong, with where."""
        return {each.name: each.wrong for each in self.tested if each.wrong}

    def to_frame(self) -> pd.DataFrame:
        """Return one row per organism.

        Columns: `organism letter truth verdict right active`, the words of every level, and for
        every practice its number and whether it calls the latents active.
        """
        return pd.DataFrame(
            [
                {"organism": each.name, "letter": each.plan.letter, "truth": each.plan.verdict}
                | {"verdict": each.mediation.verdict, "right": not each.wrong}
                | {"active": each.plan.active}
                | {level: found.word for level, found in each.mediation.verdicts.items()}
                | {name: said.value for name, said in each.practices.items()}
                | {f"{name} active": said.active for name, said in each.practices.items()}
                for each in self.tested
            ]
        )

    def confusion(self) -> pd.DataFrame:
        """Return how often each true verdict was reported as which, and what practices said.

        One row per true verdict; columns are `instrument` and a reported verdict, or a practice and
        `active` or `inert`.
        """
        frame = self.to_frame()
        ours = pd.crosstab(frame["truth"], frame["verdict"])
        parts = {"instrument": ours}
        for name in self.tested[0].practices:
            said = frame[f"{name} active"].map({True: "active", False: "inert"})
            table = pd.crosstab(frame["truth"], said)
            parts[name] = table.reindex(columns=["active", "inert"], fill_value=0)
        return pd.concat(parts, axis=1)


def validate(
    names: Sequence[str] = KNOWN,
    *,
    n_pairs: int = 32,
    seed: int = 0,
    weights: int | None = None,
    track: Track = lambda _name, pairs: pairs,
) -> Validation:
    """Run the whole instrument on organisms whose truth is known.

    Args:
        names: Which organisms.
        n_pairs: Minimal pairs of the digits world for each.
        seed: Of the pairs and the statistics.
        weights: Seed of random weights in the place of the shipped ones. What is true by wiring or
            blend is true of them too; they are asked which of two answers of their own they give.
        track: Shows progress.

    Raises:
        UnknownNameError: An organism that does not exist, or whose truth is not known.
    """
    unknown = [name for name in names if design(name).verdict is None]
    if unknown:
        raise UnknownNameError(
            f"Nothing is known of organism {unknown[0]!r} beforehand; there are "
            f"{', '.join(KNOWN)}. Name some of these."
        )
    return Validation(
        tuple(_test(name, design(name), n_pairs, seed, weights, track) for name in names)
    )


def sensitivity(
    gains: Sequence[float] = GAINS, *, n_pairs: int = 32, seed: int = 0
) -> pd.DataFrame:
    """Return what is seen of a leak through the latents, by its gain.

    Returns:
        One row per gain: `gain mean low high te detected verdict`; `detected` says whether TIE's
        interval at `kv` excludes zero, which is no claim that the leak matters.
    """
    rows = []
    for gain in gains:
        found = _test(f"leaky({gain:g})", leaky(gain), n_pairs, seed, None).mediation
        tie, te = (found.effect(name, level="kv") for name in ("tie", "te"))
        rows.append(
            {"gain": gain, "mean": tie.mean, "low": tie.low, "high": tie.high, "te": te.mean}
            | {"detected": tie.low > 0 or tie.high < 0, "verdict": found.verdict}
        )
    return pd.DataFrame(rows)


def random_organism(plan: Design, seed: int) -> Reasoner:
    """Return a design on random weights, in double precision.

    Its start marker is forced, and its first word after the latents ends the run.

    Args:
        plan: How its parts are connected.
        seed: Of the weights.
    """
    processor = blank_processor()
    protocol = replace(PROTOCOL, trigger="forced")
    model = blank_model(processor, seed).double()
    tokens = protocol.tokens(processor.tokenizer, len(processor.tokenizer))
    words = set(range(len(processor.tokenizer))) - {tokens.start, tokens.pad, tokens.end}
    blank = reasoners.wrap(model, processor, protocol, eos=words, name=f"random:{seed}")
    return connect(blank, plan)


def _test(
    name: str,
    plan: Design,
    n_pairs: int,
    seed: int,
    weights: int | None,
    track: Track = lambda _name, pairs: pairs,
) -> Tested:
    if weights is None:
        reasoner = connect(reasoners.load(weights_of(plan.weights)), plan)
    else:
        reasoner = random_organism(plan, weights)
    pairs = task("digits").pairs(n_pairs, kind="minimal", seed=seed)
    if weights is not None:
        pairs = [_own_answers(reasoner, pair) for pair in pairs]
    if plan.ordered:
        pairs = [_ordered(reasoner, pair) for pair in pairs]
    found = mediate(
        reasoner,
        pairs,
        outcome=("logit_difference", right),
        pins=_PINS,
        seed=seed,
        track=lambda some: track(name, some),
    )
    traces = reasoner.run_batch(
        [sample for pair in pairs for sample in (pair.clean, pair.reference)]
    )
    return Tested(name, plan, found, practices(found, traces, seed=seed), weights is None)


@torch.no_grad()
def _said(reasoner: Reasoner, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is expected first after the latents, in the clean and the reference run."""
    both = reasoner.run_batch([pair.clean, pair.reference], past_key_values=True)
    cut = [trace.until_answer() for trace in both]
    clean, reference = (
        compute(snapshot(run, int(run.latent_positions[0])), [Branch()]).logits[0, 0] for run in cut
    )
    return clean, reference


def _own_answers(reasoner: Reasoner, pair: Pair) -> Pair:
    """Ask a pair for the two tokens between which the model's own runs differ most."""
    clean, reference = _said(reasoner, pair)
    moved = clean - reference
    order = moved.argsort(descending=True).tolist()
    answers = [
        next(filter(None, (_word(reasoner, i) for i in ids))) for ids in (order, order[::-1])
    ]
    return replace(
        pair,
        clean=replace(pair.clean, answer=answers[0]),
        reference=replace(pair.reference, answer=answers[1]),
    )


def _word(reasoner: Reasoner, index: int) -> str:
    """Return a token as a text that is this token again, or nothing."""
    text = reasoner.tokenizer.decode([index], skip_special_tokens=True)
    again = reasoner.tokenizer.encode(text, add_special_tokens=False)
    return text if text.strip() and again == [index] else ""


def _ordered(reasoner: Reasoner, pair: Pair) -> Pair:
    """Turn a pair round, if need be, so that its clean run's answer ranks higher."""
    clean, reference = _said(reasoner, pair)
    if rank(clean) > rank(reference):
        return pair
    return replace(pair, clean=pair.reference, reference=pair.clean)
