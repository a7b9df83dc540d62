"""mindseye: causal audits of multimodal models that imagine before they answer.

The names below are the public face; each is imported from its room when first used, so that
`import mindseye` loads neither torch nor plotly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mindseye.causal import (
        Margin,
        forecast,
        means,
        mediate,
    )
    from mindseye.engine import (
        attribute,
        backup_effects,
        battery,
        blind_runs,
        crossed_design,
        dose_response,
        knock_out,
        optimal_constant,
        path_patch,
        slot_effects,
        strict_runs,
        sweep,
    )
    from mindseye.engine.contrast import (
        outcome,
    )
    from mindseye.errors import (
        MindseyeError,
    )
    from mindseye.interventions.perturbations import (
        perturbation,
        perturbed_pairs,
    )
    from mindseye.interventions.replacements import (
        find_replacement,
        replacement,
    )
    from mindseye.plugins import (
        register,
    )
    from mindseye.readouts import (
        attention,
        lens,
        probe,
        probe_runs,
        readout,
        similarity,
        similarity_runs,
    )
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
    from mindseye.samples import (
        Pair,
        Sample,
    )
    from mindseye.tasks import (
        task,
    )

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
    "attention": "readouts",
    "attribute": "engine",
    "backup_effects": "engine",
    "battery": "engine",
    "blind_runs": "engine",
    "crossed_design": "engine",
    "dose_response": "engine",
    "find_replacement": "interventions.replacements",
    "forecast": "causal",
    "inspect": "reasoners",
    "knock_out": "engine",
    "lens": "readouts",
    "load": "reasoners",
    "means": "causal",
    "mediate": "causal",
    "optimal_constant": "engine",
    "outcome": "engine.contrast",
    "path_patch": "engine",
    "perturbation": "interventions.perturbations",
    "perturbed_pairs": "interventions.perturbations",
    "probe": "readouts",
    "probe_runs": "readouts",
    "protocol": "reasoners",
    "readout": "readouts",
    "register": "plugins",
    "replacement": "interventions.replacements",
    "similarity": "readouts",
    "similarity_runs": "readouts",
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
    "attention",
    "attribute",
    "backup_effects",
    "battery",
    "blind_runs",
    "crossed_design",
    "dose_response",
    "find_replacement",
    "forecast",
    "inspect",
    "knock_out",
    "lens",
    "load",
    "means",
    "mediate",
    "optimal_constant",
    "outcome",
    "path_patch",
    "perturbation",
    "perturbed_pairs",
    "probe",
    "probe_runs",
    "protocol",
    "readout",
    "register",
    "replacement",
    "similarity",
    "similarity_runs",
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
