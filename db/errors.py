"""Every error a person can meet, and the exit code each one ends with.

NanmineError                1  something failed
├── UsageError              2  the command line is wrong
├── NothingToDo             3  there is no work left
├── RefusedByProtocol       4  a rule of the study forbids it
├── StoppedEarly            5  work is left that a rerun resumes
├── DatabaseError           1  the database cannot be used as it is
└── (pipeline.errors)       1  study files, input files, services
"""

from __future__ import annotations


class NanmineError(Exception):
    """An error with one line for people: what, where, and what to do."""

    exit_code = 1


class UsageError(NanmineError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class NothingToDo(NanmineError):
    """There is no work left for the command."""

    exit_code = 3


class RefusedByProtocol(NanmineError):
    """A rule of the study's protocol forbids the act."""

    exit_code = 4


class StoppedEarly(NanmineError):
    """The command kept what it had done and left work that a rerun resumes."""

    exit_code = 5


class DatabaseError(NanmineError):
    """The database cannot be used: locked, full, foreign, unreachable or of a newer schema."""
