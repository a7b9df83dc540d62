"""What there is to know of a loaded reasoner before it runs, and what a few runs show of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

if TYPE_CHECKING:
    from mindseye.reasoners.reasoner import Reasoner
    from mindseye.reasoners.trace import Trace

__all__ = ["LoadReport", "Triggering", "inspect", "triggering"]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How a checkpoint's files became a reasoner.

    Attributes:
        recognised: How its latent protocol was found, in words.
        missing: Weights the stock class needs that the checkpoint lacks.
        unexpected: Weights the checkpoint has that neither the stock class nor the protocol takes.
        extras: Weights beside the stock class that the protocol may use, by name.
        revision: What was loaded of a hub repository; none for folders and models in memory.
    """

    recognised: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Triggering:
    """What a model does when nobody forces it.

    Attributes:
        n_runs: How many samples were run.
        rate: Share of runs with a latent.
        low: Lower end of its exact 95 % interval.
        high: Upper end.
        lengths: How many segments had how many latents.
        segments: How many runs had how many segments.
        segment_stops: Why segments ended.
        run_stops: Why runs ended.
        parse_rate: Share of runs whose answer could be parsed.
        accuracy: Share of runs whose answer is the gold one.
    """

    n_runs: int
    rate: float
    low: float
    high: float
    lengths: dict[int, int]
    segments: dict[int, int]
    segment_stops: dict[str, int]
    run_stops: dict[str, int]
    parse_rate: float
    accuracy: float


def triggering(traces: Sequence[Trace]) -> Triggering:
    """Count what runs did. A model that never emits a latent has the explicit rate 0."""
    n = len(traces)
    emitted = sum(bool(len(trace.latents)) for trace in traces)
    interval = binomtest(emitted, n).proportion_ci()
    segments = [segment for trace in traces for segment in trace.segments]
    return Triggering(
        n_runs=n,
        rate=emitted / n,
        low=float(interval.low),
        high=float(interval.high),
        lengths=_counted(len(segment.slots) for segment in segments),
        segments=_counted(len(trace.segments) for trace in traces),
        segment_stops=_counted(segment.stop for segment in segments),
        run_stops=_counted(trace.stop for trace in traces),
        parse_rate=sum(trace.parsed for trace in traces) / n,
        accuracy=sum(trace.parsed and trace.answer == trace.sample.answer for trace in traces) / n,
    )


def inspect(reasoner: Reasoner) -> dict[str, Any]:
    """Return everything known of a reasoner as plain data: see `docs/reference/inspect.md`."""
    model, tokenizer = reasoner.model, reasoner.tokenizer
    matrix = model.get_input_embeddings()
    head = model.get_output_embeddings()
    text = model.config.get_text_config()
    report = reasoner.report or LoadReport("given in memory")
    return {
        "name": reasoner.name,
        "architecture": {
            "class": type(model).__name__,
            "model_type": model.config.model_type,
            "layers": len(reasoner.architecture.blocks(model)),
            "d_model": text.hidden_size,
            "heads": text.num_attention_heads,
        },
        "protocol": {"recognised": report.recognised, **dataclasses.asdict(reasoner.protocol)},
        "tokens": _tokens(reasoner),
        "vocabulary": {
            "embedding_rows": matrix.num_embeddings,
            "head_rows": head.out_features if hasattr(head, "out_features") else None,
            "tokenizer": None if tokenizer is None else len(tokenizer),
            "tied": bool(matrix.weight.data_ptr() == head.weight.data_ptr()),
        },
        "weights": {
            "missing": list(report.missing),
            "unexpected": list(report.unexpected),
            "extras": list(report.extras),
            "wiring": [dataclasses.asdict(edge) for edge in reasoner.wiring],
            "two_routes": reasoner.blend is not None,
        },
        "pixels": _pixel_limits(reasoner.processor),
        "memory": {
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "parameters": sum(p.numel() for p in model.parameters()),
            "bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        },
        "revision": report.revision,
    }


def _tokens(reasoner: Reasoner) -> dict[str, dict[str, Any]]:
    found = {}
    for role in ("start", "pad", "end", "after_forced_end"):
        index = getattr(reasoner.tokens, role)
        if index is not None:
            said = None if reasoner.tokenizer is None else reasoner.read([index])
            found[role] = {"id": index, "token": said}
    found["eos"] = {"id": sorted(reasoner.eos), "token": None}
    if reasoner.tokenizer is not None:
        found["eos"]["token"] = [reasoner.read([index]) for index in sorted(reasoner.eos)]
    return found


def _pixel_limits(processor: Any) -> dict[str, Any] | None:
    images = getattr(processor, "image_processor", None)
    if images is None:
        return None
    known = ("min_pixels", "max_pixels", "size", "patch_size", "merge_size")
    plain = images.to_dict()
    return {key: plain[key] for key in known if plain.get(key) is not None}


def _counted(values: Any) -> dict[Any, int]:
    return dict(sorted(Counter(values).items()))
