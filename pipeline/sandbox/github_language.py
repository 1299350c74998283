"""GitHub's search language: from a query to a tree, in both dialects that coexist.

The legacy dialect takes qualifiers out of the text wherever they stand (several `repo:` are a union,
everything else holds at once) and knows no parentheses. The advanced dialect is a Boolean expression
in which what stands side by side holds at once, `repo:` included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipeline.sandbox.github_store import FIELDS, tokens

LONGEST_QUERY = 256  # characters
MOST_OPERATORS = 5
KINDS = {
    "is:issue": "issue",
    "type:issue": "issue",
    "is:pull-request": "pull",
    "is:pr": "pull",
    "type:pr": "pull",
}
SCOPES = ("repo", "org", "user")

_PART = re.compile(
    r"""\s*(?:
        (?P<paren>[()])
      | (?P<minus>-)?(?P<name>[A-Za-z-]+):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s()"]+))
      | "(?P<phrase>[^"]*)"
      | `(?P<inert>[^`]*)`
      | (?P<word>[^\s()"`]+)
      | (?P<stray>["`])
    )""",
    re.VERBOSE,
)


class BadQuery(Exception):
    """A query that the live service refuses; the message is what it says."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words that all occur, next to each other if it is a phrase."""

    words: tuple[str, ...]
    phrase: bool = False


@dataclass(frozen=True, slots=True)
class Qualifier:
    """`name:value`."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; no parts hold always."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


Node = Words | Qualifier | AllOf | AnyOf | Not


@dataclass
class Query:
    """A parsed query: the tree, and what applies to the whole of it.

    `kind` is `issue` or `pull` as the last such token says, or None. `scopes` are the repositories,
    organizations and users it names. `fields` is where its words are looked for.
    """

    tree: Node = AllOf(())
    kind: str | None = None
    sort: str | None = None
    fields: tuple[str, ...] = FIELDS
    scopes: list[Qualifier] = field(default_factory=list)


def parse(text: str, advanced: bool) -> Query:
    """Return the query that `text` means. Raises BadQuery for what the live service refuses."""
    if len(text) > LONGEST_QUERY:
        raise BadQuery(f"The search is longer than {LONGEST_QUERY} characters.")
    query = Query()
    parts = [part for part in _parts(text) if not _directive(part, query)]
    if sum(part in ("AND", "OR", "NOT") for part in parts) > MOST_OPERATORS:
        raise BadQuery("More than five AND / OR / NOT operators were used.")
    query.scopes = [part for part in parts if isinstance(part, Qualifier) and part.name in SCOPES]
    query.tree = _advanced(parts) if advanced else _legacy(parts)
    return query


Part = str | Words | Qualifier | Not  # a string is an operator or a parenthesis


def _parts(text: str) -> list[Part]:
    return [_part(found) for found in _PART.finditer(text.rstrip()) if found["stray"] is None]


def _part(found: re.Match[str]) -> Part:
    if found["paren"]:
        return found["paren"]
    if found["name"]:
        value = found["quoted"] if found["quoted"] is not None else found["value"]
        qualifier = Qualifier(found["name"].lower(), value)
        return Not(qualifier) if found["minus"] else qualifier
    if found["word"] in ("AND", "OR", "NOT"):
        return found["word"]
    if found["word"]:
        return Words(tuple(tokens(found["word"])))
    return Words(tuple(tokens(found["phrase"] or found["inert"] or "")), phrase=True)


def _directive(part: Part, query: Query) -> bool:
    """Apply a qualifier that governs the whole query; say whether it was one."""
    if not isinstance(part, Qualifier):
        return False
    kind = KINDS.get(f"{part.name}:{part.value.lower()}")
    if kind is not None:
        query.kind = kind
    elif part.name == "sort":
        query.sort = part.value.lower()
    elif part.name == "in":
        query.fields = tuple(name for name in FIELDS if name in part.value.lower().split(","))
    return kind is not None or part.name in ("sort", "in")


def _legacy(parts: list[Part]) -> Node:
    bare = [part for part in parts if part not in ("(", ")")]
    scopes = [part for part in bare if isinstance(part, Qualifier) and part.name in SCOPES]
    others = [part for part in bare if isinstance(part, Qualifier | Not) and part not in scopes]
    words = _any_of([part for index, part in enumerate(bare) if _is_text(bare, index)])
    return AllOf((words, *others, *((AnyOf(tuple(scopes)),) if scopes else ())))


def _is_text(parts: list[Part], index: int) -> bool:
    """Say whether a part is a word, or an operator between words."""
    part = parts[index]
    after = parts[index + 1] if index + 1 < len(parts) else None
    if part == "NOT":
        return isinstance(after, Words)
    if isinstance(part, str):
        return (
            index > 0 and isinstance(parts[index - 1], Words) and (isinstance(after, Words) or after == "NOT")
        )
    return isinstance(part, Words)


def _advanced(parts: list[Part]) -> Node:
    rest = list(parts)
    tree = _any_of(rest)
    if rest:
        raise BadQuery("The search contains an unbalanced parenthesis.")
    return tree


def _any_of(rest: list[Part]) -> Node:
    choices = [_all_of(rest)]
    while rest and rest[0] == "OR":
        rest.pop(0)
        choices.append(_all_of(rest))
    return choices[0] if len(choices) == 1 else AnyOf(tuple(choices))


def _all_of(rest: list[Part]) -> Node:
    found: list[Node] = []
    while rest and rest[0] not in ("OR", ")"):
        if rest[0] == "AND":
            rest.pop(0)
        else:
            found.append(_one(rest))
    return AllOf(tuple(found))


def _one(rest: list[Part]) -> Node:
    part = rest.pop(0)
    if part == "NOT":
        return Not(_one(rest) if rest else AllOf(()))
    if part != "(":
        assert not isinstance(part, str)
        return part
    inner = _any_of(rest)
    if not rest:
        raise BadQuery("The search contains an unbalanced parenthesis.")
    rest.pop(0)
    return inner
