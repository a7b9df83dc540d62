"""Kinds of probe: each a scikit-learn pipeline that standardises, projects and reads."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from mindseye.errors import UnknownNameError

__all__ = ["KINDS", "N_COMPONENTS", "pipeline"]

KINDS = ("logistic", "ridge", "mlp", "neighbours")
"""L2 logistic regression, ridge regression, one hidden layer, nearest neighbours."""

N_COMPONENTS = 32

_LOGIT_VARIANCE = 10.0
"""C of the logistic probe. Features have a total variance of about 1, so this is how large logits
are expected to be; probabilities are tempered afterwards."""

_HIDDEN = 16
_NEIGHBOURS = 10


def pipeline(kind: str, n_train: int, n_dims: int, n_components: int = N_COMPONENTS) -> Any:
    """Return an unfitted probe: `scale`, `project` and `read`.

    The projection is PCA. Its scores come from inner products between samples, which for 160
    samples of 35,840 dimensions is twenty times as fast as an SVD, and are divided by the root of
    the number of dimensions, so that one strength of regularisation suits them all.

    Args:
        kind: One of `KINDS`.
        n_train: How many samples it will be fitted on; half as many components are the most.
        n_dims: Dimensions of a sample.
        n_components: Components to keep, if there are as many.

    Raises:
        UnknownNameError: There is no such kind.
    """
    from sklearn.decomposition import KernelPCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    kept = max(1, min(n_components, n_dims, n_train // 2))
    products = KernelPCA(kept, kernel="poly", degree=1, coef0=0, random_state=0)
    return Pipeline(
        [("scale", StandardScaler()), ("project", products), ("read", _reader(kind, n_train))]
    )


def check_kind(kind: str) -> None:
    """Refuse a kind of probe that there is not.

    Raises:
        UnknownNameError: The message names the nearest.
    """
    if kind not in KINDS:
        (nearest,) = get_close_matches(kind, KINDS, n=1, cutoff=0) or KINDS[:1]
        raise UnknownNameError(
            f"No kind of probe {kind!r}; there are: {', '.join(KINDS)}. Did you mean {nearest!r}?"
        )


def _reader(kind: str, n_train: int) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_kind(kind)
    if kind == "logistic":
        return LogisticRegression(C=_LOGIT_VARIANCE, max_iter=1000)
    if kind == "ridge":
        return RidgeClassifier(alpha=1 / _LOGIT_VARIANCE)
    if kind == "mlp":
        net = MLPClassifier((_HIDDEN,), solver="lbfgs", alpha=1.0, max_iter=100, random_state=0)
        return make_pipeline(StandardScaler(), net)
    return KNeighborsClassifier(max(1, min(_NEIGHBOURS, n_train // 3)))
