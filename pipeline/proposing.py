"""Train and propose: from the labels and threads in the database to proposals in the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import make_url

from db.engine import Database
from db.errors import NothingToDo
from db.proposals import keep_figures, keep_model, newest_model, replace_proposals
from db.records import Label
from pipeline.dataset import Reference, labels_of, references
from pipeline.errors import InputError
from pipeline.feature_cache import FeatureCache
from pipeline.features import Floats
from pipeline.model import SEED, Examples, Model, fix_probabilities, rules_model, train
from pipeline.model_files import load_model, save_model
from pipeline.rules import Hit
from pipeline.study import Study
from pipeline.weighting import near_duplicates

EVIDENCE = 6  # pieces of evidence a proposal
DUPLICATES_UP_TO = 5_000  # labelled threads among which near-duplicates are looked for
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled threads of a database, ready to learn from."""

    references: tuple[Reference, ...]
    examples: Examples

    @property
    def fingerprint(self) -> str:
        """Return the digest of the texts and labels."""
        rows = [
            [one.url, one.content_sha256, label.valid, label.reason, label.root_cause, label.fix_pattern]
            for one, label in zip(self.references, self.examples.labels, strict=True)
        ]
        return hashlib.sha256(json.dumps(sorted(rows, key=lambda row: str(row[0]))).encode()).hexdigest()


def default_model_path(database_url: str) -> Path:
    """Return where a database's model is kept: beside an SQLite file, else in the working folder."""
    url = make_url(database_url)
    if url.drivername.startswith("sqlite") and url.database and url.database != ":memory:":
        return Path(url.database).with_suffix(".model.npz")
    return Path("nanmine.model.npz")


def read_labelled(database: Database, study: Study, progress: Progress = lambda _: None) -> Labelled:
    """Read every finally labelled thread; NothingToDo if there is none."""
    with database.reading() as session:
        labels = labels_of(session)
        found = references(session, study, sorted(labels))
    if not found:
        raise NothingToDo(
            "there is no final label to learn from; label threads, or: nanmine label import FILE"
        )
    found.sort(key=lambda one: one.url)
    cache = FeatureCache(study)
    cache.fill(database, found, progress)
    with database.reading() as session:
        features = cache.features(session, found)
    own = tuple(_known(labels[one.thread_id], study) for one in found)
    groups = np.array([one.group for one in found])
    if len(found) <= DUPLICATES_UP_TO:
        groups = _merged(groups, near_duplicates(features))
    return Labelled(tuple(found), Examples(features, own, groups))


def _known(label: Label, study: Study) -> Label:
    """Return the label without a cause that the codebook no longer has."""
    if label.valid and label.root_cause not in study.codebook.cause_codes:
        return Label(True)
    return label


def _merged(groups: Any, duplicates: Any) -> Any:
    """Return groups that hold near-duplicates together: the least group that each chain reaches."""
    groups = groups.copy()
    for number in np.flatnonzero(np.bincount(duplicates) > 1):
        names = set(groups[duplicates == number])
        groups[np.isin(groups, list(names))] = min(names)
    return groups


