"""What the notebooks call: the study's database opened, tables and figures shown. Nothing is counted here."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from db.engine import open_database
from pipeline.figures import Figure, to_svg
from pipeline.render import render
from pipeline.settings import load_settings
from pipeline.study import Study
from pipeline.table import Table


@contextmanager
def opened_study() -> Iterator[tuple[Session, Study]]:
    """Give a reading session and the study, as the settings of the environment name them."""
    settings = load_settings(os.environ)
    database = open_database(settings.database_url)
    try:
        with database.reading() as session:
            yield session, settings.study
    finally:
        database.close()


class Shown:
    """Something a notebook displays as HTML."""

    def __init__(self, markup: str) -> None:
        self._markup = markup

    def _repr_html_(self) -> str:
        return self._markup


def show(*things: Table | Figure | str) -> Shown:
    """Return tables, figures and lines of text for a notebook to display, one below the other."""
    return Shown("\n".join(map(_to_html, things)))


def _to_html(thing: Any) -> str:
    if isinstance(thing, Table):
        return render(thing, "html")
    if isinstance(thing, str):
        return f"<p>{html.escape(thing)}</p>"
    picture = base64.b64encode(to_svg(thing)).decode()
    return f'<img alt="" src="data:image/svg+xml;base64,{picture}">'
