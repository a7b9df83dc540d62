"""Geometry: how latents lie, between runs and from slot to slot, and what that may be called.

Start reading at `similarity_runs`, which takes runs, at `similarity`, which measures latents beside
ordinary states of the same model, and at `degeneracy`, which turns a few of these numbers into a
word. Every measure is a function of plain arrays, in a file of its own.
"""

from mindseye.readouts.geometry.cka import cka
from mindseye.readouts.geometry.degeneracy import (
    LIMITS,
    Degeneracy,
    Limits,
    Signs,
    State,
    degeneracy,
)
from mindseye.readouts.geometry.dependence import dependence
from mindseye.readouts.geometry.dimension import intrinsic_dimension
from mindseye.readouts.geometry.positions import stack, windows
from mindseye.readouts.geometry.procrustes import procrustes_distance
from mindseye.readouts.geometry.retrieval import Retrieval, retrieval
from mindseye.readouts.geometry.rows import TRANSFORMS, Transform, cosines, transformed
from mindseye.readouts.geometry.rsa import Association, rsa
from mindseye.readouts.geometry.runs import similarity_runs
from mindseye.readouts.geometry.scatter import Scatter, scatter
from mindseye.readouts.geometry.similarity import Similarity, similarity
from mindseye.readouts.geometry.spectrum import Spectrum, spectrum
from mindseye.readouts.geometry.steps import contraction, drift
from mindseye.readouts.geometry.tabulating import JOINED, MEASURES

__all__ = [
    "JOINED",
    "LIMITS",
    "MEASURES",
    "TRANSFORMS",
    "Association",
    "Degeneracy",
    "Limits",
    "Retrieval",
    "Scatter",
    "Signs",
    "Similarity",
    "Spectrum",
    "State",
    "Transform",
    "cka",
    "contraction",
    "cosines",
    "degeneracy",
    "dependence",
    "drift",
    "intrinsic_dimension",
    "procrustes_distance",
    "retrieval",
    "rsa",
    "scatter",
    "similarity",
    "similarity_runs",
    "spectrum",
    "stack",
    "transformed",
    "windows",
]
