"""A thread as plain text for a terminal."""

from __future__ import annotations

from typing import Any

RULE = "─" * 72


def thread_text(document: dict[str, Any]) -> str:
    """Return the text of what `reading.thread_document` gives."""
    head = f"{document['id']}  {document['url']}"
    where = " · ".join(part for part in (document["phase"], ", ".join(document["strata"])) if part)
    lines = [head, document["title"], where, *_label_lines(document["label"])]
    for post in document["posts"]:
        accepted = " (accepted)" if post["accepted"] else ""
        lines += [RULE, f"#{post['position']} {post['role']}{accepted}", post["text"].rstrip()]
    return "\n".join(lines)


def _label_lines(label: dict[str, Any] | None) -> list[str]:
    if label is None:
        return []
    codes = (label["root_cause"], label["fix_pattern"], label["function"], label["reason"])
    said = " · ".join(code for code in codes if code)
    return [f"your label: {label['verdict']} {said}".rstrip()]
