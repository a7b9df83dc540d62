"""Plotly figures, one file per thing drawn.

Each is registered under the kind "figure", so `Mediation.plot`, `Grid.heatmap` and `Trace.show`
find it by name.
"""

from mindseye.report.figures.mediation import draw_mediation
from mindseye.report.figures.sweep import draw_sweep
from mindseye.report.figures.trace import draw_trace

__all__ = ["draw_mediation", "draw_sweep", "draw_trace"]
