"""mindseye: causal audits of multimodal models that imagine before they answer.

The names below are the public face; each is imported from its room when first used, so that
`import mindseye` loads neither torch nor plotly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mindseye.causal import Margin, forecast, means, mediate
    from mindseye.engine import (
        attribute,
        backup_effects,
        battery,
        crossed_design,
        dose_response,
        knock_out,
        path_patch,
        slot_effects,
        strict_runs,
        sweep,
    )
    from mindseye.errors import MindseyeError
    from mindseye.plugins import register
    from mindseye.readouts import probe
    from mindseye.reasoners import (
        Edges,
        Edit,
        Knockout,
        LatentProtocol,
        Reasoner,
        Sampling,
        Trace,
        inspect,
        load,
        protocol,
        wrap,
    )
    from mindseye.samples import Pair, Sample
    from mindseye.tasks import task

__version__ = "0.1.0"

_ROOMS = {
    "Edges": "reasoners",
    "Edit": "reasoners",
    "Knockout": "reasoners",
    "LatentProtocol": "reasoners",
    "Margin": "causal",
    "MindseyeError": "errors",
    "Pair": "samples",
    "Reasoner": "reasoners",
    "Sample": "samples",
    "Sampling": "reasoners",
    "Trace": "reasoners",
    "attribute": "engine",
    "backup_effects": "engine",
    "battery": "engine",
    "crossed_design": "engine",
    "dose_response": "engine",
    "forecast": "causal",
    "inspect": "reasoners",
    "knock_out": "engine",
    "load": "reasoners",
    "means": "causal",
    "mediate": "causal",
    "path_patch": "engine",
    "probe": "readouts",
    "protocol": "reasoners",
    "register": "plugins",
    "slot_effects": "engine",
    "strict_runs": "engine",
    "sweep": "engine",
    "task": "tasks",
    "wrap": "reasoners",
}

__all__ = [
    "Edges",
    "Edit",
    "Knockout",
    "LatentProtocol",
    "Margin",
    "MindseyeError",
    "Pair",
    "Reasoner",
    "Sample",
    "Sampling",
    "Trace",
    "attribute",
    "backup_effects",
    "battery",
    "crossed_design",
    "dose_response",
    "forecast",
    "inspect",
    "knock_out",
    "load",
    "means",
    "mediate",
    "path_patch",
    "probe",
    "protocol",
    "register",
    "slot_effects",
    "strict_runs",
    "sweep",
    "task",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'mindseye' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mindseye.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
