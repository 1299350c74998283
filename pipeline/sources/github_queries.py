"""The GraphQL documents. They use a small part of the official schema, and page every connection."""

from __future__ import annotations

from collections.abc import Sequence

COMMENT_PAGE = 100  # the most that GitHub gives of one connection

_COMMENTS = """
fragment Comments on IssueCommentConnection {
  totalCount
  pageInfo { hasNextPage endCursor }
  nodes { fullDatabaseId body createdAt author { login } }
}
"""

_REPOSITORY = """
fragment Facts on Repository {
  id databaseId nameWithOwner
  repositoryTopics(first: 20) { nodes { topic { name } } }
}
"""

_THREAD = "id number url title body createdAt updatedAt closedAt author { login } repository { ...Facts }"

THREADS = (
    f"""
query Threads($ids: [ID!]!, $comments: Int!) {{
  rateLimit {{ cost remaining resetAt }}
  nodes(ids: $ids) {{
    kind: __typename
    ... on Issue {{ {_THREAD} comments(first: $comments) {{ ...Comments }} }}
    ... on PullRequest {{ {_THREAD} comments(first: $comments) {{ ...Comments }} }}
  }}
}}
"""
    + _COMMENTS
    + _REPOSITORY
)

REPOSITORIES = (
    """
query Repositories($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on Repository { ...Facts closedIssues: issues(states: [CLOSED], first: 1) { totalCount } }
  }
}
"""
    + _REPOSITORY
)


def more_comments(count: int) -> str:
    """Return the document that goes on with the comments of `count` threads, each at its own cursor.

    Its variables are `id0`, `after0`, `id1`, …; its answers `thread0`, `thread1`, ….
    """
    variables = ", ".join(f"$id{n}: ID!, $after{n}: String!" for n in range(count))
    page = "comments(first: %d, after: $after%d) { ...Comments }"
    on_both = f"... on Issue {{ {page} }} ... on PullRequest {{ {page} }}"
    fields = "\n".join(
        f"  thread{n}: node(id: $id{n}) {{ id {on_both % (COMMENT_PAGE, n, COMMENT_PAGE, n)} }}"
        for n in range(count)
    )
    return f"query MoreComments({variables}) {{\n{fields}\n}}\n{_COMMENTS}"


def refresh(parts: Sequence[str]) -> str:
    """Return the document that asks for several things at once; `parts` are kinds, `part0`, … the answers.

    Kinds and their variables: `topic` and `search` take `q0`, …; `repositories` and `threads` take `ids0`, ….
    """
    texts, variables = [], []
    for n, kind in enumerate(parts):
        texts.append(f"  part{n}: {_PARTS[kind] % n}")
        variables.append(f"$q{n}: String!" if kind in ("topic", "search") else f"$ids{n}: [ID!]!")
    fragments = _REPOSITORY if "repositories" in parts else ""
    return f"query Refresh({', '.join(variables)}) {{\n" + "\n".join(texts) + f"\n}}\n{fragments}"


_SEEN = "id number url updatedAt repository { id databaseId nameWithOwner }"
_PARTS = {
    "topic": "search(query: $q%d, type: REPOSITORY, first: 1) { repositoryCount }",
    "search": "search(query: $q%d, type: ISSUE_ADVANCED, first: 20) { issueCount nodes { kind: __typename"
    f" ... on Issue {{ {_SEEN} }} ... on PullRequest {{ {_SEEN} }} }} }}",
    "repositories": "nodes(ids: $ids%d) { ... on Repository"
    " { ...Facts closedIssues: issues(states: [CLOSED], first: 1) { totalCount } } }",
    "threads": f"nodes(ids: $ids%d) {{ kind: __typename ... on Issue {{ {_SEEN} }}"
    f" ... on PullRequest {{ {_SEEN} }} }}",
}
