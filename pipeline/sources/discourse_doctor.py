"""What the contract of Discourse leaves open, asked of the live forum in seven requests."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Malformed
from pipeline.sources.checkup import Answer, Visit
from pipeline.sources.discourse import CHUNK, PER_PAGE, list_query
from pipeline.sources.discourse_client import Client, Fetched
from pipeline.sources.discourse_records import Row, missing_posts, to_rows
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

NO_TOPIC = 2_000_000_000  # an id that no forum has reached


def answers_of(settings: SourceSettings, study: Study, transport: Transport) -> list[Answer]:
    """Ask the forum what we rely on; return (question, whether it holds, what was seen)."""
    client = Client(settings, study, transport)
    try:
        return _Examination(client, settings, transport).answers()
    finally:
        client.close()


class _Examination:
    """One visit; the later questions are about the topics that the first list shows."""

    def __init__(self, client: Client, settings: SourceSettings, transport: Transport) -> None:
        self._client = client
        self._settings = settings
        self._visit = Visit(transport)
        self._listed: list[dict[str, Any]] = []
        self._rows: list[Row] = []
        self._topic: dict[str, Any] = {}

    def answers(self) -> list[Answer]:
        """Ask everything, in the order of a crawl."""
        ask = self._visit.ask
        ask("robots.txt allows the list, and everybody may read it", self._list)
        ask("the list honours `solved=yes`", self._solved)
        ask("the list keeps the order of creation", self._order)
        ask("the list says how it goes on", self._paging)
        ask("a topic says which answer was accepted", self._accepted)
        ask("a topic comes with its raw text", self._raw)
        ask("the rest of a long topic is given by post ids", self._rest)
        ask("a topic that does not exist is a 404", self._absent)
        self._visit.leave("the texts may be published", f"nobody but you can read {self._settings.site}/tos")
        return self._visit.answers

    def _get(self, path: str, **query: str) -> Fetched:
        fetched = self._client.get(path, query)
        if fetched.value is None:
            raise Malformed(f"{path}: HTTP {fetched.status}")
        return fetched

    def _list(self) -> tuple[bool, str]:
        value = self._get("/latest.json", **list_query(0)).value or {}
        self._rows, self._has_more = to_rows(value)
        self._listed = value.get("topic_list", {}).get("topics") or []
        return True, f"{len(self._rows)} topics on the first page"

    def _solved(self) -> tuple[bool | None, str]:
        solved = sum(bool(row.is_solved) for row in self._rows)
        return (
            solved == len(self._rows) if self._rows else None
        ), f"{solved} of {len(self._rows)} are solved"

    def _order(self) -> tuple[bool | None, str]:
        dates = [row.created_at for row in self._rows if row.created_at]
        return (dates == sorted(dates) if dates else None), f"from {min(dates, default=None)}"

    def _paging(self) -> tuple[bool | None, str]:
        if not self._rows:
            return None, "no topics"
        asked = f"{len(self._rows)} rows where {PER_PAGE} were asked for"
        return True, f"{asked}; {'more follow' if self._has_more else 'this is all'}"

    def _accepted(self) -> tuple[bool | None, str]:
        if not self._listed:
            return None, "no topic to ask for"
        # The longest one of the page serves the questions that follow as well.
        longest = max(self._listed, key=lambda row: row.get("posts_count") or 0)
        self._topic = self._get(f"/t/{longest['id']}.json", include_raw="true").value or {}
        posts = self._topic.get("post_stream", {}).get("posts") or []
        seen = [name for name in ("accepted_answer", "accepted_answers") if self._topic.get(name)]
        seen += ["the post's flag"] if any(post.get("accepted_answer") for post in posts) else []
        return bool(seen) or None, f"topic {longest['id']}: {', '.join(seen) or 'nothing on its first page'}"

    def _raw(self) -> tuple[bool | None, str]:
        posts = self._topic.get("post_stream", {}).get("posts") or []
        raw = sum("raw" in post for post in posts)
        return (raw > 0 if posts else None), f"{raw} of {len(posts)} posts"

    def _rest(self) -> tuple[bool | None, str]:
        wanted = missing_posts(self._topic)[:CHUNK]
        if not wanted:
            return None, "no topic of the first page is longer than its first page"
        ids = [str(id) for id in wanted]
        answer = self._client.get(
            f"/t/{self._topic['id']}/posts.json", {"post_ids[]": ids, "include_raw": "true"}
        )
        posts = ((answer.value or {}).get("post_stream") or {}).get("posts") or []
        return len(posts) == len(ids), f"{len(posts)} of {len(ids)} posts"

    def _absent(self) -> tuple[bool, str]:
        fetched = self._client.get(f"/t/{NO_TOPIC}.json", {})
        return fetched.availability == "gone", f"HTTP {fetched.status}"
