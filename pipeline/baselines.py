"""What the model is measured against, in the same folds: rules, plain TF-IDF, majority, guesses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pipeline.features import BLOCKS, WIDTH, Floats
from pipeline.model import Examples, rules_model, train
from pipeline.rules import Rules

PLAIN_C = 10.0
PLAIN_DOCUMENTS = 2  # training documents at least that a word of the plain model stands in
Predicted = tuple[Floats, Floats]  # probability of validity (n), and of each cause (n × causes)


def _by_model(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    return train(known, rules, seed=seed).predict(unseen.features)


def _by_rules(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    return rules_model(rules).predict(unseen.features)


def _shares(known: Examples, rules: Rules) -> tuple[float, Floats]:
    valid, causes = known.targets(rules.codebook)
    counts = np.bincount(causes[causes >= 0], minlength=len(rules.codebook.causes)).astype(float)
    return float(valid.mean()), counts / max(counts.sum(), 1)


def _by_majority(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    valid, causes = _shares(known, rules)
    return np.full(len(unseen), valid), np.tile(causes, (len(unseen), 1))


def _by_stratified_guess(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    valid, causes = _shares(known, rules)
    random = np.random.default_rng(seed)
    guesses = np.eye(len(causes))[random.choice(len(causes), len(unseen), p=causes if causes.any() else None)]
    return (random.random(len(unseen)) < valid).astype(float), 0.9 * guesses + 0.1 * causes


def _by_plain(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    """TF-IDF of the words of all channels alike, those of two documents at least, and logistic regression.

    Classes weigh alike; one that has no example gets next to nothing.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    counts, others = _word_counts(known), _word_counts(unseen)
    repeated = np.flatnonzero(counts.getnnz(axis=0) >= PLAIN_DOCUMENTS)
    weighting = TfidfTransformer(sublinear_tf=True).fit(counts[:, repeated])
    rows, new = (weighting.transform(one[:, repeated]) for one in (counts, others))
    valid, causes = known.targets(rules.codebook)
    predicted = np.full((len(unseen), len(rules.codebook.causes)), 1e-6)
    named = np.flatnonzero(causes >= 0)
    with threadpool_limits(1):
        validity = _plain_probabilities(rows, valid, new, 2)[:, 1]
        if len(named):
            predicted += _plain_probabilities(rows[named], causes[named], new, predicted.shape[1])
    return validity, predicted / predicted.sum(axis=1, keepdims=True)


def _plain_probabilities(rows: Any, labels: Any, others: Any, k: int) -> Floats:
    """Fit in the space that the rows span: the same estimate as in all columns, at a fraction of the time."""
    found = np.zeros((others.shape[0], k))
    if len(set(labels)) < 2:
        found[:, labels[0]] = 1
        return found
    values, vectors = np.linalg.eigh((rows @ rows.T).toarray())
    kept = values > 1e-7 * values.max()
    basis = vectors[:, kept] / np.sqrt(values[kept])
    fitted = LogisticRegression(C=PLAIN_C, class_weight="balanced", max_iter=500)
    fitted.fit((rows @ rows.T) @ basis, labels)
    found[:, fitted.classes_] = fitted.predict_proba((others @ rows.T) @ basis)
    return found


def _word_counts(examples: Examples) -> Any:
    """Return the counts of words with the blocks added up: what a model without channels would see."""
    counts = examples.features.counts
    words = np.array([block.analyzer != "char_wb" for block in BLOCKS])[counts.indices // WIDTH]
    starts = np.concatenate([[0], np.cumsum(words)])[counts.indptr]
    parts = (counts.data[words], counts.indices[words] % WIDTH, starts)
    folded = csr_matrix(parts, shape=(counts.shape[0], WIDTH))
    folded.sum_duplicates()
    return folded


METHODS: dict[str, Callable[[Examples, Examples, Rules, int], Predicted]] = {
    "model": _by_model,
    "rules": _by_rules,
    "plain": _by_plain,
    "majority": _by_majority,
    "stratified": _by_stratified_guess,
}
