"""Fetch exactly the threads that a list of URLs names, and record what became of each URL.

Every URL of a list ends as a thread, or with the reason why not: gone, moved, private, or unresolved
(no thread of any source of the study). A list can carry a stratum; its threads keep it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.crawls import Crawl, FrontierEntry, ListedUrl
from db.engine import Database
from db.errors import StoppedEarly
from db.threads import Post, Thread
from pipeline.crawl import work_off
from pipeline.errors import InputError, Interrupted
from pipeline.frontier import add_entries
from pipeline.links import Link, read_link, read_url_list
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Entry, Source
from pipeline.store import add_listed_strata
from pipeline.study import Study
from pipeline.transport import Transport, Watcher


def hydrate_files(
    database: Database,
    settings: Settings,
    paths: Sequence[Path],
    stratum: str | None,
    watcher: Watcher,
    max_wait: float | None = None,
) -> Counter[str]:
    """Fetch what the files list; return how many URLs ended in which outcome.

    Raises SourceError or StoppedEarly with everything kept; a rerun goes on with the URLs that are not
    settled. A source that stops early does not keep the others from theirs.
    """
    rows = [(path.name, url) for path in paths for url in read_url_list(path)]
    if not rows:
        raise InputError(f"{paths[0]}: lists no URL")
    with database.exclusive("crawl"):
        with database.writing() as session:
            _list_urls(session, settings.study, rows, stratum)
        stopped: list[StoppedEarly] = []
        for name in settings.study.sources:
            transport = Transport(name, watcher, pace=settings.pace, max_wait=max_wait)
            try:
                _hydrate_source(database, settings, name, rows, transport)
            except Interrupted:
                raise
            except StoppedEarly as error:
                stopped.append(error)
        with database.writing() as session:
            add_listed_strata(session)
            outcomes = Counter(listed.outcome for listed in _listed(session, rows))
    if stopped:
        raise stopped[0]
    return outcomes


def _list_urls(session: Session, study: Study, rows: list[tuple[str, str]], stratum: str | None) -> None:
    """Add the URLs that are not listed yet; those of no source are settled at once."""
    known = {(listed.list_name, listed.url): listed for listed in _listed(session, rows)}
    for name, url in rows:
        listed = known.get((name, url))
        if listed is not None:
            listed.stratum = stratum or listed.stratum
            continue
        reason = None if read_link(url, study) else "no thread of a source of the study"
        outcome = "unresolved" if reason else "pending"
        session.add(ListedUrl(list_name=name, url=url, stratum=stratum, outcome=outcome, reason=reason))


def _listed(session: Session, rows: list[tuple[str, str]]) -> list[ListedUrl]:
    names = {name for name, _ in rows}
    wanted = set(rows)
    found = session.scalars(select(ListedUrl).where(ListedUrl.list_name.in_(names)).order_by(ListedUrl.id))
    return [listed for listed in found if (listed.list_name, listed.url) in wanted]


def _hydrate_source(
    database: Database, settings: Settings, name: str, rows: list[tuple[str, str]], transport: Transport
) -> None:
    """Fetch the listed threads of one source, and settle their URLs."""
    with database.reading() as session:
        urls = [listed.url for listed in _listed(session, rows) if listed.outcome == "pending"]
    links = {url: link for url in urls if (link := read_link(url, settings.study)) and link.source == name}
    if not links:
        return
    source = open_source(name, settings, transport)
    try:
        entries = {url: entry for url in links if (entry := source.listed_entry(url))}
        with database.writing() as session:
            crawl = _crawl_of(session, source, {name for name, _ in rows}, transport.clock.now())
            crawl_id = crawl.id
            add_entries(session, crawl_id, list(entries.values()))
        try:
            work_off(database, settings.study, source, crawl_id, transport)
        finally:
            with database.writing() as session:
                for listed in _listed(session, rows):
                    if listed.url in links and listed.outcome == "pending":
                        _settle(session, listed, links[listed.url], crawl_id, entries.get(listed.url))
    finally:
        source.close()


def _crawl_of(session: Session, source: Source, lists: set[str], now: datetime) -> Crawl:
    """Return the crawl that fetches what the lists name: the unfinished one, or a new one."""
    parameters = {"list": ", ".join(sorted(lists))}
    unfinished = select(Crawl).where(Crawl.source == source.name, Crawl.finished_at.is_(None))
    for crawl in session.scalars(unfinished):
        if crawl.parameters == parameters:
            return crawl
    crawl = Crawl(source=source.name, parameters=parameters, started_at=now)
    session.add(crawl)
    session.flush()
    return crawl


def _settle(session: Session, listed: ListedUrl, link: Link, crawl_id: int, entry: Entry | None) -> None:
    """Record what became of a URL, if its entry is not pending still.

    An entry that asked for the id, or was led to another, has kept it.
    """
    row = entry and session.scalar(
        select(FrontierEntry).where(
            FrontierEntry.crawl_id == crawl_id,
            FrontierEntry.kind == entry.kind,
            FrontierEntry.key == entry.key,
        )
    )
    if row and row.state == "pending":
        listed.reason = row.note
        return
    if row and row.cursor and "id" in row.cursor:
        link = replace(link, external_id=row.cursor["id"])
    thread = _thread_of(session, link)
    if thread is not None:
        listed.thread_id = thread.id
        listed.outcome = "thread" if thread.availability == "present" else thread.availability
        listed.reason = (
            None if thread.availability == "present" else f"the service says: {thread.availability}"
        )
        return
    note = row.note if row else None
    listed.outcome = note.split(":")[0] if note and note.split(":")[0] in ("moved", "private") else "gone"
    listed.reason = note or "the service has no such thread"


def _thread_of(session: Session, link: Link) -> Thread | None:
    """Return the thread that a link means, if it is stored."""
    threads = select(Thread).where(Thread.source == link.source)
    if link.external_id is not None:
        return session.scalar(threads.where(Thread.external_id == link.external_id))
    if link.answer is not None:
        return session.scalar(threads.join(Post).where(Post.external_id == link.answer, Post.role == "reply"))
    slug = (link.slug or "").replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return session.scalar(
        threads.where(Thread.url.like(f"%/t/{slug}/%", escape="\\")).order_by(Thread.id).limit(1)
    )
