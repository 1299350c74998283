"""Multinomial logistic regression that starts from a prior opinion instead of from nothing.

The log-odds are `prior + features · weights + intercept`, and the weights are drawn to 0: with few
labels the prior (the codebook's cues) decides, and with many the data do, so the trained model takes
over by evidence. scikit-learn's own estimator takes no such offset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin

Floats = np.ndarray[Any, np.dtype[np.float64]]
OPTIONS = {"maxiter": 200, "ftol": 1e-6, "gtol": 1e-3}


class PriorLogistic(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression over `n_classes` with prior log-odds.

    `penalty` is the precision of the weights around 0, `steadiness` that of the intercepts. A class
    without examples keeps the prior's opinion.
    """

    def __init__(self, n_classes: int, penalty: float = 1.0, steadiness: float = 2.0) -> None:
        self.n_classes = n_classes
        self.penalty = penalty
        self.steadiness = steadiness

    def fit(self, features: Floats, labels: Any, prior: Floats) -> PriorLogistic:
        """Fit n examples: `features` (n × d), `labels` (n, class numbers), `prior` (n × classes)."""
        n_features, k = features.shape[1], self.n_classes
        truth = np.eye(k)[np.asarray(labels, dtype=int)]
        size = n_features * k

        def loss(parameters: Floats) -> tuple[float, Floats]:
            weights = parameters[:size].reshape(n_features, k)
            intercept = parameters[size:]
            logs = log_softmax(features @ weights + intercept + prior, axis=1)
            error = np.exp(logs) - truth
            value = (
                -(truth * logs).sum()
                + 0.5 * self.penalty * (weights * weights).sum()
                + 0.5 * self.steadiness * (intercept @ intercept)
            )
            slope = (features.T @ error + self.penalty * weights).ravel()
            return float(value), np.concatenate([slope, error.sum(0) + self.steadiness * intercept])

        found = minimize(loss, np.zeros(size + k), jac=True, method="L-BFGS-B", options=OPTIONS).x
        self.weights_ = found[:size].reshape(n_features, k)
        self.intercept_ = found[size:]
        self.classes_ = np.arange(k)
        return self

    def decision_function(self, features: Floats, prior: Floats) -> Floats:
        """Return the log-odds of each class (n × classes), up to a constant a row."""
        return np.asarray(features @ self.weights_ + self.intercept_ + prior)

    def predict_proba(self, features: Floats, prior: Floats) -> Floats:
        """Return the probability of each class (n × classes)."""
        return np.asarray(np.exp(log_softmax(self.decision_function(features, prior), axis=1)))
