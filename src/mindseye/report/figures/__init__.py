"""Plotly figures, one file per thing drawn.

Each is registered under the kind "figure", so `Mediation.plot`, `Grid.heatmap`, `Trace.show` and
the others find it by name.
"""

from mindseye.report.figures.attention import draw_attention, draw_gaze
from mindseye.report.figures.attribution import draw_attribution
from mindseye.report.figures.geometry import draw_collapse, draw_similarity
from mindseye.report.figures.knockouts import draw_knockouts
from mindseye.report.figures.lens import draw_lens
from mindseye.report.figures.mediation import draw_mediation
from mindseye.report.figures.paths import draw_paths
from mindseye.report.figures.probes import draw_probes
from mindseye.report.figures.slots import draw_slots
from mindseye.report.figures.sweep import draw_sweep
from mindseye.report.figures.trace import draw_trace

__all__ = [
    "draw_attention",
    "draw_attribution",
    "draw_collapse",
    "draw_gaze",
    "draw_knockouts",
    "draw_lens",
    "draw_mediation",
    "draw_paths",
    "draw_probes",
    "draw_similarity",
    "draw_slots",
    "draw_sweep",
    "draw_trace",
]