def train_model(
    database: Database,
    study: Study,
    path: Path,
    *,
    seed: int = SEED,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Train on every final label, write the model to `path`, remember it, and return its card."""
    labelled = read_labelled(database, study, progress)
    model = train(labelled.examples, FeatureCache(study).rules, seed=seed)
    card = save_model(model, _card(labelled, study, seed), path)
    with database.writing() as session:
        keep_model(session, _model_row(_name(card["digest"]), card))
    return card


def _card(labelled: Labelled, study: Study, seed: int) -> dict[str, Any]:
    from importlib.metadata import version

    valid, causes = labelled.examples.targets(study.codebook)
    counts = {code: int((causes == number).sum()) for number, code in enumerate(study.codebook.cause_codes)}
    return {
        "study": study.name,
        "codebook": study.codebook.digest,
        "data": labelled.fingerprint,
        "labels": len(labelled.examples),
        "valid": int(valid.sum()),
        "causes": counts,
        "seed": seed,
        "versions": {name: version(name) for name in ("nanmine", "scikit-learn", "numpy", "scipy")},
    }


def evaluate_labels(
    database: Database, study: Study, *, repeats: int, progress: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], str | None]:
    """Cross-validate on every final label; return the figures and whose card they now stand on, if any."""
    from pipeline.evaluate import evaluate

    labelled = read_labelled(database, study)
    figures = evaluate(labelled.examples, study.codebook, repeats=repeats, progress=progress)
    with database.writing() as session:
        name = keep_figures(session, labelled.fingerprint, study.codebook.digest, figures)
    return figures, name


def _name(digest: str) -> str:
    return f"model {digest[:12]}"


def _model_row(name: str, card: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "digest": card.get("digest"), "card": card, "made_at": datetime.now(UTC)}


def current_model(database: Database, study: Study, path: Path) -> tuple[str, Model, dict[str, Any]]:
    """Return name, model and card of what proposes now: the trained model, or the cues alone.

    InputError if the file is missing, was changed, or is not what this database trained last.
    """
    rules = FeatureCache(study).rules
    with database.reading() as session:
        known = newest_model(session)
        digest = known.digest if known else None
    if digest is None:
        return f"cues {study.codebook.digest[:12]}", rules_model(rules), {"codebook": study.codebook.digest}
    model, card = load_model(path, rules)
    if card["digest"] != digest:
        raise InputError(f"model {path}: is not the one this database trained; run: nanmine propose train")
    return _name(digest), model, card


def propose(
    database: Database, study: Study, path: Path, progress: Progress = lambda _: None
) -> tuple[str, int]:
    """Propose for every thread with a keyword; return the model's name and how many proposals it made."""
    name, model, card = current_model(database, study, path)
    cache = FeatureCache(study)
    with database.reading() as session:
        found = references(session, study)
    if not found:
        raise NothingToDo("there is no thread to propose for; crawl, or: nanmine import FILE")
    cache.fill(database, found, progress)
    with database.reading() as session:
        features = cache.features(session, found)
        hits = cache.hits(session, found)
    valid, causes = model.predict(features)
    rows = [
        _row(one.thread_id, model, cache, float(valid[n]), causes[n], features.cues[n], hits[n])
        for n, one in enumerate(found)
    ]
    with database.writing() as session:
        replace_proposals(session, keep_model(session, _model_row(name, card)), rows)
    return name, len(rows)


def _row(
    thread_id: int,
    model: Model,
    cache: FeatureCache,
    valid: float,
    causes: Floats,
    cues: Floats,
    hits: Sequence[Hit],
) -> dict[str, Any]:
    rules = cache.rules
    named = dict(zip(rules.codebook.cause_codes, map(float, causes), strict=True))
    return {
        "thread_id": thread_id,
        "valid_probability": round(valid, 6),
        "causes": _ranked(named),
        "fix_patterns": _ranked(fix_probabilities(model, rules, causes, cues)),
        "evidence": evidence(model, hits, causes),
    }


def _ranked(probabilities: dict[str, float]) -> list[dict[str, Any]]:
    order = sorted(probabilities, key=lambda code: (-probabilities[code], code))
    return [{"code": code, "probability": round(probabilities[code], 6)} for code in order]


def evidence(model: Model, hits: Sequence[Hit], causes: Floats) -> list[dict[str, Any]]:
    """Return the spans that moved a proposal most: for its first cause, and for or against validity.

    `weight` is in log-odds (of the first cause against the others; of validity), `position` is the
    post's, 0 also for the title and the tags.
    """
    first = int(np.argmax(causes))
    for_cause = model.cause.cues[:, first] - model.cause.cues @ causes
    for_valid = model.valid.cues.sum(axis=1)
    weights: dict[tuple[str, int], float] = {}
    for hit in hits:
        weight = float(max(for_cause[hit.cue], for_valid[hit.cue], -for_valid[hit.cue], key=abs))
        if hit.text and abs(weight) >= 0.05:
            place = (hit.text, hit.position or 0)
            weights[place] = max(weights.get(place, 0.0), weight, key=abs)
    strongest = sorted(weights, key=lambda place: (-abs(weights[place]), place))[:EVIDENCE]
    return [
        {"text": text, "weight": round(weights[text, position], 3), "position": position}
        for text, position in strongest
    ]
