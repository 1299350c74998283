"""Crawl as Prefect flows: one for a source, and a parent that runs one after the other.

The annotations are evaluated here: Prefect builds a model of a flow's parameters from them.
"""

from datetime import datetime
from typing import Any

from flows.engine import leave, surroundings
from flows.progress import CrawlProgress

from prefect import flow  # isort: skip  (after flows.engine, which sets its defaults)

from db.engine import open_database
from pipeline.crawl import crawl_source
from pipeline.errors import Interrupted
from pipeline.sources import open_source
from pipeline.sources.base import Window
from pipeline.transport import Transport


@flow(name="crawl-source", flow_run_name="crawl {source}", retries=0, persist_result=False)
def crawl_one(
    source: str,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    max_wait: float | None = None,
) -> dict[str, int]:
    """Crawl one source until nothing is pending; return what the run counted."""
    around = surroundings()
    settings = around.settings
    transport = Transport(source, around.watcher or CrawlProgress(), pace=settings.pace, max_wait=max_wait)
    database = open_database(settings.database_url)
    opened = open_source(source, settings, transport)
    try:
        window = Window(since=since, until=until, limit=limit)
        report = crawl_source(database, settings.study, opened, window, transport)
    except Interrupted as error:
        leave(error)
    finally:
        opened.close()
        database.close()
    return report.document() | {"requests": report.requests}


@flow(name="crawl", flow_run_name="crawl", retries=0, persist_result=False)
def crawl(
    sources: list[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    max_wait: float | None = None,
) -> dict[str, Any]:
    """Crawl each source in turn; one that fails or stops early does not keep the others from theirs."""
    states = {
        name: crawl_one(name, since, until, limit, max_wait, return_state=True)
        for name in sources or list(surroundings().settings.study.sources)
    }
    failed = [state for state in states.values() if not state.is_completed()]
    counts = {name: state.result() for name, state in states.items() if state.is_completed()}
    if failed:
        failed[0].result()  # raises what went wrong first
    return counts
