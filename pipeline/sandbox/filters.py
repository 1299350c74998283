"""Stack Exchange filters: which fields an answer carries, down to nested objects.

A filter is a set of `type.field` names (the wrapper's own as `.field`). Its id holds the set itself,
so an id stays good for ever, as the live service promises, and needs no storage.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

WRAPPER = ".backoff .error_id .error_message .error_name .has_more .items .quota_max .quota_remaining"
DEFAULTS = {
    "question": "accepted_answer_id answer_count closed_date closed_reason content_license creation_date"
    " is_answered last_activity_date last_edit_date link owner question_id score tags title view_count",
    "answer": "answer_id content_license creation_date is_accepted last_activity_date last_edit_date owner"
    " question_id score",
    "comment": "comment_id content_license creation_date edited owner post_id score",
    "shallow_user": "accept_rate account_id display_name link profile_image reputation user_id user_type",
    "site": "api_site_parameter audience launch_date name site_state site_type site_url",
    "filter": "filter filter_type included_fields",
    "error": "description error_id error_name",
}
OPTIONAL = {
    "question": "answers body body_markdown comment_count comments down_vote_count share_link up_vote_count",
    "answer": "accepted body body_markdown comment_count comments link share_link tags title",
    "comment": "body body_markdown link post_type",
}
NESTED = {"owner": "shallow_user", "answers": "answer", "comments": "comment"}


def _names(table: dict[str, str]) -> frozenset[str]:
    return frozenset(f"{kind}.{name}" for kind, names in table.items() for name in names.split())


DEFAULT = _names(DEFAULTS) | frozenset(WRAPPER.split())
KNOWN = DEFAULT | _names(OPTIONAL) | frozenset((".total", ".page", ".page_size", ".type"))
ORDERED = tuple(sorted(KNOWN))
BODIES = frozenset(("question.body", "answer.body", "comment.body"))


@dataclass(frozen=True, slots=True)
class Filter:
    """A set of fields; a safe filter gives titles and Markdown with their entities encoded."""

    fields: frozenset[str]
    safe: bool = True

    @property
    def id(self) -> str:
        """The id: a checksum, whether it is safe, and one bit for each known field."""
        bits = sum(1 << index for index, name in enumerate(ORDERED) if name in self.fields)
        packed = bytes([self.safe]) + bits.to_bytes((len(ORDERED) + 7) // 8, "little")
        return "!" + base64.urlsafe_b64encode(_checksum(packed) + packed).decode().rstrip("=")

    def apply(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        """Return what the filter leaves of an object of type `kind`, nested objects included."""
        kept = {}
        for name, value in thing.items():
            if f"{kind}.{name}" not in self.fields:
                continue
            inner = NESTED.get(name)
            if inner and isinstance(value, list):
                value = [self.apply(inner, item) for item in value]
            elif inner and isinstance(value, dict):
                value = self.apply(inner, value)
            kept[name] = value
        return kept


BUILT_IN = {
    "default": Filter(DEFAULT),
    "withbody": Filter(DEFAULT | BODIES),
    "none": Filter(frozenset()),
    "total": Filter(frozenset((".total",))),
    # The one that stackapi's constructor sends with `sites`.
    "!*L1*AY-85YllAr2)": Filter(DEFAULT),
}


def make_filter(base: str, include: Iterable[str], exclude: Iterable[str], safe: bool) -> Filter:
    """Return the filter that `filters/create` makes; ValueError names the parameter that is wrong."""
    fields = find_filter(base)
    if fields is None:
        raise ValueError("base")
    include, exclude = frozenset(include), frozenset(exclude)
    for parameter, names in (("include", include), ("exclude", exclude)):
        if not names <= KNOWN:
            raise ValueError(parameter)
    return Filter((fields.fields | include) - exclude, safe)


def find_filter(name: str) -> Filter | None:
    """Return the filter called or numbered `name`, or None where there is none."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    try:
        data = base64.b64decode(name[1:] + "=" * (-len(name[1:]) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    if not name.startswith("!") or data[:4] != _checksum(data[4:]) or len(data) < 6:
        return None
    bits = int.from_bytes(data[5:], "little")
    return Filter(frozenset(n for index, n in enumerate(ORDERED) if bits >> index & 1), bool(data[4]))


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")
