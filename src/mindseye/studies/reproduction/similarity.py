"""Finding 1: are latents of different inputs alike, and do they collapse along the steps?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mindseye.causal import Interval
from mindseye.readouts import Similarity, similarity_runs
from mindseye.samples import Pair
from mindseye.studies.reproduction.claims import Claim, Part, Published, Rule, beside
from mindseye.studies.reproduction.models import Models
from mindseye.studies.reproduction.states import States, imagined, same_length, states_of
from mindseye.studies.reproduction.tracking import Track

__all__ = ["similarity_claims"]

PART = "Finding 1: latents are alike, and collapse along the steps"

_HALFWAY = 0.7
_WHY_HALFWAY = "Halfway between what is published of latents (from 0.9) and of all else (to 0.5)."
_NEAR_ONE = 0.85
_WHY_NEAR_ONE = "Halfway between identical (1) and the most that is published of words (0.7)."
_LEAST_GAP = 0.2
_FIGURES = (("latents", "≈ 0.9 to 1.0"), ("text, image and inner states", "≈ 0.2 to 0.5"))
_READ_OFF = "figure 2b, read off by third parties"


def similarity_claims(
    models: Models, minimal: Sequence[Pair], placebo: Sequence[Pair], *, seed: int, track: Track
) -> tuple[Part, pd.DataFrame]:
    """Measure how alike steps are, between inputs and along a run.

    Args:
        models: What runs.
        minimal: Pairs whose clean samples are run.
        placebo: Pairs on the same clean samples: what of a state changes though nothing should.
        seed: Of resamples and windows.
        track: Shows progress.

    Returns:
        The claims, and the curves along the steps: `kind model seed step value low high`.
    """
    samples = [pair.clean for pair in minimal]
    quiet = [pair.reference for pair in placebo]
    latents, geometry, words = [], [], []
    for model in models.latents:
        (runs, calm) = track(f"{model.name}: similarity", [samples, quiet])
        kept, calmed = same_length(
            model, model.reasoner.run_batch(runs), model.reasoner.run_batch(calm)
        )
        latents.append(states_of(model, kept, seed))
        geometry.append(similarity_runs(kept, placebos=[calmed], n_permutations=99, seed=seed))
    for model in models.words:
        (asked,) = track(f"{model.name}: similarity", [samples])
        words.append(states_of(model, imagined(model, model.reasoner.run_batch(asked)), seed))
    claims = (
        _alike(latents, geometry),
        _others_not(geometry),
        _words_not(words),
        _apart(latents, words),
        _rising(latents),
        _adjacent(latents, words),
        _adjacent_words(words),
    )
    rows = [_rows(each, place) for held in (latents, words) for place, each in enumerate(held)]
    return Part(claims, pd.concat(rows, ignore_index=True)), _curves(latents, words)


def _alike(latents: Sequence[States], geometry: Sequence[Similarity]) -> Claim:
    found = tuple(each.over_pairs(each.between().mean(axis=0)) for each in latents)
    signs = [each.signs() for each in geometry]
    words = [each.degeneracy() for each in geometry]
    return Claim(
        key="latents-alike",
        title="Latents are nearly the same for all inputs",
        part=PART,
        published=Published(
            "Latents of different inputs are almost uniformly alike.", _FIGURES, _READ_OFF
        ),
        quantity="raw cosine between the latents of two inputs, mean over steps",
        unit="cosine",
        rule=Rule(low=_HALFWAY, why=_WHY_HALFWAY),
        found=found,
        unseen="A raw cosine is high wherever states share a mean, whatever they tell of the "
        "input. Beside it stand states at the same slots, the cosine without the mean, and whether "
        "two pictures differ more than two that should make no difference (scatter over placebos; "
        "1 is no more).",
        notes=tuple(
            f"Seed {place}: the geometry is called {word.word}. {' '.join(word.reasons)}"
            for place, word in enumerate(words)
        ),
        beside=(
            beside(
                "What the raw cosine hides",
                "Means over steps. A dummy token is fed at the same slots of the same runs; "
                "without the step's mean, 0 is no likeness",
                "cosine",
                {
                    "latents, raw": found,
                    "dummy tokens at the slots, raw": [
                        each.signs().baselines.get("dummy tokens", np.nan) for each in geometry
                    ],
                    "latents of one answer, less the mean": [
                        each.by_answer(True) for each in latents
                    ],
                    "latents of two answers, less the mean": [
                        each.by_answer(False) for each in latents
                    ],
                },
            ),
            beside(
                "Whether pictures are told apart",
                "Scatter between pictures over scatter between placebos",
                "times",
                {"all steps": [each.ratio or np.nan for each in signs]},
            ),
        ),
    )


def _others_not(geometry: Sequence[Similarity]) -> Claim:
    raw = {
        name: [_raw(each, name) for each in geometry]
        for name in ("text", "image tokens")
        if all(name in each.populations for each in geometry)
    }
    higher = tuple(max(each, key=lambda one: one.mean) for each in zip(*raw.values(), strict=True))
    return Claim(
        key="others-unlike",
        title="Text and image states of the same model are not",
        part=PART,
        published=Published(
            "Text, image and inner states of different inputs are far less alike.",
            _FIGURES[::-1],
            _READ_OFF,
        ),
        quantity="raw cosine between inputs of question or image states, the higher of the two",
        unit="cosine",
        rule=Rule(high=_HALFWAY, why=_WHY_HALFWAY),
        found=higher,
        unseen="Which layer and positions were compared is not published. Here it is the layer "
        "that latents are taken from, at positions drawn anew in every run.",
        beside=(beside("By kind of state", "Raw cosine between inputs", "cosine", dict(raw)),),
    )


def _raw(found: Similarity, population: str) -> Interval:
    """Return a population's raw cosine between inputs, of all steps joined."""
    rows = found.to_frame().query(
        "population == @population and slot == -1 and measure == 'inter-instance cosine' "
        "and transform == 'raw' and against == ''"
    )
    return Interval(*rows[["value", "low", "high"]].iloc[0].astype(float))


