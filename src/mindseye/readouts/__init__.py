"""What is read from runs: outcomes for experiments, and what the latents say.

Start reading at `outcomes`, one number per edited run, and at `reading`, the plug-in point for all
that reads whole runs. Four rooms follow: `probes`, `geometry`, `lenses` and `attending`; `offered`
has them as plug-ins, each with the control that stands beside its numbers.
"""

from mindseye.readouts.attending import Attention, attention
from mindseye.readouts.geometry import Similarity, degeneracy, similarity, similarity_runs
from mindseye.readouts.lenses import Lens, build_index, fit_tuned_lens, lens
from mindseye.readouts.outcomes import logit_difference
from mindseye.readouts.probes import Probe, ProbeBars, probe, probe_runs, random_twin
from mindseye.readouts.reading import Readout, find_readout, readout

__all__ = [
    "Attention",
    "Lens",
    "Probe",
    "ProbeBars",
    "Readout",
    "Similarity",
    "attention",
    "build_index",
    "degeneracy",
    "find_readout",
    "fit_tuned_lens",
    "lens",
    "logit_difference",
    "probe",
    "probe_runs",
    "random_twin",
    "readout",
    "similarity",
    "similarity_runs",
]
