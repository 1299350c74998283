"""The sandboxed GraphQL API runs our queries on our own schema, with GitHub's costs and errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    parse,
)

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.github_cost import cost_of
from pipeline.sandbox.github_graphql import GraphQLRun
from pipeline.sandbox.github_store import GitHubStore, thread_node_id
from pipeline.sandbox.limits import Quota, RateWindows
from pipeline.sandbox.world import World, WorldPost, WorldRepository, WorldThread

DAY = datetime(2020, 3, 1, 12, tzinfo=UTC)
START = "Y3Vyc29yOnYyOjA="  # the cursor of position 0
SEARCH = """query($q: String!, $first: Int!, $after: String) {
  rateLimit { cost nodeCount remaining }
  search(query: $q, type: ISSUE_ADVANCED, first: $first, after: $after) {
    issueCount pageInfo { hasNextPage endCursor }
    nodes { ... on Issue { id number } ... on PullRequest { id number } }
  }
}"""
MANY = " ".join(f"c{number}: comments(first: 100) {{ totalCount }}" for number in range(50))
CROWDED = f'{{search(query:"is:issue",type:ISSUE,first:100){{nodes{{... on Issue{{{MANY}}}}}}}}}'
BY_ID = """query($ids: [ID!]!) { nodes(ids: $ids) { __typename ... on Issue { number author { login }
  comments(first: 2) { totalCount nodes { body fullDatabaseId } pageInfo { hasNextPage endCursor } } } } }"""


def thread(number: int, comments: int = 0) -> WorldThread:
    """Return a closed issue of a deleted account."""
    created = DAY + timedelta(minutes=number)
    replies = [WorldPost(2**32 + number * 1000 + at, "ann", created, f"reply {at}") for at in range(comments)]
    posts = (WorldPost(number * 1000, None, created, "nan"), *replies)
    return WorldThread(
        "github", number, number, "issue", "t", created, created, posts, repository="a/b", closed_at=created
    )


@pytest.fixture
def store() -> GitHubStore:
    """A repository with 12 threads; the first has five comments."""
    threads = (thread(1, 5), *(thread(number) for number in range(2, 13)))
    return GitHubStore(World((WorldRepository(7, "a/b", ("pytorch",), DAY),), threads))


class Asked:
    """Runs queries against a window of `points`."""

    def __init__(self, store: GitHubStore, points: int = 5000, node_budget: int | None = None) -> None:
        self.store, self.points, self.node_budget = store, points, node_budget
        self.windows = RateWindows(VirtualClock())

    def __call__(self, text: str, **variables: Any) -> dict[str, Any]:
        return GraphQLRun(self.store, True, self.node_budget, self._spend).answer(text, variables)

    def _spend(self, points: int) -> Quota | None:
        window = (("graphql",), self.points, timedelta(hours=1))
        return self.windows.look(*window) if self.windows.spend(*window, points) else None


@pytest.fixture
def ask(store: GitHubStore) -> Asked:
    """A way to ask with a full window."""
    return Asked(store)


def test_search_pages_with_opaque_cursors(ask: Asked) -> None:
    """Following the cursors gives every thread once, in the order that `sort:` asks for."""
    seen, after = [], None
    while True:
        found = ask(SEARCH, q="nan is:issue sort:created-asc", first=5, after=after)["data"]["search"]
        seen += [node["number"] for node in found["nodes"]]
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert seen == list(range(1, 13))
    assert found["issueCount"] == 12


def test_search_ends_at_a_thousand_without_saying_so(store: GitHubStore) -> None:
    """The count goes beyond a thousand, the pages do not, and no field tells."""
    for number in range(13, 1103):
        store.add(thread(number))
    cursor = "Y3Vyc29yOnYyOjk4MA=="  # position 980
    found = Asked(store)(SEARCH, q="is:issue", first=100, after=cursor)["data"]["search"]
    assert (found["issueCount"], len(found["nodes"])) == (1102, 20)
    assert not found["pageInfo"]["hasNextPage"]


def test_nodes_by_id(ask: Asked) -> None:
    """Threads come by id in the order asked; a lost one is null with NOT_FOUND, the rest is there."""
    first = thread_node_id(thread(1))
    ask.store.delete("a/b", 2)
    answer = ask(BY_ID, ids=[first, thread_node_id(thread(2))])
    issue, lost = answer["data"]["nodes"]
    assert lost is None
    assert [(error["type"], error["path"]) for error in answer["errors"]] == [("NOT_FOUND", ["nodes", 1])]
    assert issue["author"] is None
    assert issue["comments"]["totalCount"] == 5
    assert issue["comments"]["nodes"][0] == {"body": "reply 0", "fullDatabaseId": str(2**32 + 1000)}


def test_comment_cursors(ask: Asked) -> None:
    """The comments beyond the first page follow their cursor."""
    text = """query($id: ID!, $after: String) { node(id: $id) { ... on Issue {
      comments(first: 2, after: $after) { nodes { body } pageInfo { hasNextPage endCursor } } } } }"""
    bodies, after, more = [], None, True
    while more:
        page = ask(text, id=thread_node_id(thread(1)), after=after)["data"]["node"]["comments"]
        bodies += [node["body"] for node in page["nodes"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert bodies == [f"reply {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{search(query:"is:issue",type:ISSUE,first:101){issueCount}}', "EXCESSIVE_PAGINATION"),
        ('{search(query:"is:issue",type:ISSUE,first:0){issueCount}}', "EXCESSIVE_PAGINATION"),
        (CROWDED, "MAX_NODE_LIMIT_EXCEEDED"),
        ('{search(query:"is:issue",type:ISSUE){nodes{__typename}}}', "MISSING_PAGINATION_BOUNDARIES"),
        ("query($i:[ID!]!){nodes(ids:$i){id}}", "EXCESSIVE_PAGINATION"),
        ('{search(query:"is:issue",type:ISSUE,first:1,after:"x"){issueCount}}', "INVALID_CURSOR_ARGUMENTS"),
        (
            '{search(query:"",type:ISSUE,first:1){nodes{... on Issue{state} ... on PullRequest{state}}}}',
            None,
        ),
        ("{viewer{login}}", None),
        ("{", None),
    ],
)
def test_refusals_come_in_a_200(ask: Asked, text: str, kind: str | None) -> None:
    """Bounds and validity are checked as GitHub does, with its error types."""
    errors = ask(text, i=["x"] * 101)["errors"]
    assert errors[0].get("type") == kind


def test_points_run_out(store: GitHubStore) -> None:
    """A used-up window answers RATE_LIMIT and no data."""
    ask = Asked(store, points=1)
    assert ask("{rateLimit{remaining}}")["data"]["rateLimit"]["remaining"] == 0
    answer = ask("{rateLimit{remaining}}")
    assert (answer["errors"][0]["type"], "data" in answer) == ("RATE_LIMIT", False)


def test_heavy_pages_come_back_in_part(store: GitHubStore) -> None:
    """Beyond its budget a page lacks its second half, each time; half the page is whole."""
    ask = Asked(store, node_budget=8)
    cut = ask(SEARCH, q="is:issue", first=10)
    assert [node is None for node in cut["data"]["search"]["nodes"]] == [False] * 5 + [True] * 5
    assert {error["type"] for error in cut["errors"]} == {"RESOURCE_LIMITS_EXCEEDED"}
    assert "errors" not in ask(SEARCH, q="is:issue", first=5)


@pytest.mark.parametrize(
    ("text", "requests", "nodes", "points"),
    [
        (
            '{a:search(query:"",type:ISSUE,first:1){issueCount}b:search(query:"",type:ISSUE,first:1){issueCount}}',
            2,
            2,
            1,
        ),
        (
            '{search(query:"",type:ISSUE,first:50){nodes{...on Issue{comments(first:50){nodes{id}}}}}}',
            51,
            2550,
            1,
        ),
        ("query($n:Int=100){nodes(ids:[1,2,3]){...on Issue{comments(first:$n){nodes{id}}}}}", 3, 300, 1),
        (
            '{search(query:"",type:REPOSITORY,first:100){nodes{...on Repository{'
            "repositoryTopics(first:20){nodes{topic{name}}} issues(states:CLOSED){totalCount}}}}}",
            101,
            2100,
            1,
        ),
        (
            '{search(query:"",type:ISSUE,first:100){nodes{...on Issue{labels(first:20){nodes{name}}'
            " comments(first:50){nodes{id}} repository{repositoryTopics(first:20){totalCount}}}}}}",
            301,
            9100,
            3,
        ),
    ],
)
def test_cost_is_computed_from_full_pages(text: str, requests: int, nodes: int, points: int) -> None:
    """Cost counts connections per parent as if every page were full, as the documentation's examples do."""
    cost = cost_of(parse(text), {})
    assert (cost.requests, cost.nodes, cost.points) == (requests, nodes, points)


