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

from pipeline.errors import InputError
from pipeline.features import FEATURES_VERSION
from pipeline.model import Head, Model
from pipeline.rules import Rules
from pipeline.weighting import Weighting

FORMAT = "nanmine-model-2"
PARTS = ("text", "facts", "cues", "intercept")
Arrays = dict[str, np.ndarray[Any, Any]]


def save_model(model: Model, card: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a model with its card, which gets the format, the shares, the settings and the digest."""
    arrays = _arrays(model)
    whole = card | {
        "format": FORMAT,
        "features": FEATURES_VERSION,
        "settings": model.settings,
        "fixes": model.fixes,
    }
    whole["digest"] = _digest(arrays, whole)
    text = np.frombuffer(json.dumps(whole, sort_keys=True).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    arrays["card"] = text
    np.savez(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(path)
    return whole


def load_model(path: Path, rules: Rules) -> tuple[Model, dict[str, Any]]:
    """Read a model and its card; InputError if it cannot be trusted or was made for something else."""
    arrays, card = _read(path)
    if card.get("format") != FORMAT or card.get("digest") != _digest(arrays, card):
        raise InputError(f"model {path}: was changed since it was trained; run: nanmine propose train")
    if card["features"] != FEATURES_VERSION or card["codebook"] != rules.codebook.digest:
        raise InputError(f"model {path}: is of another codebook or version; run: nanmine propose train")
    valid, cause = (Head(*(arrays[f"{name}_{part}"] for part in PARTS)) for name in ("valid", "cause"))
    weighting = Weighting(arrays["columns"], arrays["idf"])
    return Model(weighting, valid, cause, card["fixes"], card["settings"]), card


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop("card").tobytes())
    except FileNotFoundError:
        raise InputError(f"model {path}: is not there; run: nanmine propose train") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"model {path}: is not a model of nanmine ({error}); run: nanmine propose train"
        ) from None


def _arrays(model: Model) -> Arrays:
    arrays: Arrays = {"columns": model.weighting.columns, "idf": model.weighting.idf}
    for name, head in (("valid", model.valid), ("cause", model.cause)):
        arrays |= {f"{name}_{part}": getattr(head, part) for part in PARTS}
    return arrays


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
