"""Made-up documents with a known right answer, for the tests of the models."""

from __future__ import annotations

import random

import numpy as np

from db.records import Label
from db.threads import Post, Thread
from pipeline.channels import Segment
from pipeline.codebook import Codebook, to_codebook
from pipeline.dataset import FACTS, Document
from pipeline.features import extract
from pipeline.model import Examples
from pipeline.records import ThreadRecord
from pipeline.rules import Rules

WORDS = {"A": "denominator zero epsilon", "B": "gradient clip rate", "C": "driver version upgrade"}
FILLER = "model layer batch epoch data train value code run python tensor input output step loss".split()


def toy_codebook(cues: str = "") -> Codebook:
    """Return a codebook of three causes, one reason, and the cues given."""
    causes = "".join(
        f"[[causes]]\ncode='{c}'\nname='{c}'\ntype='code'\ndefinition='x'\nfix_patterns=['fix']\n"
        for c in WORDS
    )
    head = "[[types]]\ncode='code'\nname='Code'\n[[reasons]]\ncode='noise'\nname='n'\ndefinition='x'\n"
    return to_codebook(head + causes + "[[fix_patterns]]\ncode='fix'\nname='f'\n" + cues)


def toy_document(number: int, cause: str | None, group: str | None = None) -> Document:
    """Return document `number`, which speaks of its cause, or of nothing if it is not valid."""
    chance = random.Random(number)
    words = chance.choices(FILLER, k=25) + (WORDS[cause].split() if cause else ["question", "how"])
    chance.shuffle(words)
    segments = (Segment("title", f"{words[0]} {words[1]}"), Segment("prose", " ".join(words), 0))
    url = f"https://example.org/{number}"
    return Document(number, url, f"{number:064d}", group or url, segments, (0.0,) * len(FACTS))


def toy_examples(n: int, codebook: Codebook, causes: str = "ABC", valid_share: float = 0.7) -> Examples:
    """Return `n` labelled documents with the causes given, in turn."""
    chance = random.Random(1)
    truth = [causes[i % len(causes)] if chance.random() < valid_share else None for i in range(n)]
    documents = [toy_document(i, cause, f"group {i % 40}") for i, cause in enumerate(truth)]
    labels = [Label(True, None, cause, "fix") if cause else Label(False, "noise") for cause in truth]
    features, _ = extract(documents, Rules(codebook))
    return Examples(features, tuple(labels), np.array([document.group for document in documents]))


def stored(thread: ThreadRecord) -> Thread:
    """Return a thread as its row would be, with its posts, without a database."""
    posts = [
        Post(position=n, role=post.role, body=post.body, body_format=post.body_format, accepted=post.accepted)
        for n, post in enumerate(thread.posts)
    ]
    return Thread(
        id=0,
        source=thread.source,
        url=thread.url,
        kind=thread.kind,
        title=thread.title,
        repository=thread.repository,
        tags=list(thread.tags),
        libraries=list(thread.libraries),
        accepted=thread.accepted,
        content_sha256="",
        posts=posts,
    )