@pytest.mark.shared
def test_recorded_queries_cost_what_the_contract_states(shared: Path) -> None:
    """The contract's five queries validate on our schema and cost what its table says."""
    queries = shared / "contracts/recordings/github/queries"
    sizes = {"commentPage": 50, "labelPage": 20, "topicPage": 20, "a": "", "b": "", "c": ""}
    asked = {
        "harvest": ({"pageSize": 50, **sizes}, (301, 9050, 3)),
        "batch_nodes": ({"ids": ["x"] * 50, **sizes}, (100, 5000, 1)),
        "counts": (sizes, (3, 3, 1)),
        "repos": ({"pageSize": 100, **sizes}, (101, 2100, 1)),
    }
    for name, (variables, expected) in asked.items():
        cost = cost_of(parse((queries / f"{name}.graphql").read_text(encoding="utf-8")), variables)
        assert (cost.requests, cost.nodes, cost.points) == expected, name


@pytest.mark.shared
def test_recorded_queries_run(shared: Path, ask: Asked) -> None:
    """The contract's queries give data and no error."""
    folder = shared / "contracts/recordings/github/queries"
    variables = {
        "q": "is:issue",
        "type": "ISSUE",
        **dict.fromkeys(("pageSize", "commentPage", "labelPage", "topicPage"), 5),
        "ids": [thread_node_id(thread(1))],
        "id": thread_node_id(thread(1)),
        **dict.fromkeys("abc", "is:issue"),
    }
    for path in sorted(folder.glob("*.graphql")):
        query = path.read_text(encoding="utf-8")
        special = {"repos": {"q": "topic:pytorch"}, "more_comments": {"after": START}}.get(path.stem, {})
        assert "errors" not in ask(query, **variables | special), path.stem