def _words_not(words: Sequence[States]) -> Claim:
    return Claim(
        key="words-unlike",
        title="States behind imagined words are not alike",
        part=PART,
        published=Published(
            "Hidden states of imagined words have a low cosine between inputs.",
            (("imagined words", "≈ 0.2 to 0.5"),),
            "figure 4, read off by third parties",
        ),
        quantity="raw cosine between the states behind two inputs' words, mean over steps",
        unit="cosine",
        rule=Rule(high=_HALFWAY, why=_WHY_HALFWAY),
        found=tuple(each.over_pairs(each.between().mean(axis=0)) for each in words),
        unseen="Words at one place may be alike because they are the same word, and unlike because "
        "they are not: that is grammar, not content. Both are shown apart.",
        beside=(
            beside(
                "Words of one place",
                "Raw cosine between inputs, and without each step's mean",
                "cosine",
                {
                    "both say the same word": [
                        each.over_pairs(each.same_token(True)) for each in words
                    ],
                    "each says another word": [
                        each.over_pairs(each.same_token(False)) for each in words
                    ],
                    "one gold answer, less the mean": [each.by_answer(True) for each in words],
                    "two gold answers, less the mean": [each.by_answer(False) for each in words],
                },
            ),
        ),
    )


def _apart(latents: Sequence[States], words: Sequence[States]) -> Claim:
    found = []
    for one, other in zip(latents, words, strict=True):
        shared = [item for item in one.items if item in other.items]
        mine, theirs = one.part(shared), other.part(shared)
        gap = mine.between().mean(axis=0) - theirs.between().mean(axis=0)
        found.append(mine.over_pairs(gap))
    return Claim(
        key="latents-more-alike",
        title="Latents are more alike than words",
        part=PART,
        published=Published(
            "Latents of different inputs are far more alike than states of imagined words.",
            (("latents", "≈ 0.9 to 1.0"), ("imagined words", "≈ 0.2 to 0.5")),
            "figures 2b and 4, read off by third parties",
        ),
        quantity="raw cosine of latents less that of words, on the same inputs",
        unit="cosine",
        rule=Rule(low=_LEAST_GAP, why="Half of the smallest published gap (0.4)."),
        found=tuple(found),
        unseen="Two models were compared that differ in training, base and data besides. Here only "
        "the way of imagining differs.",
    )


