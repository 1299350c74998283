"""Models as files: written, read back, and refused when they cannot be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.features import extract
from pipeline.model import train
from pipeline.model_files import load_model, save_model
from pipeline.rules import Rules
from tests.model_documents import toy_codebook, toy_document, toy_examples

RULES = Rules(toy_codebook())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "toy.npz"
    save_model(train(toy_examples(60, RULES.codebook), RULES), {"codebook": RULES.codebook.digest}, path)
    return path


def test_a_model_read_back_predicts_the_same(saved: Path) -> None:
    """Nothing is lost between writing and reading."""
    model, card = load_model(saved, RULES)
    features, _ = extract([toy_document(7, "A")], RULES)
    again = train(toy_examples(60, RULES.codebook), RULES).predict(features)
    assert np.array_equal(model.predict(features)[1], again[1])
    assert card["settings"] == model.settings


def test_the_same_training_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """A second run writes the very same file."""
    other = tmp_path / "other.npz"
    save_model(train(toy_examples(60, RULES.codebook), RULES), {"codebook": RULES.codebook.digest}, other)
    assert other.read_bytes() == saved.read_bytes()


def _rewrite(path: Path, change: Any) -> None:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez_compressed(path, **arrays)


def _poison(arrays: dict[str, Any]) -> None:
    arrays["cause_intercept"] = arrays["cause_intercept"] + 1


def _boast(arrays: dict[str, Any]) -> None:
    card = json.loads(arrays["card"].tobytes()) | {"figures": {"macro_f1": 1.0}}
    arrays["card"] = np.frombuffer(json.dumps(card).encode(), dtype=np.uint8)


def _pickle(arrays: dict[str, Any]) -> None:
    arrays["idf"] = np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize("change", [_poison, _boast, _pickle])
def test_a_changed_file_is_refused(saved: Path, change: Any) -> None:
    """Changed weights, a changed card and a pickled array are all refused with one line."""
    _rewrite(saved, change)
    with pytest.raises(InputError, match="propose train"):
        load_model(saved, RULES)


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 half a zip"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no model of ours is refused, and so is one that is not there."""
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a model"):
        load_model(path, RULES)
    with pytest.raises(InputError, match="is not there"):
        load_model(tmp_path / "none.npz", RULES)


def test_a_model_of_another_codebook_is_refused(saved: Path) -> None:
    """Cues and causes that changed make the model void."""
    changed = Rules(toy_codebook("[[cues]]\nfor='A'\nweight=1\npatterns=['x']\n"))
    with pytest.raises(InputError, match="another codebook"):
        load_model(saved, changed)
