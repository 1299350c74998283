"""Multinomial logistic regression that starts from a prior opinion instead of from nothing.

The log-odds are `scale · prior + features · weights + intercept`. The weights are drawn to 0 and the
scale to 1, so with few labels the prior (the codebook's cues) decides, and with many the data do:
the trained model takes over by evidence. scikit-learn's own estimator takes no such offset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin

Floats = np.ndarray[Any, np.dtype[np.float64]]
ITERATIONS = 200


class PriorLogistic(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression over `n_classes` with prior log-odds.

    `penalty` is the precision of the weights; `trust` and `steadiness` those of the prior's scale
    around 1 and of the intercepts around 0. A class without examples keeps the prior's opinion.
    """

    def __init__(
        self, n_classes: int, penalty: float = 1.0, trust: float = 4.0, steadiness: float = 2.0
    ) -> None:
        self.n_classes = n_classes
        self.penalty = penalty
        self.trust = trust
        self.steadiness = steadiness

    def fit(self, features: Floats, labels: Any, prior: Floats) -> PriorLogistic:
        """Fit n examples: `features` (n × d), `labels` (n, class numbers), `prior` (n × classes)."""
        n_features, k = features.shape[1], self.n_classes
        truth = np.eye(k)[np.asarray(labels, dtype=int)]
        size = n_features * k

        def loss(parameters: Floats) -> tuple[float, Floats]:
            weights = parameters[:size].reshape(n_features, k)
            intercept, scale = parameters[size:-1], parameters[-1]
            logs = log_softmax(features @ weights + intercept + scale * prior, axis=1)
            error = np.exp(logs) - truth
            value = (
                -(truth * logs).sum()
                + 0.5 * self.penalty * (weights * weights).sum()
                + 0.5 * self.steadiness * (intercept @ intercept)
                + 0.5 * self.trust * (scale - 1) ** 2
            )
            slope = np.concatenate([
                (features.T @ error + self.penalty * weights).ravel(),
                error.sum(0) + self.steadiness * intercept,
                [(error * prior).sum() + self.trust * (scale - 1)],
            ])  # fmt: skip
            return float(value), slope

        start = np.zeros(size + k + 1)
        start[-1] = 1.0
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
        self.weights_ = found[:size].reshape(n_features, k)
        self.intercept_ = found[size:-1]
        self.scale_ = float(found[-1])
        self.classes_ = np.arange(k)
        return self

    def decision_function(self, features: Floats, prior: Floats) -> Floats:
        """Return the log-odds of each class (n × classes), up to a constant a row."""
        return np.asarray(features @ self.weights_ + self.intercept_ + self.scale_ * prior)

    def predict_proba(self, features: Floats, prior: Floats) -> Floats:
        """Return the probability of each class (n × classes)."""
        return np.asarray(np.exp(log_softmax(self.decision_function(features, prior), axis=1)))