def _rising(latents: Sequence[States]) -> Claim:
    return Claim(
        key="latents-converge",
        title="Latents of different inputs converge along the steps",
        part=PART,
        published=Published(
            "Latents are distinct at first and collapse progressively.",
            (
                ("Monet", "distinct, then collapsed from about step 5"),
                ("LVR", "collapsed by step 2"),
                ("Mirage", "alike throughout"),
            ),
            "section 3, figure 2b and the grids of the repository",
        ),
        quantity="raw cosine between inputs at the last step less that at the first",
        unit="cosine",
        rule=Rule(low=0.0, why="More alike at the end than at the beginning, by however little."),
        found=tuple(each.over_pairs(each.between()[-1] - each.between()[0]) for each in latents),
        unseen="A mean that grows along the steps raises the raw cosine without any picture being "
        "lost. What is lost, scatter over placebos says (above).",
    )


def _adjacent(latents: Sequence[States], words: Sequence[States]) -> Claim:
    return Claim(
        key="steps-alike",
        title="Latents hardly change from step to step",
        part=PART,
        published=Published(
            "Latents of one run are nearly identical.",
            (("Mirage", "near-identical throughout"), ("words", "≈ 0.4 to 0.7")),
            "section 3 and figure 4, read off by third parties",
        ),
        quantity="raw cosine of a latent with the next one",
        unit="cosine",
        rule=Rule(low=_NEAR_ONE, why=_WHY_NEAR_ONE),
        found=tuple(each.over_runs(each.within().mean(axis=1)) for each in latents),
        unseen="Neighbours may be alike because all states are. The cosine of latents two inputs "
        "apart, above, is what to hold this against.",
    )


def _adjacent_words(words: Sequence[States]) -> Claim:
    return Claim(
        key="word-steps-unlike",
        title="States behind words change from step to step",
        part=PART,
        published=Published(
            "States of imagined words change clearly from step to step.",
            (("imagined words", "≈ 0.4 to 0.7"),),
            "figure 4, read off by third parties",
        ),
        quantity="raw cosine of the state behind a word with that behind the next",
        unit="cosine",
        rule=Rule(high=_NEAR_ONE, why=_WHY_NEAR_ONE),
        found=tuple(each.over_runs(each.within().mean(axis=1)) for each in words),
        unseen="A state that is to say another word next has to change; that is no sign of what "
        "the words are good for.",
    )


def _curves(latents: Sequence[States], words: Sequence[States]) -> pd.DataFrame:
    """Return raw cosines between inputs along the steps."""
    rows = []
    for kind, held in (("latents", latents), ("words", words)):
        for place, states in enumerate(held):
            for step, every in enumerate(states.between()):
                found = states.over_pairs(every)
                rows.append(
                    {"kind": kind, "model": states.model.name, "seed": place, "step": step}
                    | {"value": found.mean, "low": found.low, "high": found.high}
                )
    return pd.DataFrame(rows)


def _rows(states: States, place: int) -> pd.DataFrame:
    """Return every run's mean cosine with others, and each step's with the next."""
    own = {"part": "similarity", "seed": place, "model": states.model.name}
    n = len(states.items)
    others = (states.between().sum(axis=2) - 1) / (n - 1)
    rows = [
        own
        | {"item": item, "arm": f"step {step}", "measure": "cosine with other inputs"}
        | {"value": float(others[step, run]), "answer": ""}
        for run, item in enumerate(states.items)
        for step in range(len(others))
    ]
    rows += [
        own
        | {"item": item, "arm": f"step {step}", "measure": "cosine with the next step"}
        | {"value": float(value), "answer": ""}
        for item, values in zip(states.items, states.within(), strict=True)
        for step, value in enumerate(values)
    ]
    return pd.DataFrame(rows)
