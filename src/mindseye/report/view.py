"""What the page shows of an audit, as plain values for the template. Nothing is escaped here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mindseye.causal import Margin
from mindseye.reasoners import Trace
from mindseye.reasoners.spans import SPANS
from mindseye.report.beyond import Table, beyond
from mindseye.report.diagram import Diagram, draw_diagram
from mindseye.report.embedded import Figure, embed
from mindseye.report.escaping import visible
from mindseye.report.figures import draw_mediation, draw_slots, draw_sweep, draw_trace
from mindseye.report.figures.outcomes import unit_of
from mindseye.report.numbers import percent
from mindseye.report.pictures import data_uri, shrink
from mindseye.report.trust import Guard, Referee, guards, margin_of, referee
from mindseye.studies import Audit

__all__ = ["VERDICTS", "Example", "ReasonerView", "Token", "view"]

VERDICTS = {
    "mediates": "Putting other latents in moves the answer, and keeping the old ones holds it "
    "back: the latents are both sufficient and necessary.",
    "redundant": "Putting other latents in moves the answer, but the answer moves just as well "
    "without them: sufficient, not necessary.",
    "necessary only jointly": "Other latents alone move nothing, yet the image needs them for its "
    "full effect: necessary, not sufficient.",
    "relay": "What is fed back does nothing, what the slots hold does: they carry what they read "
    "from the image themselves.",
    "marker-format": "Exchanging the slots does nothing, exchanging the markers around them does: "
    "only the markers carry.",
    "soft prompt": "Exchanging latents does nothing, yet the answer is lost without them: they "
    "have to be there, whatever they hold.",
    "negligible": "Neither putting latents in nor holding them back moves the answer by more than "
    "the margin, in the mean or pair by pair. Over all levels it also says that the answer "
    "survives without them.",
    "inconclusive": "The pairs do not decide, or a guard failed. Nothing is claimed.",
}
"""Every verdict's word with its meaning."""

_UNFED = {"header": "text", "start": "end", "latents": "end", "end": "answer"}
"""The span of a run's last token, which was never fed, by the span before it."""

_MOST_SPOKEN = 40
_LONGEST_TEXT = 280
_LONGEST_SIDE = 640


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the visible run and the span it belongs to."""

    text: str
    span: str


@dataclass(frozen=True, slots=True)
class Example:
    """One run."""

    picture: str
    size: tuple[int, int]
    question: str
    gold: str
    answer: str
    is_right: bool
    tokens: tuple[Token, ...]
    figure: Figure


@dataclass(frozen=True, slots=True)
class ReasonerView:
    """One reasoner's section.

    Attributes:
        id: Prefix of its elements' ids.
        name: Unescaped, like all texts here.
        truth: What is known of it beforehand.
        word: The verdict over the whole ladder of levels.
        reasons: Its reasons.
        accuracy: Share of right answers.
        emission_rate: Share of runs that imagined.
        n_pairs: That the effects rest on.
        n_clusters: Images that these are about.
        margin: Its size, with the unit.
        policy: What the margin is made of.
        diagrams: One per level.
        effects: All effects with their intervals.
        guards: What must hold for the verdict to mean anything.
        referee: The checklist.
        sweep: Layers by slots.
        slots: Slots one by one and in order.
        tables: What was measured beyond the six effects.
        examples: Some runs.
    """

    id: str
    name: str
    truth: str
    word: str
    reasons: tuple[str, ...]
    accuracy: str
    emission_rate: str
    n_pairs: int
    n_clusters: int
    margin: str
    policy: str
    diagrams: tuple[Diagram, ...]
    effects: Figure
    guards: tuple[Guard, ...]
    referee: Referee
    sweep: Figure
    slots: Figure
    tables: tuple[Table, ...]
    examples: tuple[Example, ...]


def view(audit: Audit, id: str) -> ReasonerView:
    """Return what the page shows of an audit.

    Args:
        audit: What was found.
        id: Prefix of the section's element ids.
    """
    mediation = audit.mediation
    sweep, slots = _side_by_side(draw_sweep(audit.grid), _slots(audit))
    return ReasonerView(
        id=id,
        name=audit.name,
        truth=audit.truth,
        word=mediation.verdict,
        reasons=mediation.conclusion.reasons,
        accuracy=percent(mediation.accuracy),
        emission_rate=percent(mediation.emission_rate),
        n_pairs=mediation.n_pairs,
        n_clusters=mediation.n_clusters,
        margin=margin_of(mediation),
        policy=_policy(mediation.margin, unit_of(mediation.outcome)),
        diagrams=tuple(draw_diagram(mediation, level) for level in mediation.verdicts),
        effects=embed(
            f"{id}-effects", draw_mediation(mediation), draw_mediation(mediation, stacked=True)
        ),
        guards=guards(audit),
        referee=referee(audit),
        sweep=embed(f"{id}-sweep", sweep),
        slots=embed(f"{id}-slots", slots),
        tables=beyond(audit),
        examples=tuple(
            _example(trace, f"{id}-example{i}") for i, trace in enumerate(audit.examples)
        ),
    )


def _policy(margin: Margin, unit: str) -> str:
    """Say what a margin is made of, its floor left out."""
    share = f"{percent(margin.share_of_te)} of TE"
    if margin.absolute is None:
        return share
    return f"{share} or {f'{margin.absolute:.2g} {unit}'.rstrip()}, whichever is larger"


def _side_by_side(*figures: go.Figure) -> tuple[go.Figure, ...]:
    """Make figures equally high."""
    layouts: list[Any] = [figure.layout for figure in figures]
    height = max(layout.height for layout in layouts)
    return tuple(figure.update_layout(height=height) for figure in figures)


def _slots(audit: Audit) -> go.Figure:
    mediation = audit.mediation
    total = mediation.effect("te", level=next(iter(mediation.verdicts))).mean
    return draw_slots(audit.slots, mediation.outcome, total=total)


def _example(trace: Trace, id: str) -> Example:
    picture = shrink(trace.sample.image, _LONGEST_SIDE)
    return Example(
        picture=data_uri(picture),
        size=picture.size,
        question=_cut(trace.sample.question),
        gold=_cut(trace.sample.answer),
        answer=_cut(trace.answer),
        is_right=trace.answer == trace.sample.answer,
        tokens=_strip(trace),
        figure=embed(id, draw_trace(trace), draw_trace(trace, columns=3)),
    )


def _strip(trace: Trace) -> tuple[Token, ...]:
    """Return the run's tokens: image tokens as one, latents numbered, long answers cut."""
    labels = trace.labels.tolist()
    spans = [SPANS[label] for label in labels]
    spans.append(_UNFED.get(spans[-1], spans[-1]))
    image_token = trace.reasoner.model.config.image_token_id
    strip: list[Token] = []
    n_image = slot = spoken = 0
    for token, text, span in zip(trace.all_ids, trace.tokens(), spans, strict=False):
        if token == image_token:
            n_image += 1
            continue
        if n_image:
            strip.append(Token(f"image × {n_image}", "image"))
            n_image = 0
        if span == "latents":
            text, slot = f"z{slot}", slot + 1
        spoken += span in ("text", "answer")
        if spoken > _MOST_SPOKEN:
            continue
        strip.append(Token(visible(text), span))
    if spoken > _MOST_SPOKEN:
        strip.append(Token(f"… {spoken - _MOST_SPOKEN} more", "answer"))
    return tuple(strip)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
