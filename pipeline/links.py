"""URLs of threads: which source and thread a URL means, and the URLs that a file lists.

A thread has many URLs (with a slug or without, with a post number, a query, a short link). They are
the same thread when source and external id are the same; `url` is the form to show and store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.study import SourceSettings, Study

URL = re.compile(r"https?://[^\s<>\"'`|\\^{}()\[\],]+", re.IGNORECASE)
TRAILING = ".,;:!?*_~"
GITHUB_PATH = re.compile(r"/([\w.-]+)/([\w.-]+)/(issues|pull)/(\d{1,19})(?:/.*)?")
QUESTION_PATH = re.compile(r"/(?:questions|q)/(\d{1,19})(?:/([^/\s]*))?(?:/.*)?")
ANSWER_PATH = re.compile(r"/a/(\d{1,19})(?:/.*)?")
TOPIC_PATH = re.compile(r"/t/(?:([^/\s]*[^/\s\d][^/\s]*)/)?(\d{1,19})(?:/.*)?")
SLUG_PATH = re.compile(r"/t/([^/\s]*[^/\s\d][^/\s]*)/?")
JSON = re.compile(r"(?:\.json)+/?$")


@dataclass(frozen=True, slots=True)
class Link:
    """What a URL means: a thread of `source`, or something that only the service can lead to one.

    `external_id` is None for a forum URL without an id (`slug` names the topic) and for a short
    link to an answer (`answer` is its id). `url` is the canonical form: the source's own host, no
    post number, query or fragment, and the slug if the URL had one.
    """

    source: str
    url: str
    external_id: str | None = None
    slug: str | None = None
    answer: str | None = None


def read_link(url: str, study: Study) -> Link | None:
    """Return what `url` means in the study's sources, or None if it is no thread of any of them."""
    for source in study.sources.values():
        link = read_source_link(url, source)
        if link is not None:
            return link
    return None


def read_source_link(url: str, source: SourceSettings) -> Link | None:
    """Return what `url` means in one source, or None if it is no thread of it."""
    for root in dict.fromkeys((source.site, source.url)):
        path = _path_under(url, root)
        link = READERS[source.service](path, source) if path is not None else None
        if link is not None:
            return link
    return None


def identify(url: str, study: Study) -> tuple[str, str] | None:
    """Return (source, external id) of the thread at `url`, or None if the URL alone does not tell."""
    link = read_link(url, study)
    return (link.source, link.external_id) if link and link.external_id else None


def canonical(url: str, study: Study) -> str:
    """Return the canonical form of a thread's URL; any other URL comes back as it is."""
    link = read_link(url, study)
    return link.url if link else url


def find_urls(text: str) -> list[str]:
    """Return the distinct URLs in a text (plain, Markdown or CSV), in order."""
    return list(dict.fromkeys(found[0].rstrip(TRAILING) for found in URL.finditer(text)))


def read_url_list(path: Path) -> list[str]:
    """Return the distinct URLs that a file lists, in order; InputError if it cannot be read."""
    try:
        return find_urls(path.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _path_under(url: str, root: str) -> str | None:
    """Return the path of `url` below `root`; scheme, `www.` and the case of the host do not matter."""
    try:
        asked, base = urlsplit(url.strip()), urlsplit(root)
        same_place = _place(asked.netloc) == _place(base.netloc)
    except ValueError:
        return None
    prefix = base.path.rstrip("/")
    if asked.scheme.lower() not in ("http", "https") or not same_place or not asked.path.startswith(prefix):
        return None
    return asked.path[len(prefix) :]


def _place(netloc: str) -> str:
    return netloc.rpartition("@")[2].lower().removeprefix("www.")


def _read_github(path: str, source: SourceSettings) -> Link | None:
    found = GITHUB_PATH.fullmatch(path)
    if found is None:
        return None
    owner, name, kind, number = found.groups()
    external_id = f"{owner}/{name}#{int(number)}"
    return Link(source.name, f"{source.site}/{owner}/{name}/{kind}/{int(number)}", external_id)


def _read_stackexchange(path: str, source: SourceSettings) -> Link | None:
    if found := ANSWER_PATH.fullmatch(path):
        return Link(source.name, f"{source.site}/a/{int(found[1])}", answer=str(int(found[1])))
    found = QUESTION_PATH.fullmatch(path)
    if found is None:
        return None
    question = str(int(found[1]))
    # Behind /q/ID stands the sharer's account, not a slug.
    slug = found[2] if path.startswith("/questions/") else None
    return Link(source.name, "/".join(filter(None, (source.site, "questions", question, slug))), question)


def _read_discourse(path: str, source: SourceSettings) -> Link | None:
    path = JSON.sub("", path)
    if found := TOPIC_PATH.fullmatch(path):
        slug = found[1] if found[1] != "-" else None
        topic = str(int(found[2]))
        return Link(source.name, "/".join(filter(None, (source.site, "t", slug, topic))), topic)
    if found := SLUG_PATH.fullmatch(path):
        return Link(source.name, f"{source.site}/t/{found[1]}", slug=found[1])
    return None


READERS: dict[str, Callable[[str, SourceSettings], Link | None]] = {
    "github": _read_github,
    "stackexchange": _read_stackexchange,
    "discourse": _read_discourse,
}
