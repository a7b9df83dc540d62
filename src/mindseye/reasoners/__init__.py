"""Models that imagine: loading them, running them, and what a run leaves behind.

Start reading at `Reasoner.run`, which opens a `Stream`, asks a `Decoding` what each step means, and
returns a `Trace`. `load` builds a `Reasoner` from a checkpoint; a `LatentProtocol` is the data that
tells families apart; `Knockout` and `Edit` are the two ways to interfere with a replay.
"""

from mindseye.reasoners.hooks import Edit
from mindseye.reasoners.loading import load
from mindseye.reasoners.protocol import LatentProtocol
from mindseye.reasoners.reasoner import Reasoner
from mindseye.reasoners.trace import Replay, Segment, Trace
from mindseye.reasoners.wiring import Knockout

__all__ = [
    "Edit",
    "Knockout",
    "LatentProtocol",
    "Reasoner",
    "Replay",
    "Segment",
    "Trace",
    "load",
]
