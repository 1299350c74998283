"""Train and propose: from the labels and threads in the database to proposals in the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import make_url

from db.engine import Database
from db.errors import NothingToDo
from db.proposals import drop_proposals, keep_figures, keep_model, newest_model, replace_proposals
from db.records import Label
from pipeline.dataset import Reference, labels_of, references, references_of
from pipeline.errors import InputError
from pipeline.feature_cache import FeatureCache
from pipeline.features import FEATURES_VERSION
from pipeline.model import SEED, Examples, Model, rules_model, train
from pipeline.model_files import load_model, save_model
from pipeline.scored import proposal_rows, scored
from pipeline.study import Study
from pipeline.weighting import near_duplicates

DUPLICATES_UP_TO = 5_000  # labelled threads among which near-duplicates are looked for
GROWN = 1.5  # times the labels that chose the settings: then they should be chosen anew
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled threads of a database, ready to learn from; `active` of them count in no table."""

    references: tuple[Reference, ...]
    examples: Examples
    active: int

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


def read_labelled(
    database: Database, study: Study, progress: Progress = lambda _: None, *, grouped: bool = True
) -> Labelled:
    """Read every finally labelled thread; NothingToDo if there is none.

    `grouped` keeps near-duplicates in one group, for those who cut the threads into folds.
    """
    with database.reading() as session:
        labels = labels_of(session)
        found = references_of(session, sorted(labels))
    if not found:
        raise NothingToDo(
            "there is no final label to learn from; label threads, or: nanmine label import FILE"
        )
    found.sort(key=lambda one: one.url)
    cache = FeatureCache(study)
    cache.fill(database, found, progress)
    with database.reading() as session:
        cached = cache.find(session, found)
        features = cache.features(session, [row for row, _ in cached])
    found = [one for _, one in cached]
    own = tuple(_known(labels[one.thread_id].label, study) for one in found)
    groups = np.array([one.group for one in found])
    if grouped and len(found) <= DUPLICATES_UP_TO:
        groups = _merged(groups, near_duplicates(features))
    active = sum(labels[one.thread_id].active for one in found)
    return Labelled(tuple(found), Examples(features, own, groups), active)


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
    """Train on every label to learn from, write the model to `path`, remember it, and return its card."""
    labelled = read_labelled(database, study, progress)
    model = train(labelled.examples, FeatureCache(study).rules, seed=seed)
    return _kept(database, model, _card(labelled, study, seed), path)


def _kept(database: Database, model: Model, card: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a model to `path`, remember it, and return its whole card."""
    whole = save_model(model, card, path)
    with database.writing() as session:
        keep_model(session, _model_row(_name(whole["digest"]), whole))
    return whole


def refresh(
    database: Database, study: Study, path: Path, progress: Progress = lambda _: None
) -> tuple[str, int]:
    """Learn the labels there are now, with the choices of the model trained last, and propose.

    Without new labels, propose with that model; without any model of this codebook, train a whole one.
    """
    with database.reading() as session:
        newest = newest_model(session)
        known = newest.card if newest else {}
    if known.get("codebook") != study.codebook.digest or known.get("features") != FEATURES_VERSION:
        train_model(database, study, path, progress=progress)
        return propose(database, study, path, progress)
    labelled = read_labelled(database, study, progress, grouped=False)
    if labelled.fingerprint == known["data"]:
        return propose(database, study, path, progress)
    model = train(
        labelled.examples, FeatureCache(study).rules, settings=known["settings"], seed=known["seed"]
    )
    told = {
        "settings_of": known.get("settings_of", _name(known["digest"])),
        "settings_labels": known.get("settings_labels", known["labels"]),
    }
    card = _kept(database, model, _card(labelled, study, known["seed"]) | told, path)
    name = _name(card["digest"])
    return name, propose_with(database, study, model, _model_row(name, card), progress)


def training_advice(database: Database) -> str | None:
    """Return a line that says how to choose settings anew, where labels have grown much since; else None."""
    with database.reading() as session:
        newest = newest_model(session)
        card = newest.card if newest else {}
    chosen_by = card.get("settings_labels")
    if chosen_by is None or card["labels"] < GROWN * chosen_by:
        return None
    return (
        f"{chosen_by} labels chose the settings of this model, which has learned {card['labels']};"
        " to choose anew: nanmine propose train"
    )


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
        "active": labelled.active,
        "causes": counts,
        "seed": seed,
        "versions": {name: version(name) for name in ("nanmine", "scikit-learn", "numpy", "scipy")},
    }


def evaluate_labels(
    database: Database, study: Study, *, repeats: int, progress: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], str | None]:
    """Cross-validate on every label; return the figures and whose card they now stand on, if any.

    `active` of the labels are of threads that a model found hard, which the figures have to be read with.
    """
    from pipeline.evaluate import evaluate

    labelled = read_labelled(database, study)
    figures = evaluate(labelled.examples, study.codebook, repeats=repeats, progress=progress)
    figures["active"] = labelled.active
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
    return name, propose_with(database, study, model, _model_row(name, card), progress)


def propose_with(
    database: Database,
    study: Study,
    model: Model,
    row: dict[str, Any],
    progress: Progress = lambda _: None,
) -> int:
    """Propose with a model (and its row of ProposalModel); return how many proposals it made.

    Proposals are written part by part, in place of what the model proposed before. A thread whose text
    changes on the way waits for the next run.
    """
    cache = FeatureCache(study)
    with database.reading() as session:
        found = references(session, study)
    if not found:
        raise NothingToDo("there is no thread to propose for; crawl, or: nanmine import FILE")
    cache.fill(database, found, progress)
    with database.writing() as session:
        model_id = keep_model(session, row)
    proposed: set[int] = set()
    for part in scored(database, cache, model, found, explained=True):
        rows = proposal_rows(model, cache, part)
        with database.writing() as session:
            replace_proposals(session, model_id, rows)
        proposed |= {one.thread_id for one in part.references}
    with database.writing() as session:
        drop_proposals(session, model_id, proposed)
    return len(proposed)