@pytest.mark.shared
def test_our_schema_is_part_of_the_official_one(shared: Path) -> None:
    """Every type, field, argument and value of ours exists there with the same type.

    `User` is ours alone: the pruned official schema names no type that is an actor.
    """
    official_path = shared / "contracts/recordings/github/official/github_graphql_pruned.graphql"
    official = build_schema(official_path.read_text(encoding="utf-8"), assume_valid_sdl=True)
    ours = build_schema((files("pipeline.sandbox") / "github.graphql").read_text(encoding="utf-8"))
    names = [name for name in ours.type_map if not name.startswith("__") and name != "User"]
    assert [name for name in names if not _is_part(ours, official, name)] == []


def _is_part(ours: GraphQLSchema, official: GraphQLSchema, name: str) -> bool:
    mine, theirs = ours.type_map[name], official.type_map.get(name)
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, GraphQLEnumType) and isinstance(theirs, GraphQLEnumType):
        return set(mine.values) <= set(theirs.values)
    if not isinstance(mine, GraphQLObjectType | GraphQLInterfaceType):
        return True
    assert isinstance(theirs, GraphQLObjectType | GraphQLInterfaceType)
    return all(
        str(field.type) == str(theirs.fields[key].type)
        and all(str(arg.type) == str(theirs.fields[key].args[at].type) for at, arg in field.args.items())
        for key, field in mine.fields.items()
    )
