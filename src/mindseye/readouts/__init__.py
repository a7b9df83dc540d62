"""What is read from runs: outcomes for experiments, and probes of the latents.

Start reading at `outcomes`; an outcome is a function that `@register("outcome", name)` offers.
"""

from mindseye.readouts.outcomes import logit_difference
from mindseye.readouts.probes import Probe, probe

__all__ = ["Probe", "logit_difference", "probe"]
