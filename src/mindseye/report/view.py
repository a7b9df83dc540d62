"""What the page shows of an audit, as plain values for the template. Nothing is escaped here."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from mindseye.causal.verdict import NUMERIC_TOLERANCE
from mindseye.reasoners import Trace
from mindseye.reasoners.spans import SPANS
from mindseye.report.diagram import Diagram, draw_diagram
from mindseye.report.escaping import script_json, visible
from mindseye.report.figures import draw_mediation, draw_sweep, draw_trace
from mindseye.report.numbers import nats, percent, span_of
from mindseye.report.pictures import data_uri, shrink
from mindseye.studies import Audit

__all__ = ["VERDICTS", "Example", "Figure", "Guard", "ReasonerView", "Token", "view"]

VERDICTS = {
    "mediates": "Putting other latents in moves the answer, and keeping the old ones holds it "
    "back: the latents are both sufficient and necessary.",
    "redundant": "Putting other latents in moves the answer, but the answer moves just as well "
    "without them: sufficient, not necessary.",
    "necessary only jointly": "Other latents alone move nothing, yet the image needs them for its "
    "full effect: necessary, not sufficient.",
    "negligible": "Neither putting latents in nor holding them back moves the answer by more than "
    "10% of the total effect.",
    "inconclusive": "The pairs do not decide, or a guard failed. Nothing is claimed.",
}
"""Every verdict's word with its meaning."""

_UNFED = {"header": "text", "start": "end", "latents": "end", "end": "answer"}
"""The span of a run's last token, which was never fed, by the span before it."""

_MOST_SPOKEN = 40
_LONGEST_TEXT = 280
_LONGEST_SIDE = 640


@dataclass(frozen=True, slots=True)
class Figure:
    """A plotly figure for the page: its title in HTML's hands, the rest as JSON.

    Attributes:
        id: Unique within the page.
        title: Unescaped.
        subtitle: Unescaped.
        wide: JSON, safe within a script element.
        narrow: The same for small screens.
    """

    id: str
    title: str
    subtitle: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True)
class Guard:
    """Something that must hold for a verdict to mean anything; `state` is ok, warn or note."""

    name: str
    state: str
    value: str
    meaning: str


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
    """One reasoner's section."""

    id: str
    name: str
    truth: str
    accuracy: str
    emission_rate: str
    n_pairs: int
    diagrams: tuple[Diagram, ...]
    effects: Figure
    sweep: Figure
    guards: tuple[Guard, ...]
    examples: tuple[Example, ...]


def view(audit: Audit, id: str) -> ReasonerView:
    """Return what the page shows of an audit.

    Args:
        audit: What was found.
        id: Prefix of the section's element ids.
    """
    mediation = audit.mediation
    return ReasonerView(
        id=id,
        name=audit.name,
        truth=audit.truth,
        accuracy=percent(mediation.accuracy),
        emission_rate=percent(mediation.emission_rate),
        n_pairs=mediation.n_pairs,
        diagrams=tuple(draw_diagram(mediation, level) for level in mediation.verdicts),
        effects=_figure(
            f"{id}-effects", draw_mediation(mediation), draw_mediation(mediation, stacked=True)
        ),
        sweep=_figure(f"{id}-sweep", draw_sweep(audit.grid), draw_sweep(audit.grid)),
        guards=_guards(audit),
        examples=tuple(
            _example(trace, f"{id}-example{i}") for i, trace in enumerate(audit.examples)
        ),
    )


def _figure(id: str, wide: go.Figure, narrow: go.Figure) -> Figure:
    layout: Any = wide.layout
    title = layout.title
    texts = [html.unescape(t.replace("<br>", " ")) for t in (title.text, title.subtitle.text)]
    return Figure(id, texts[0], texts[1], _figure_json(wide), _figure_json(narrow))


def _figure_json(figure: go.Figure) -> Markup:
    """Return a figure without its title, which the page sets itself, so that it wraps."""
    layout: Any = figure.layout
    top = max(28, layout.margin.t - 62)
    height = layout.height - (layout.margin.t - top)
    figure.update_layout(title=None, height=height, margin={"t": top})
    return Markup(script_json(figure.to_json() or "{}"))


def _guards(audit: Audit) -> tuple[Guard, ...]:
    guards, placebo = audit.mediation.guards, audit.placebo_te
    residual, moved = guards["identity_max_abs"], guards["latents_moved_min"]
    left_out = int(guards["pairs_left_out"])
    bound = audit.mediation.margin * audit.mediation.rows["te"].mean()
    is_quiet = -bound < placebo.low and placebo.high < bound
    return (
        Guard(
            "Identity",
            "ok" if residual <= NUMERIC_TOLERANCE else "warn",
            f"{residual:.1g} nats",
            "The most that an answer moves when a run gets its own latents back. It should be "
            f"rounding only, below {NUMERIC_TOLERANCE:g}.",
        ),
        Guard(
            "Latents moved",
            "ok" if moved > 0 else "warn",
            f"{moved:.2g} or more",
            "Largest change of any latent coordinate, in the pair where it is least. At zero, "
            "nothing would have been put in.",
        ),
        Guard(
            "Placebo effect",
            "ok" if is_quiet else "warn",
            f"{nats(placebo.mean)} nats ({span_of(placebo.low, placebo.high)})",
            "Total effect of a change that leaves the answer as it is. "
            + ("Its interval lies" if is_quiet else "Its interval should lie")
            + f" within {percent(audit.mediation.margin)} of the minimal pairs' total effect.",
        ),
        Guard(
            "Pairs left out",
            "ok" if not left_out else "warn",
            str(left_out),
            "Pairs of which a run did not imagine, or whose latents stand at other positions. The "
            "effects say nothing about them.",
        ),
        _probe_guard(audit),
    )


def _probe_guard(audit: Audit) -> Guard:
    name, found = "Probe", audit.probe
    if found is None:
        return Guard(name, "note", "–", "Too few runs to fit a linear probe on the latents.")
    readable = found.low > found.shuffled
    return Guard(
        name,
        "note",
        f"{percent(found.accuracy)}, shuffled {percent(found.shuffled)}",
        "How often a linear probe reads the gold answer from the latents "
        f"({percent(found.low)} to {percent(found.high)}), and with shuffled labels. "
        + ("The answer can be read there; " if readable else "No sign that it can be read there; ")
        + "whether the model reads it is what the effects say.",
    )


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
        figure=_figure(id, draw_trace(trace), draw_trace(trace, columns=3)),
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
