"""The errors of the pipeline, under `db.errors.NanmineError`.

NanmineError
├── StudyError              1  a study file or codebook is wrong: the person who wrote it
├── InputError              1  an input file is wrong: the person who gave it
├── SourceError             1  a service did not give what was asked
│   ├── Unreachable            no answer after every try: the network, or later
│   ├── Unauthorized           the token or key is refused: the person who set it
│   ├── Refused                the request itself is refused: us
│   ├── Malformed              an answer that cannot be read
│   └── Gone                   the thing is deleted, moved or private (`status` says which)
└── StoppedEarly            5
    ├── Interrupted            a person pressed Ctrl-C
    └── QuotaExhausted         a service's limit; `resume_at` says until when
"""

from __future__ import annotations

from datetime import datetime

from db.errors import NanmineError, StoppedEarly


class StudyError(NanmineError):
    """A study file or a codebook is wrong."""


class InputError(NanmineError):
    """An input file is wrong."""


class SourceError(NanmineError):
    """A service did not give what was asked; the message names no secret.

    `about` says how many of the entries that were to be fetched, from the first, had been asked for;
    None is all of them.
    """

    about: int | None = None


class Unreachable(SourceError):
    """No usable answer after every try; `answered` says that the service sent at least something."""

    def __init__(self, message: str, answered: bool = True) -> None:
        super().__init__(message)
        self.answered = answered


class Unauthorized(SourceError):
    """The service refuses the token or key."""


class Refused(SourceError):
    """The service refuses the request itself: it was built wrongly, or the rules changed."""


class Malformed(SourceError):
    """An answer that cannot be read, or that is too large or too deep to be read safely."""


class Gone(SourceError):
    """The thing asked for is no longer to be had: `availability` is gone, moved or private."""

    def __init__(self, message: str, availability: str = "gone") -> None:
        super().__init__(message)
        self.availability = availability


class Interrupted(StoppedEarly):
    """A person stopped the crawl; what was done is kept."""


class QuotaExhausted(StoppedEarly):
    """A service's limit is used up and the wait is longer than the run may wait."""

    def __init__(self, message: str, resume_at: datetime | None = None) -> None:
        super().__init__(message)
        self.resume_at = resume_at
