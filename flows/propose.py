"""The Prefect flow that trains on the labels there are, and proposes; the work is in `pipeline`.

The annotations are evaluated here: Prefect builds a model of a flow's parameters from them.
"""

from pathlib import Path
from typing import Any

from flows.engine import surroundings

from prefect import flow  # isort: skip  (after flows.engine, which sets its defaults)

from db.engine import open_database
from db.errors import NothingToDo
from pipeline.proposing import propose, train_model


@flow(name="propose", retries=0, persist_result=False)
def train_and_propose(model: Path) -> dict[str, Any]:
    """Train, if there are labels, and propose for every thread; return the model's name and the count."""
    settings = surroundings().settings
    database = open_database(settings.database_url)
    try:
        try:
            train_model(database, settings.study, model)
        except NothingToDo as nothing:
            print(nothing)  # noqa: T201  (the cues propose alone)
        name, proposals = propose(database, settings.study, model)
    finally:
        database.close()
    return {"model": name, "proposals": proposals}
