"""Models as files one can trust: plain arrays and a card, with a digest over both, and no pickle.

The file is an npz; the same data and seed give the same bytes. A file that was changed, that is no
model of ours, or that was made for another codebook or another version of the features is refused.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.errors import InputError
from pipeline.features import COLUMNS, FEATURES_VERSION
from pipeline.model import Head, Model
from pipeline.rules import Rules
from pipeline.weighting import Weighting

FORMAT = "nanmine-model-1"
HEADS = ("valid", "cause")
Arrays = dict[str, np.ndarray[Any, Any]]


def save_model(model: Model, card: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a model with its card, which gets the format, the shares, the settings and the digest."""
    arrays = _arrays(model)
    whole = card | {"format": FORMAT, "features": FEATURES_VERSION, "settings": model.settings, "fixes": model.fixes}
    whole["digest"] = _digest(arrays, whole)
    text = np.frombuffer(json.dumps(whole, sort_keys=True).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(unfinished, card=text, **arrays)
    unfinished.replace(path)
    return whole


def load_model(path: Path, rules: Rules) -> tuple[Model, dict[str, Any]]:
    """Read a model and its card; InputError if it cannot be trusted or was made for something else."""
    arrays, card = _read(path)
    if card.get("format") != FORMAT or card.get("digest") != _digest(arrays, card):
        raise InputError(f"model {path}: was changed since it was trained; run: nanmine propose train")
    if card["features"] != FEATURES_VERSION or card["codebook"] != rules.codebook.digest:
        raise InputError(f"model {path}: is of another codebook or version; run: nanmine propose train")
    heads = {name: _head(arrays, name) for name in HEADS}
    return Model(Weighting(_idf(arrays)), heads["valid"], heads["cause"], card["fixes"], card["settings"]), card


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop("card").tobytes())
    except FileNotFoundError:
        raise InputError(f"model {path}: is not there; run: nanmine propose train") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"model {path}: is not a model of nanmine ({error}); run: nanmine propose train") from None


def _arrays(model: Model) -> Arrays:
    columns = np.flatnonzero(model.weighting.idf)
    arrays = {"columns": columns.astype(np.int32), "idf": model.weighting.idf[columns]}
    for name, head in (("valid", model.valid), ("cause", model.cause)):
        arrays[f"{name}_text"] = np.asarray(head.text[columns].toarray(), dtype=np.float32)
        arrays |= {f"{name}_facts": head.facts, f"{name}_cues": head.cues, f"{name}_intercept": head.intercept}
    return arrays


def _head(arrays: Arrays, name: str) -> Head:
    dense = csr_matrix(arrays[f"{name}_text"])
    rows = csr_matrix(
        (np.ones(len(arrays["columns"]), dtype=np.float32), (arrays["columns"], np.arange(len(arrays["columns"])))),
        shape=(COLUMNS, len(arrays["columns"])),
    )
    return Head(rows @ dense, *(arrays[f"{name}_{part}"] for part in ("facts", "cues", "intercept")))


def _idf(arrays: Arrays) -> np.ndarray[Any, np.dtype[np.float32]]:
    idf = np.zeros(COLUMNS, dtype=np.float32)
    idf[arrays["columns"]] = arrays["idf"]
    return idf


def _digest(arrays: Arrays, card: dict[str, Any]) -> str:
    """Return the SHA-256 over the card without its digest, and over every array with its name and shape."""
    digest = hashlib.sha256()
    told = {key: value for key, value in card.items() if key != "digest"}
    digest.update(json.dumps(told, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
