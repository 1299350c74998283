"""The channels of a thread: title, prose, code, log, replies, answer, contexts and tags, kept apart.

A title alone carries no root cause, and the accepted answer carries most of it; so every channel
has features, and cues, of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.keywords import KeywordMatcher
from pipeline.text import Text, to_text

CHANNELS = ("title", "prose", "code", "log", "replies", "answer", "context", "code_context", "tags")
LONGEST = 20_000  # characters of one channel: the rest of a 1 MB thread says nothing new
CONTEXT = 90  # characters on each side of a keyword
CLOSING = 2  # the last replies that stand for the answer where none was accepted
LOG_LINE = re.compile(
    r"""^\s*(?:Traceback\b|File\s"|at\s\S+\(|\.{3}\s|>>>|\#\s?\d+\s+0x|\[?\d{4}[-/]\d\d[-/]\d\d|[IWEF]\d{4}\s
    |(?:INFO|WARN(?:ING)?|ERROR|DEBUG|FATAL)\b|\[(?:INFO|WARN(?:ING)?|ERROR|DEBUG)|(?:epoch|step|iter(?:ation)?)\W{0,3}\d
    |\w*(?:Error|Exception|Warning)\b:|\S+\.py:\d+|\d+/\d+\s|[-+\d.,:;|=\[\]()\s%e]{12,}$)""",
    re.IGNORECASE | re.VERBOSE,
)
AUTOMATIC = re.compile(
    r"automatically (?:closed|locked|marked|closing)|satisfied with the resolution"
    r"|lack of (?:recent )?activity|has not had (?:any )?recent activity"
    r"|closing as stale|marked as stale|due to inactivity",
    re.IGNORECASE,
)
COURTESY = re.compile(
    r"closing (?:this )?as resolved|feel free to (?:re-?open|open)"
    r"|\b(?:can|may|should|could) (?:we|i|you|this be) closed?\b",
    re.IGNORECASE,
)
BRIEF = 120  # characters at most of a reply that is nothing but a courtesy


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a thread's text: its channel and the position of its post (None for the title and tags)."""

    channel: str
    text: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class PostText:
    """What the channels need of one post."""

    role: str
    body: str
    body_format: str
    accepted: bool = False


def is_log_line(line: str) -> bool:
    """Say whether a line looks like one of a log or a traceback; its beginning tells."""
    return bool(LOG_LINE.match(line[:200]))


def segments_of(
    title: str, posts: Sequence[PostText], tags: str, keywords: KeywordMatcher
) -> tuple[Segment, ...]:
    """Return the segments of a thread, in the order in which it reads; empty pieces are left out."""
    answers = _answers(posts)
    pieces = [Segment("title", title), Segment("tags", tags)]
    pieces += [Segment(name, window) for name, window in _windows(Text(title), keywords)]
    for position, post in enumerate(posts):
        text = to_text(post.body, post.body_format)
        channel = "prose" if position == 0 else "answer" if position in answers else "replies"
        pieces += [Segment(name, piece, position) for name, piece in _split(text, channel)]
        pieces += [Segment(name, window, position) for name, window in _windows(text, keywords)]
    return tuple(_bounded(piece for piece in pieces if piece.text.strip()))


def _bounded(pieces: Iterable[Segment]) -> Iterator[Segment]:
    """Yield the pieces until a channel has LONGEST characters."""
    left = dict.fromkeys(CHANNELS, LONGEST)
    for piece in pieces:
        text = piece.text[: left[piece.channel]]
        left[piece.channel] -= len(text)
        if text:
            yield Segment(piece.channel, text, piece.position)


def _answers(posts: Sequence[PostText]) -> frozenset[int]:
    """Return the positions of the accepted answers, or else of the last replies that close no thread."""
    accepted = [n for n, post in enumerate(posts) if n and post.accepted]
    written = [n for n, post in enumerate(posts) if n and post.role != "comment" and not _closes(post.body)]
    return frozenset(accepted or written[-CLOSING:])


def _closes(body: str) -> bool:
    """Say whether a reply only closes the thread: a bot's, or a person's few words."""
    return bool(AUTOMATIC.search(body) or (len(body) <= BRIEF and COURTESY.search(body)))


def _split(text: Text, channel: str) -> Iterator[tuple[str, str]]:
    """Yield the prose (as `channel`), the code and the log lines of a post."""
    for name, piece in ((channel, text.prose_text), ("code", text.code_text)):
        kept: list[str] = []
        log: list[str] = []
        for line in piece.splitlines():
            (log if is_log_line(line) else kept).append(line)
        yield name, "\n".join(kept)
        yield "log", "\n".join(log)


def _windows(text: Text, keywords: KeywordMatcher) -> Iterator[tuple[str, str]]:
    """Yield what stands around each keyword, code apart from prose and logs; close hits share a window."""
    end = -1
    for match in keywords.find(text.plain):
        if match.extended or match.start < end:
            continue
        end = match.end + CONTEXT
        line = text.plain[text.plain.rfind("\n", 0, match.start) + 1 : match.end]
        in_code = text.part_at(match.start) == "code" and not is_log_line(line)
        yield "code_context" if in_code else "context", text.plain[max(0, match.start - CONTEXT) : end]
