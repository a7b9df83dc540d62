"""Figures and the self-contained HTML report.

Start reading at `write_report`, which renders audits into a folder. The figures it shows are plotly
figures of their own, in `figures/`; results find them by name through the registry, so that
`mediation.plot()` needs nothing of this room. What came from a model or a dataset is untrusted: see
`escaping`.
"""

from mindseye.report.claims import reproduction_table
from mindseye.report.figures import (
    draw_attention,
    draw_attribution,
    draw_collapse,
    draw_gaze,
    draw_knockouts,
    draw_lens,
    draw_mediation,
    draw_paths,
    draw_probes,
    draw_similarity,
    draw_slots,
    draw_sweep,
    draw_trace,
)
from mindseye.report.listing import LISTS, parameter_table, plugin_table
from mindseye.report.output import check_writable, write_whole
from mindseye.report.page import write_report
from mindseye.report.reproduction import write_reproduction
from mindseye.report.terminal import (
    effects_table,
    inspection_table,
    sensitivity_table,
    validation_tables,
    verdict_table,
)

__all__ = [
    "LISTS",
    "check_writable",
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
    "effects_table",
    "inspection_table",
    "parameter_table",
    "plugin_table",
    "reproduction_table",
    "sensitivity_table",
    "validation_tables",
    "verdict_table",
    "write_report",
    "write_reproduction",
    "write_whole",
]
