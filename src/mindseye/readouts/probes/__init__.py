"""Probes: what can be read from latents, whether or not the model reads it.

Start reading at `probe` (`single.py`), which reads one representation and sets the result beside
its controls. Below it, `samples` checks what is given, `folds` keeps images whole, `kinds` and
`reading` fit, `bits` turns probabilities into information, `shares` makes intervals. Above it,
`probe_runs` reads a reasoner's runs, with baselines at the same layer. `conditional_gain` asks what
latents add to image and question, `learning_curve` and `planted_power` what samples like these
could have shown, `decodability` what may be said, and `derived_question` asks the model itself.
"""

from mindseye.readouts.probes.derived import ARMS, DerivedQuestions, derived_question
from mindseye.readouts.probes.gain import Gain, conditional_gain
from mindseye.readouts.probes.kinds import KINDS
from mindseye.readouts.probes.learning import learning_curve
from mindseye.readouts.probes.power import Decodability, Power, decodability, planted_power
from mindseye.readouts.probes.runs import FORMS, MEASURES, ProbeBars, probe_runs, probe_states
from mindseye.readouts.probes.single import Probe, probe
from mindseye.readouts.probes.states import BASELINES, FED, TWIN, states_of
from mindseye.readouts.probes.twin import random_twin

__all__ = [
    "ARMS",
    "BASELINES",
    "FED",
    "FORMS",
    "KINDS",
    "MEASURES",
    "TWIN",
    "Decodability",
    "DerivedQuestions",
    "Gain",
    "Power",
    "Probe",
    "ProbeBars",
    "conditional_gain",
    "decodability",
    "derived_question",
    "learning_curve",
    "planted_power",
    "probe",
    "probe_runs",
    "probe_states",
    "random_twin",
    "states_of",
]
