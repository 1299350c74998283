"""What a GraphQL query costs before it runs: GitHub's points, and its bounds on pages and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    value_from_ast_untyped,
)

MOST_NODES = 500_000
LARGEST_PAGE = 100
CONNECTIONS = {"search", "comments", "labels", "repositoryTopics", "issues"}


@dataclass(frozen=True, slots=True)
class Cost:
    """How many connections are asked for, assuming that every page is full, and how many nodes."""

    requests: int = 0
    nodes: int = 0

    @property
    def points(self) -> int:
        """What the query takes from the hourly window."""
        return max(1, round(self.requests / 100))

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.nodes + other.nodes)


def cost_of(document: DocumentNode, variables: dict[str, Any]) -> Cost:
    """Return what a document with one operation costs. Raises GraphQLError beyond GitHub's bounds."""
    fragments = {
        part.name.value: part for part in document.definitions if isinstance(part, FragmentDefinitionNode)
    }
    operation = next(part for part in document.definitions if isinstance(part, OperationDefinitionNode))
    variables = _defaults(operation) | variables
    cost = _Counter(fragments, variables).count(operation.selection_set, 1)
    if cost.nodes > MOST_NODES:
        raise refusal("MAX_NODE_LIMIT_EXCEEDED", f"This query requests up to {cost.nodes:,} possible nodes.")
    return cost


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        part.variable.name.value: value_from_ast_untyped(part.default_value)
        for part in operation.variable_definitions or ()
        if part.default_value
    }


def refusal(kind: str, message: str, node: FieldNode | None = None) -> GraphQLError:
    """Return an error with GitHub's `type`."""
    return GraphQLError(message, nodes=node, extensions={"type": kind})


@dataclass
class _Counter:
    fragments: dict[str, FragmentDefinitionNode]
    variables: dict[str, Any]

    def count(self, selections: SelectionSetNode | None, parents: int) -> Cost:
        return sum((self._field(field, parents) for field in self._fields(selections)), Cost())

    def _fields(self, selections: SelectionSetNode | None) -> Iterator[FieldNode]:
        for part in selections.selections if selections else ():
            if isinstance(part, FieldNode):
                yield part
            elif isinstance(part, InlineFragmentNode):
                yield from self._fields(part.selection_set)
            else:
                yield from self._fields(self.fragments[part.name.value].selection_set)  # type: ignore[attr-defined]

    def _field(self, field: FieldNode, parents: int) -> Cost:
        arguments = {
            a.name.value: value_from_ast_untyped(a.value, self.variables) for a in field.arguments or ()
        }
        if field.name.value == "nodes" and isinstance(arguments.get("ids"), list):
            _check_page("nodes", max(1, len(arguments["ids"])), field)
            return self.count(field.selection_set, parents * len(arguments["ids"]))
        if field.name.value not in CONNECTIONS:
            return self.count(field.selection_set, parents)
        size = self._page_size(field, arguments)
        if size is None:
            return self.count(field.selection_set, parents)
        return Cost(parents, parents * size) + self.count(field.selection_set, parents * size)

    def _page_size(self, field: FieldNode, arguments: dict[str, Any]) -> int | None:
        size = arguments.get("first")
        if not isinstance(size, int):
            if any(inner.name.value == "nodes" for inner in self._fields(field.selection_set)):
                message = (
                    f"You must provide a `first` or `last` value to properly paginate `{field.name.value}`."
                )
                raise refusal("MISSING_PAGINATION_BOUNDARIES", message, field)
            return None
        _check_page(field.name.value, size, field)
        return size


def _check_page(name: str, size: int, field: FieldNode) -> None:
    if not 1 <= size <= LARGEST_PAGE:
        message = f"Requesting {size} records on `{name}` is outside of 1 to {LARGEST_PAGE} records."
        raise refusal("EXCESSIVE_PAGINATION", message, field)
