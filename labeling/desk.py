"""The desk one person labels at: a writing session, the study, its protocol, and who sits there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Database
from db.errors import NothingToDo, RefusedByProtocol, UsageError
from db.history import History
from db.label_events import append_event, read_history
from db.label_fold import Person
from db.records import Event, Label
from db.thread_history import ThreadHistory
from db.threads import Thread, ThreadStratum
from labeling.codebooks import codebook_digest
from labeling.protocol import Protocol, protocol_of
from pipeline.study import Study


@contextmanager
def at_desk(database: Database, study: Study, handle: str | None = None) -> Iterator[Desk]:
    """Sit somebody down for one writing transaction.

    NothingToDo keeps what was drawn on the way to finding nothing; every other error keeps nothing.
    """
    nothing: NothingToDo | None = None
    with database.writing() as session:
        try:
            yield Desk(session, study, handle)
        except NothingToDo as reason:
            nothing = reason
    if nothing is not None:
        raise nothing


class Desk:
    """What every act of labeling needs; acts record events, and `history` follows them.

    Sit down anew in every session: the history is read once. `session` must be a writing one for
    anything that records.
    """

    def __init__(self, session: Session, study: Study, handle: str | None = None) -> None:
        self.session = session
        self.study = study
        self.protocol: Protocol = protocol_of(study)
        self.name = handle

    @property
    def handle(self) -> str:
        """Who acts; UsageError if nobody was named."""
        if not self.name:
            raise UsageError("who labels? name yourself with --as HANDLE or NANMINE_ANNOTATOR")
        return self.name

    @cached_property
    def codebook_digest(self) -> str:
        """The digest of the study's codebook, which every event is stamped with."""
        return codebook_digest(self.study.codebook)

    @cached_property
    def history(self) -> History:
        """Everything that has happened, as of the last record."""
        return read_history(self.session)

    def read_again(self) -> None:
        """Read the history anew when it is next asked for: events came from elsewhere."""
        self.__dict__.pop("history", None)

    @property
    def person(self) -> Person:
        """The person who acts; RefusedByProtocol if the handle is not one of the study's."""
        known = self.history.people.get(self.handle)
        if known is None or not known.roles:
            raise RefusedByProtocol(
                f"{self.handle!r} is not an annotator; run: nanmine label add-annotator {self.handle}"
            )
        return known

    def require(self, *roles: str) -> Person:
        """Return the person if they have one of the roles; RefusedByProtocol otherwise."""
        person = self.person
        if not person.roles.keys() & set(roles):
            raise RefusedByProtocol(f"{person.handle} is no {' or '.join(roles)}; that act is theirs")
        return person

    def record(
        self, kind: str, thread: Thread | None = None, label: Label | None = None, **columns: Any
    ) -> Event:
        """Append one event in the name of the person at the desk."""
        self.set_up()
        person = self.history.people.get(columns.get("annotator") or self.name or "")
        columns = {
            "annotator": self.name,
            "simulated": bool(person and person.simulated),
            "codebook": self.codebook_digest,
            "content_sha256": thread.content_sha256 if thread else None,
        } | columns
        return self._append(kind, thread=thread, label=label, **columns)

    def _append(self, kind: str, **columns: Any) -> Event:
        event = append_event(self.session, kind, **columns)
        self.history.add(event)
        return event

    def set_up(self) -> None:
        """Record the protocol and seal the first codebook, once; refuse when either changed since."""
        payload = self.protocol.payload(self.study)
        if not self.history.setup:
            self._append("setup", payload=payload)
        elif self.history.setup != payload:
            changed = sorted(key for key in payload if self.history.setup.get(key) != payload[key])
            raise RefusedByProtocol(
                f"the study's [labeling] or quotas changed after labeling began ({', '.join(changed)});"
                " restore them, or label in another database"
            )
        self._seal_first_codebook()

    def _seal_first_codebook(self) -> None:
        book, digest = self.study.codebook, self.codebook_digest
        sealed = self.history.codebooks
        if not sealed:
            payload: dict[str, Any] = {
                "version": 1,
                "parent": None,
                "source": book.source,
                "merges": {},
                "affected": [],
            }
            self._append("codebook", codebook=digest, payload=payload)
        elif sealed[-1].codebook != digest:
            raise RefusedByProtocol(
                f"the codebook differs from sealed version {sealed[-1].payload['version']};"
                " see: nanmine label codebook diff, then: nanmine label codebook seal"
            )

    def seal(self, payload: dict[str, Any], digest: str) -> Event:
        """Record a further version of the codebook."""
        return self._append("codebook", annotator=self.name, codebook=digest, payload=payload)

    def thread(self, name: str | int) -> Thread:
        """Return the thread with this number, URL or external id; UsageError if there is none."""
        found = self.find(str(name))
        if found is None:
            raise UsageError(f"thread {name!r} is not in the database; give its number, its URL or its id")
        return found

    def find(self, name: str) -> Thread | None:
        """Return the thread with this number, URL or external id, or None."""
        if name.isdecimal() and len(name) < 10 and (by_number := self.session.get(Thread, int(name))):
            return by_number
        by_url = self.session.scalar(select(Thread).where(Thread.url == name))
        return by_url or self.session.scalar(select(Thread).where(Thread.external_id == name).limit(1))

    def story(self, thread: Thread) -> ThreadHistory:
        """Return the events of a thread; an empty story for one that nothing happened to."""
        return self.history.threads.get(thread.url) or ThreadHistory(thread.url, thread.id)

    def strata(self) -> tuple[str, ...]:
        """Return the strata the person labels, in the study's order; one without an owner is everybody's."""
        named = self.person.roles.get("annotator", ())
        if not named or not self.protocol.owned_strata:
            return tuple(stratum.code for stratum in self.study.strata)
        owned = {code for person in self.annotators() for code in person.roles["annotator"]}
        return tuple(
            stratum.code
            for stratum in self.study.strata
            if stratum.code in named or stratum.code not in owned
        )

    def annotators(self) -> list[Person]:
        """Return everybody who labels, by handle."""
        people = sorted(self.history.people.items())
        return [person for _, person in people if "annotator" in person.roles]

    def room(self, stratum: str, besides: str | None = None) -> int:
        """Return how many valid threads the stratum still takes; the thread `besides` is not counted."""
        quota = self.study.stratum(stratum).quota
        return quota - self.history.spent(stratum, besides) - self._imported_valid(stratum)

    def _imported_valid(self, stratum: str) -> int:
        imported = [
            story.thread_id
            for story in self.history.threads.values()
            if story.is_imported and not story.sample_draws and self._is_valid(story.url)
        ]
        if not imported:
            return 0
        members = select(ThreadStratum.thread_id).where(ThreadStratum.stratum == stratum)
        return len(set(imported) & set(self.session.scalars(members)))

    def _is_valid(self, url: str) -> bool:
        label = self.history.outcome(url).label
        return label is not None and label.valid
