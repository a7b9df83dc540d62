"""What one may change about a sample.

A perturbation is a function from a sample to another one, under a name, with what it declares about
itself: whether the grid stays, whether the result looks like what the model knows, whether the
right answer is expected to change, and which parts of a sample it may touch. Every call is held to
that. No torch here.

Start reading at `perturbing`, the plug-in point; `pixels` has the simplest ones, `pairing` makes
pairs of them.
"""

from mindseye.interventions.asking import Parameter
from mindseye.interventions.perturbations.exchanges import (
    another_image,
    another_question,
    drop_image,
)
from mindseye.interventions.perturbations.layout import (
    crop_jitter,
    patch_shuffle,
    resolution,
    smaller,
)
from mindseye.interventions.perturbations.options import permute_options
from mindseye.interventions.perturbations.pairing import perturbed_pairs
from mindseye.interventions.perturbations.perturbing import (
    Perturbation,
    find_perturbation,
    perturbation,
)
from mindseye.interventions.perturbations.pixels import blank, blur, grey, jpeg, mean_colour, noise
from mindseye.interventions.perturbations.redrawing import Redraws, redraw
from mindseye.interventions.perturbations.regions import mask_random, mask_rest, mask_target
from mindseye.interventions.perturbations.words import mask_words, paraphrase

__all__ = [
    "Parameter",
    "Perturbation",
    "Redraws",
    "another_image",
    "another_question",
    "blank",
    "blur",
    "crop_jitter",
    "drop_image",
    "find_perturbation",
    "grey",
    "jpeg",
    "mask_random",
    "mask_rest",
    "mask_target",
    "mask_words",
    "mean_colour",
    "noise",
    "paraphrase",
    "patch_shuffle",
    "permute_options",
    "perturbation",
    "perturbed_pairs",
    "redraw",
    "resolution",
    "smaller",
]
