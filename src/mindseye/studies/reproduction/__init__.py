"""The paper's whole argument on miniature models, claim by claim.

Start reading at `reproduce`. A `Claim` holds what was published, a rule drawn from that
which can come out either way, and one number with its interval per training seed. There is a file
per subject: `similarity` (finding 1), `interventions` (2), `derived` (3), `accuracy`, `words` (text
in the place of latents), `matching` (both under edits of the same strength) and `costs`.
"""

from mindseye.studies.reproduction.claims import WORDS, Beside, Claim, Published, Rule
from mindseye.studies.reproduction.models import MODELS
from mindseye.studies.reproduction.running import PAPER, Reproduction, check_paper, reproduce

__all__ = [
    "MODELS",
    "PAPER",
    "WORDS",
    "Beside",
    "Claim",
    "Published",
    "Reproduction",
    "Rule",
    "check_paper",
    "reproduce",
]
