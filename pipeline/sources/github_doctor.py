"""What the contract of GitHub leaves open, asked of the live one in ten requests."""

from __future__ import annotations

from pipeline.errors import Refused
from pipeline.sources.checkup import Answer, Visit
from pipeline.sources.github_client import Client, Reply, is_search
from pipeline.sources.github_planning import CHARACTERS, Scope, Search
from pipeline.sources.manners import user_agent
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

COUNT = """query Count($q: String!) {
  rateLimit { cost remaining }
  search(query: $q, type: ISSUE_ADVANCED, first: 1) { issueCount }
}"""


def answers_of(
    settings: SourceSettings, study: Study, transport: Transport, tokens: tuple[str, ...] = ()
) -> list[Answer]:
    """Ask GitHub what we rely on; return (question, whether it holds, what was seen)."""
    client = Client(settings.url, tokens, user_agent(study), transport)
    try:
        return _Examination(client, settings, study, Visit(transport)).answers()
    finally:
        client.close()


class _Examination:
    """One visit; the searches name repositories that the first question finds."""

    def __init__(self, client: Client, settings: SourceSettings, study: Study, visit: Visit) -> None:
        self._client = client
        self._topics = tuple(settings.topics)
        self._terms = study.search_terms
        self._visit = visit
        self._names: list[str] = []
        self._total = 0
        self._left: list[int] = []  # searches, after each one

    def answers(self) -> list[Answer]:
        """Ask everything, what a crawl rests on first."""
        ask = self._visit.ask
        for topic in self._topics[:2]:
            ask(f"topic:{topic} lists repositories with their topics", lambda topic=topic: self._topic(topic))  # type: ignore[misc]
        ask("a search that names no kind is refused", lambda: self._is_refused("NaN is:closed"))
        ask("a search as we plan it is answered in full", self._planned)
        ask("GraphQL counts the same, for one point", self._counted)
        ask("the default dialect finds the same", self._default)
        ask("what GraphQL searches, REST may still search", self._independent)
        ask("neighbouring repo: terms are a union by default", self._union)
        ask("every hit for np.inf is one for inf", lambda: self._is_within("np.inf", "inf"))
        ask("every hit for NaNs is one for NaN", lambda: self._is_within("NaNs", "NaN"))
        ask(f"qualifiers count towards the {CHARACTERS} characters", self._long)
        self._visit.leave(
            "a search everywhere sees more than 4,000 repositories",
            "no count tells; we name the repositories",
        )
        return self._visit.answers

    def _search(self, query: str, **more: str) -> Reply:
        parameters = {"q": query, "sort": "created", "order": "asc", "per_page": "1", "page": "1", **more}
        reply = self._client.get("/search/issues", parameters, is_search, "search")
        left = reply.answer.headers.get("x-ratelimit-remaining", "")
        self._left.append(int(left) if left.isdecimal() else 0)
        return reply

    def _total_of(self, query: str, **more: str) -> int:
        reply = self._search(query, **more)
        return int(reply.value["total_count"])

    def _topic(self, topic: str) -> tuple[bool, str]:
        parameters = {"q": f"topic:{topic}", "sort": "stars", "order": "desc", "per_page": "2", "page": "1"}
        reply = self._client.get("/search/repositories", parameters, is_search, "search")
        items = reply.value["items"]
        self._names += [str(item["full_name"]) for item in items]
        return all(
            topic in item.get("topics", ()) for item in items
        ), f"{reply.value['total_count']} repositories"

    def _is_refused(self, query: str) -> tuple[bool, str]:
        try:
            return False, f"{self._total_of(query)} hits"
        except Refused as refused:
            return True, str(refused)

    @property
    def _query(self) -> str:
        names = tuple(("0", name) for name in dict.fromkeys(self._names))
        return Search("issue", names, self._terms, Scope()).text(self._client.now)

    def _planned(self) -> tuple[bool, str]:
        reply = self._search(self._query, advanced_search="true")
        self._total = int(reply.value["total_count"])
        return not reply.value.get("incomplete_results"), f"{self._total} hits for {self._query}"

    def _counted(self) -> tuple[bool | None, str]:
        if not self._client.has_token:
            return None, "needs a token"
        data = self._client.graphql(COUNT, {"q": self._query}).value["data"]
        count, cost = data["search"]["issueCount"], data["rateLimit"]["cost"]
        return (count, cost) == (self._total, 1), f"{count} hits for {cost} points"

    def _default(self) -> tuple[bool, str]:
        total = self._total_of(self._query)
        return total == self._total, f"{total} hits"

    def _independent(self) -> tuple[bool | None, str]:
        if not self._client.has_token or len(self._left) < 2:
            return None, "needs a token, and two searches that were answered"
        before, after = self._left[-2:]  # GraphQL searched between the two
        return after == before - 1, f"{before} searches left, then {after}"

    def _union(self) -> tuple[bool | None, str]:
        if len(set(self._names)) < 2:
            return None, "there are not two repositories to name"
        repositories = " ".join(f"repo:{name}" for name in dict.fromkeys(self._names))
        total = self._total_of(f"{self._terms[0]} is:issue is:closed comments:>0 {repositories}")
        return total > 0, f"{total} hits"

    def _is_within(self, narrow: str, wide: str) -> tuple[bool, str]:
        total = self._total_of(f"{narrow} NOT {wide} is:issue is:closed comments:>0 {self._repository}")
        return total == 0, f"{total} hits for {narrow} without {wide}"

    @property
    def _repository(self) -> str:
        return f"repo:{self._names[0]}" if self._names else ""

    def _long(self) -> tuple[bool, str]:
        query = f"NaN is:issue {self._repository}"
        return self._is_refused(query + " comments:>0" * ((CHARACTERS - len(query)) // 12 + 2))
