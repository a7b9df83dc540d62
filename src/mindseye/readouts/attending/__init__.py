"""Attention: where latents look, in the sequence and in the picture.

Start reading at `attention`. It takes `patterns` of a run's slots from one forward pass, lays the
picture's tokens out as the processor cut them, and applies the `measures`: mass by segment,
entropy, and the enrichment of a region beside that of other samples' regions.
"""

from mindseye.readouts.attending.attention import MEAN, Attention, Gaze, attention
from mindseye.readouts.attending.measures import OTHER, TO, enrichment, entropy, masses
from mindseye.readouts.attending.patterns import Patterns, slot_patterns

__all__ = [
    "MEAN",
    "OTHER",
    "TO",
    "Attention",
    "Gaze",
    "Patterns",
    "attention",
    "enrichment",
    "entropy",
    "masses",
    "slot_patterns",
]
