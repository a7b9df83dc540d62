"""Models that imagine: loading them, running them, and what a run leaves behind.

Start reading at `Reasoner.run`: it opens a `Stream` on a `Prompt`, `generate` steps it while a
`Decoding` says what each step means, and a `Trace` is what is left. `load` builds a `Reasoner` from
a checkpoint, `wrap` from a model in memory; a `LatentProtocol` is the data that tells families
apart, and `protocol` returns a published one by name. `Knockout` and `Edit` are the two ways to
interfere with a replay.
"""

from mindseye.reasoners.blending import Blend, Route
from mindseye.reasoners.choosing import Sampling
from mindseye.reasoners.hooks import Edit
from mindseye.reasoners.inspection import LoadReport, Triggering, inspect, triggering
from mindseye.reasoners.loading import load, wrap
from mindseye.reasoners.presets import protocol
from mindseye.reasoners.prompt import PromptStyle
from mindseye.reasoners.protocols import EndVector, LatentProtocol
from mindseye.reasoners.reasoner import Reasoner
from mindseye.reasoners.trace import Replay, Segment, Trace
from mindseye.reasoners.wiring import Cut, Edges, Knockout

__all__ = [
    "Blend",
    "Cut",
    "Edges",
    "Edit",
    "EndVector",
    "Knockout",
    "LatentProtocol",
    "LoadReport",
    "PromptStyle",
    "Reasoner",
    "Replay",
    "Route",
    "Sampling",
    "Segment",
    "Trace",
    "Triggering",
    "inspect",
    "load",
    "protocol",
    "triggering",
    "wrap",
]
