"""Label Studio and doccano: tasks with labels and evidence, out and in again.

Both carry the thread's URL as key; the ids of those servers are never used. What they show is the
title and the posts as one text; evidence is moved between that text and the single posts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from db.records import Event, Label
from db.threads import Thread
from labeling.deciding import Notes, Span
from labeling.desk import Desk
from pipeline.codebook import Codebook
from pipeline.text import to_text

GAP = "\n\n"
EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class TaskText:
    """A thread as one text; `starts` is where the text of each post begins in it."""

    text: str
    starts: dict[int, int]

    def span_at(self, start: int, end: int) -> Span | None:
        """Return the passage of the one post that lies there; None in the title or across posts."""
        position = max((at for at, begin in self.starts.items() if begin <= start), default=None)
        if position is None:
            return None
        begin = self.starts[position]
        after = min((at for at in self.starts.values() if at > start), default=len(self.text) + len(GAP))
        stop = after - len(GAP)
        return Span(position, start - begin, end - begin) if start < end <= stop else None


@dataclass(frozen=True, slots=True)
class Carried:
    """What a task carries beside its label: a memo, and evidence as offsets of the task's text."""

    text: str
    memo: str = ""
    evidence: tuple[tuple[int, int], ...] = ()

    def notes(self, thread: Thread) -> tuple[Notes, int]:
        """Return it as the notes of a decision, and how many passages are none of a post of today."""
        text = task_text(thread)
        found = [text.span_at(*span) if text.text == self.text else None for span in self.evidence]
        spans = tuple(span for span in found if span is not None)
        return Notes(self.memo, spans), len(found) - len(spans)


def task_text(thread: Thread) -> TaskText:
    """Return the title and every post, two line ends between them."""
    texts = [thread.title, *(to_text(post.body, post.body_format).plain for post in thread.posts)]
    starts = [0, *accumulate(len(text) + len(GAP) for text in texts[:-1])]
    positions = [post.position for post in thread.posts]
    return TaskText(GAP.join(texts), dict(zip(positions, starts[1:], strict=True)))


def to_label_studio(desk: Desk) -> str:
    """Return a Label Studio import: one task a thread, one annotation for each person's label."""
    tasks = []
    for thread, votes in _labelled(desk):
        text = task_text(thread)
        data = {"text": text.text, "title": thread.title, "item_id": thread.url, "stratum": _strata(thread)}
        tasks.append({"data": data, "annotations": [_annotation(vote, text) for vote in votes]})
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def label_studio_config(codebook: Codebook) -> str:
    """Return the labeling interface that the exported tasks belong to, as Label Studio's XML."""
    from xml.sax.saxutils import quoteattr

    def choices(name: str, codes: Iterable[str]) -> str:
        inner = "".join(f"<Choice value={quoteattr(code)}/>" for code in codes)
        return f'<Choices name="{name}" toName="body" choice="single">{inner}</Choices>'

    return (
        '<View><Text name="body" value="$text"/>'
        + choices("validity", ("valid", "invalid", "unsure"))
        + choices("reason", codebook.reason_codes)
        + choices("cause", codebook.cause_codes)
        + choices("fix_pattern", (pattern.code for pattern in codebook.fix_patterns))
        + f'<Labels name="span" toName="body"><Label value="{EVIDENCE}"/></Labels>'
        + '<TextArea name="function" toName="body"/><TextArea name="memo" toName="body"/></View>'
    )


def _annotation(vote: Event, text: TaskText) -> dict[str, Any]:
    return {
        "completed_by": {"email": f"{vote.annotator}@annotator.invalid"},
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": vote.payload.get("seconds"),
        "result": list(_results(vote, text)),
    }


def _results(vote: Event, text: TaskText) -> Iterator[dict[str, Any]]:
    chosen = {
        "validity": vote.verdict,
        "reason": vote.reason,
        "cause": vote.root_cause,
        "fix_pattern": vote.fix_pattern,
    }
    for name, code in chosen.items():
        if code:
            yield _result(vote, name, "choices", {"choices": [code]})
    for name, said in (("function", vote.function), ("memo", vote.payload.get("memo"))):
        if said:
            yield _result(vote, name, "textarea", {"text": [said]})
    for number, (start, end) in enumerate(_spans(vote, text)):
        value = {"start": start, "end": end, "text": text.text[start:end], "labels": [EVIDENCE]}
        yield _result(vote, "span", "labels", value, number)


