"""What the contract of the Stack Exchange API leaves open, asked of the live one in ten requests."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Refused
from pipeline.sources.base import Lookup, RepositoryRecord
from pipeline.sources.checkup import Answer, Visit
from pipeline.sources.stackexchange_client import Client
from pipeline.sources.stackexchange_records import is_complete
from pipeline.sources.stackexchange_site import FILTERS, LAST_PAGE
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport


def answers_of(
    settings: SourceSettings, study: Study, transport: Transport, key: str | None = None
) -> list[Answer]:
    """Ask the site what we rely on; return (question, whether it holds, what was seen)."""
    client = Client(settings, study, transport, key)
    try:
        return _Examination(client, settings, study, transport).answers()
    finally:
        client.close()


class _Examination:
    """One visit; the questions share the filters that the first of them make."""

    def __init__(self, client: Client, settings: SourceSettings, study: Study, transport: Transport) -> None:
        self._client = client
        self._visit = Visit(transport)
        self._term = study.search_terms[0] if study.search_terms else "NaN"
        self._wanted = {"tagged": ";".join(sorted(settings.tags)), "accepted": "True"}
        self._filters = dict.fromkeys(FILTERS, "default")
        self._created = 0
        self._backoffs = 0

    def answers(self) -> list[Answer]:
        """Ask everything, the cheapest and most telling first."""
        ask = self._visit.ask
        ask("the API knows the site", self._site)
        ask("filters/create makes the nested filter, asked without `site`", lambda: self._filter("nested"))
        ask("one search answer holds bodies, answers and comments, oldest question first", self._search)
        ask(
            "a bound of `fromdate` finds the question of that second, or the one second overlap does",
            self._bound,
        )
        ask("nested answers are never cut short, or the refetch sees that they are", self._nested)
        ask("without a key the wall stands at the page we know", self._wall)
        ask("a filter can ask for `total`", lambda: self._filter("totalled"))
        ask("`q` finds at least what `body` finds", self._recall)
        ask("filters/create takes `site` too, which we do not send", self._filter_with_site)
        self._visit.leave("a back-off is rare", f"{self._backoffs} of these answers asked for one")
        self._visit.leave("the daily quota starts anew at midnight UTC", self._client.quota_said)
        return self._visit.answers

    def _site(self) -> tuple[bool, str]:
        self._client.open_site(None)
        return True, f"as {self._client.site!r}"

    def _filter(self, name: str) -> tuple[bool, str]:
        self._filters[name] = self._client.create_filter(NO_MEMORY, FILTERS[name])
        return True, self._filters[name]

    def _filter_with_site(self) -> tuple[bool | None, str]:
        try:
            return True, self._client.create_filter(NO_MEMORY, FILTERS["nested"], site=self._client.site)
        except Refused as refusal:
            return None, str(refusal)

    def _fetch(self, name: str = "nested", **parameters: Any) -> Any:
        fetched = self._client.fetch(
            "search/advanced", NO_MEMORY, filter=self._filters[name], **self._wanted, **parameters
        )
        self._backoffs += bool(fetched.memory)
        return fetched

    def _search(self) -> tuple[bool, str]:
        items = self._fetch(q=self._term, sort="creation", order="asc", pagesize=20).items
        dates = [item.get("creation_date") or 0 for item in items]
        self._created = dates[0] if dates else 0
        answers = [answer for item in items for answer in item.get("answers") or ()]
        comments = [item for item in (*items, *answers) if "comments" in item]
        bodies = [item for item in (*items, *answers) if "body" in item]
        holds = bool(answers) and len(bodies) == len(items) + len(answers) and dates == sorted(dates)
        return holds, f"{len(items)} questions, {len(answers)} answers, {len(comments)} posts with comments"

    def _bound(self) -> tuple[bool | None, str]:
        if not self._created:
            return None, "no question to ask for"
        items = self._fetch(fromdate=self._created, sort="creation", order="asc", pagesize=1).items
        inclusive = bool(items) and items[0].get("creation_date") == self._created
        return True, "inclusive" if inclusive else "exclusive"

    def _nested(self) -> tuple[bool | None, str]:
        items = self._fetch(answers=10, sort="votes", order="desc", pagesize=50).items
        short = [item for item in items if not is_complete(item)]
        longest = max((len(item.get("answers") or ()) for item in items), default=0)
        return (True if items else None), f"{len(short)} of {len(items)} are short; the longest has {longest}"

    def _wall(self) -> tuple[bool | None, str]:
        if self._client.is_keyed:
            return None, "a key is set"
        try:
            items = self._fetch(page=LAST_PAGE + 1, pagesize=1).items
        except Refused as refusal:
            return True, str(refusal)
        return True, f"page {LAST_PAGE + 1} was given, with {len(items)} question"

    def _recall(self) -> tuple[bool | None, str]:
        totals = {
            field: self._fetch("totalled", pagesize=1, **{field: self._term}).total for field in ("q", "body")
        }
        return totals["q"] >= totals["body"] > 0 or None, f"q {totals['q']}, body {totals['body']}"


class _NoMemory:
    """A lookup of nothing: a doctor's visit needs no database."""

    def memory(self, name: str) -> dict[str, Any] | None:
        """Return None."""
        return None

    def known(self, external_ids: Any) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def stored(self, since: Any, until: Any, accepted: bool = False) -> list[str]:
        """Return nothing."""
        return []

    def repositories(self) -> list[RepositoryRecord]:
        """Return nothing."""
        return []


NO_MEMORY: Lookup = _NoMemory()
