"""Bodies to text: one plain text a post, with its code marked by offsets.

Markdown and plain text stay as they stand, so that offsets are offsets of the body itself; HTML
becomes its text, with line breaks where its blocks end. Two well-kept parsers do the reading:
markdown-it-py for Markdown and selectolax (lexbor) for HTML.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

TEXT_VERSION = 1  # goes up when the plain text of any body changes: offsets are tied to it
MAX_CHARACTERS = 2_000_000
BLOCKS = frozenset(
    "address article aside blockquote br dd details div dl dt figure footer h1 h2 h3 h4 h5 h6 header hr li "
    "ol p pre section summary table tr ul".split()
)
SKIPPED = frozenset(("script", "style", "template", "noscript"))
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """A plain text and the offsets (code points, sorted, disjoint) at which its code stands."""

    plain: str
    code: tuple[tuple[int, int], ...] = ()

    def part_at(self, offset: int) -> str:
        """Return `code` or `prose`: what stands at `offset`."""
        index = bisect_right(self.code, offset, key=lambda span: span[0]) - 1
        return "code" if index >= 0 and offset < self.code[index][1] else "prose"

    @property
    def code_text(self) -> str:
        """The code alone, a line break between its pieces."""
        return "\n".join(self.plain[start:end] for start, end in self.code)

    @property
    def prose_text(self) -> str:
        """The prose alone, a line break where code was taken out."""
        pieces, position = [], 0
        for start, end in self.code:
            pieces.append(self.plain[position:start])
            position = end
        return "\n".join((*pieces, self.plain[position:]))


def clean(text: str) -> str:
    """Return text that every database can store: NUL and lone surrogates become U+FFFD."""
    return UNSTORABLE.sub("\ufffd", text)


def to_text(body: str, body_format: str) -> Text:
    """Return the text of a body in `markdown`, `html` or `text`, cut at MAX_CHARACTERS."""
    body = body[:MAX_CHARACTERS]
    if body_format == "html":
        return _html_to_text(body)
    if body_format == "markdown":
        return Text(body, _merge(_markdown_code(body)))
    return Text(body)


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": 20})


def _markdown_code(body: str) -> Iterator[tuple[int, int]]:
    if "`" not in body and "    " not in body and "\t" not in body and "~~~" not in body:
        return
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", body)), len(body)]
    for token in _markdown().parse(body):
        if token.map is None:
            continue
        begin, end = (starts[min(line, len(starts) - 1)] for line in token.map)
        if token.type in ("fence", "code_block"):
            yield begin, end
        elif token.type == "inline":
            yield from _inline_code(body, begin, end, token.children or ())


def _inline_code(body: str, begin: int, end: int, children: Any) -> Iterator[tuple[int, int]]:
    """Yield where the inline code of one block stands: the parser says what, a search says where."""
    for child in children:
        if child.type != "code_inline":
            continue
        written = r"\s+".join(re.escape(word) for word in child.content.split())
        found = re.compile(
            f"(?<!`){re.escape(child.markup)}\\s*({written})\\s*{re.escape(child.markup)}(?!`)"
        ).search(body, begin, end)
        if found:
            yield found.start(1), found.end(1)
            begin = found.end()


def _html_to_text(body: str) -> Text:
    from selectolax.lexbor import LexborHTMLParser

    pieces: list[str] = []
    code: list[tuple[int, int]] = []
    length = 0
    parser = LexborHTMLParser(body)
    root = parser.body
    for kind, value in _walk(root) if root is not None else ():
        if kind == "text":
            pieces.append(value)
            length += len(value)
        elif kind == "code":
            code.append((length, length + len(value)))
            pieces.append(value)
            length += len(value)
        elif pieces and not pieces[-1].endswith("\n"):
            pieces.append("\n")
            length += 1
    return Text("".join(pieces), _merge(iter(code)))


def _walk(root: Any) -> Iterator[tuple[str, str]]:
    """Yield ('text', …), ('code', …) and ('break', '') of a tree in document order, without recursion."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield "break", ""
            continue
        tag = node.tag
        if tag == "-text":
            yield "text", node.text_content or ""
        elif tag in ("code", "pre"):
            if tag == "pre":
                yield "break", ""
            yield "code", node.text(deep=True)
            if tag == "pre":
                yield "break", ""
        elif tag == "img":
            yield "text", (node.attributes or {}).get("alt") or ""
        elif tag not in SKIPPED:
            if tag in BLOCKS:
                yield "break", ""
                stack.append("break")
            stack.extend(reversed(list(node.iter(include_text=True))))


def _merge(spans: Iterator[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