def _result(vote: Event, name: str, kind: str, value: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return {
        "id": f"{vote.uid[:8]}-{name}-{number}",
        "from_name": name,
        "to_name": "body",
        "type": kind,
        "value": value,
    }


def _spans(vote: Event, text: TaskText) -> list[tuple[int, int]]:
    spans = vote.payload.get("spans", ())
    return [
        (text.starts[span["position"]] + span["start"], text.starts[span["position"]] + span["end"])
        for span in spans
    ]


def to_doccano(desk: Desk) -> str:
    """Return doccano's JSON Lines, one line for each person's label of a thread.

    The cause is a category and evidence a span, so it is for doccano's kind of project that has both
    (intent detection and slot filling).
    """
    lines = []
    for thread, votes in _labelled(desk):
        text = task_text(thread)
        for vote in votes:
            code = vote.root_cause if vote.verdict == "valid" else f"invalid:{vote.reason}"
            row = {
                "text": text.text,
                "cats": [code],
                "entities": [[start, end, EVIDENCE] for start, end in _spans(vote, text)],
                "url": thread.url,
                "annotator": vote.annotator,
                "fix_pattern": vote.fix_pattern,
                "function": vote.function,
                "memo": vote.payload.get("memo"),
            }
            lines.append(json.dumps(row, ensure_ascii=True))
    return "".join(f"{line}\n" for line in lines)


def _labelled(desk: Desk) -> Iterator[tuple[Thread, list[Event]]]:
    """Yield each thread of the study with its live labels, by URL; blind ones only when all are in."""
    secret = {event.thread_url for event in desk.history.blind_labels()}
    for story in sorted(desk.history.sample, key=lambda story: story.url):
        votes = [vote for _, vote in sorted(story.votes.items()) if vote.label is not None]
        thread = desk.find(story.url)
        if not votes or thread is None or story.url in secret:
            continue
        yield thread, votes


def _strata(thread: Thread) -> str:
    return " ".join(sorted(row.stratum for row in thread.strata))


def from_label_studio(tasks: list[Any]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield one row of `label import` for each annotation of an export, or why it cannot be read."""
    for number, task in enumerate(tasks, start=1):
        try:
            for annotation in task["annotations"]:
                if not annotation.get("was_cancelled"):
                    yield number, _from_annotation(task["data"], annotation)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
            yield number, f"is no task that nanmine exported ({type(error).__name__}: {error})"


def _from_annotation(data: dict[str, Any], annotation: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, str] = {}
    evidence = []
    for result in annotation["result"]:
        values = result["value"].get("choices") or result["value"].get("text")
        if result["type"] in ("choices", "textarea"):
            if len(values) != 1:
                raise ValueError(f"{result['from_name']} has {len(values)} values")
            chosen[result["from_name"]] = values[0]
        elif result["type"] == "labels":
            evidence.append((int(result["value"]["start"]), int(result["value"]["end"])))
    label = _checked(chosen)
    by = annotation["completed_by"]
    email = by["email"] if isinstance(by, dict) else f"label-studio-{by}"
    carried = Carried(str(data.get("text")), chosen.get("memo", ""), tuple(evidence))
    return {
        "url": data["item_id"],
        "annotator": email.partition("@")[0],
        **label,
        "carried": carried,
    }


def _checked(chosen: dict[str, str]) -> dict[str, Any]:
    if chosen.get("validity") not in ("valid", "invalid"):
        raise ValueError("validity is neither valid nor invalid")
    label = Label(
        chosen["validity"] == "valid",
        chosen.get("reason"),
        chosen.get("cause"),
        chosen.get("fix_pattern"),
        chosen.get("function"),
    )
    return asdict(label)


def from_doccano(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of `label import` that one line of doccano's export says; ValueError if none."""
    labels = row.get("cats") or row.get("label") or []
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise ValueError(f"has {len(labels)} labels")
    code, _, reason = labels[0].partition(":")
    kept = {name: row.get(name) for name in ("url", "annotator", "fix_pattern", "function")}
    evidence = tuple(_passage(entity) for entity in row.get("entities") or ())
    kept["carried"] = Carried(row["text"], str(row.get("memo") or ""), evidence)
    if code == "invalid":
        return {**kept, "valid": False, "reason": reason}
    return {**kept, "valid": True, "root_cause": labels[0]}


def _passage(entity: Any) -> tuple[int, int]:
    """Return the offsets of an entity, which doccano writes as a list or as an object."""
    if isinstance(entity, dict):
        return int(entity["start_offset"]), int(entity["end_offset"])
    return int(entity[0]), int(entity[1])
