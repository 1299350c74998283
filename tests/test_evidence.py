"""Evidence: the pieces that moved a proposal, by the cues and by the words, where they stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Label
from pipeline.channels import PostText, Segment, segments_of
from pipeline.codebook import Codebook
from pipeline.dataset import Document
from pipeline.evidence import LEAST, SHOWN, SNIPPET, Explainer, Traces, pack
from pipeline.features import NOWHERE, Trace, extract
from pipeline.keywords import KeywordMatcher
from pipeline.model import Examples, Model, rules_model, train
from pipeline.rules import Rules
from pipeline.scoring import Sheet, Weighed
from tests.model_documents import toy_codebook, toy_document

CUED = toy_codebook("[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['\\bclip\\b', '']\n")
UNCUED = toy_codebook()
KEYWORDS = KeywordMatcher(["nan"])
FILLER = "The model reads a batch of data and prints what it found in every step of this run."
HOSTILE = "\ud800 <script>alert(1)</script> \x1b[2J [bold]=cmd|'/c calc'!A1[/bold] {{ 7 * 7 }} %s ' or 1=1 --"


def trained(codebook: Codebook, kinds: Sequence[str | None] = ("A", "B", "C", None)) -> Model:
    """Return a model of threads whose opening post says little, and whose answer names the cause."""
    causes = [*kinds] * 25
    documents = [answered(toy_document(number, cause)) for number, cause in enumerate(causes)]
    labels = tuple(Label(True, None, cause) if cause else Label(False, "noise") for cause in causes)
    features, _ = extract(documents, Rules(codebook))
    return train(Examples(features, labels, np.arange(len(labels)).astype(str)), Rules(codebook))


def answered(document: Document) -> Document:
    """Return the document with its prose as the answer to a post that says nothing."""
    filler = toy_document(document.thread_id + 5_000, None).segments[1].text
    opening, answer = Segment("prose", filler, 0), Segment("answer", document.segments[1].text, 1)
    return replace(document, segments=(Segment("title", "nan"), opening, answer))


def traces_of(traces: Sequence[Trace]) -> Traces:
    """Return the traces of several documents as one."""
    counts = np.concatenate([trace.counts for trace in traces])
    cues = np.concatenate([trace.cues for trace in traces])
    return Traces(counts, cues, tuple(pack(trace) for trace in traces))


def explained(
    model: Model, codebook: Codebook, documents: Sequence[Document]
) -> list[list[dict[str, object]]]:
    features, traces = extract(documents, Rules(codebook))
    sheet = Sheet.of(features)
    weighed = Weighed.of(sheet, model.weighting)
    return Explainer(model).evidence(sheet, weighed, traces_of(traces), model.score(sheet, weighed)[1])


def thread(*bodies: str, title: str = "Strange numbers") -> Document:
    """Return a thread of the posts given."""
    posts = [PostText("reply" if n else "opening", body, "text") for n, body in enumerate(bodies)]
    return replace(toy_document(1, None), segments=segments_of(title, posts, "github", KEYWORDS))


@pytest.mark.parametrize("codebook", [CUED, UNCUED])
def test_a_word_without_a_cue_that_decides_is_named_with_its_place(codebook: Codebook) -> None:
    """The piece with the words that training tied to the cause comes first, in its post."""
    found = thread(
        FILLER, FILLER, f"{FILLER}\nThe denominator was zero so I added an epsilon there.\n{FILLER}"
    )
    model = trained(codebook)
    _, causes = model.predict(extract([found], Rules(codebook))[0])
    (evidence,) = explained(model, codebook, [found])
    assert causes[0].argmax() == 0
    assert evidence[0]["text"] == "The denominator was zero so I added an epsilon there."
    assert evidence[0]["position"] == 2
    assert float(str(evidence[0]["weight"])) > 0.5


def test_what_speaks_against_the_proposal_weighs_less_than_nothing() -> None:
    """A piece in the words of the cause that is not proposed has a negative weight."""
    rate = "The gradient was too big and its rate as well, I believe."
    zero = "The denominator was zero; an epsilon in the denominator helps: zero plus epsilon."
    model, found = trained(UNCUED, "ABC"), thread(FILLER, f"{zero}\n{rate}")
    _, causes = model.predict(extract([found], Rules(UNCUED))[0])
    proposed, other = (zero, rate) if causes[0].argmax() == 0 else (rate, zero)
    (evidence,) = explained(model, UNCUED, [found])
    weights = {piece["text"]: float(str(piece["weight"])) for piece in evidence}
    assert weights[proposed] > 0 > weights[other]


def test_before_any_label_evidence_is_what_the_cues_hit() -> None:
    """The rules' model names the piece of each hit, with the cue's weight, and no piece for a base rate."""
    (evidence,) = explained(
        rules_model(Rules(CUED)), CUED, [thread(FILLER, "Try to clip it, I would say so.")]
    )
    assert evidence == [{"text": "Try to clip it, I would say so.", "weight": 3.0, "position": 1}]


def test_pieces_that_weigh_the_same_come_as_they_stand() -> None:
    """Which of them are shown, and in what order, is the same on every machine."""
    words = [f"word{n}" for n in range(2 * SHOWN)]
    cues = [f"[[cues]]\nfor = 'B'\nweight = 1\npatterns = ['\\b{word}\\b', '']\n" for word in words]
    codebook = toy_codebook("".join(cues))
    sentences = [f"A sentence of this thread says {word} and no more." for word in words]
    (evidence,) = explained(rules_model(Rules(codebook)), codebook, [thread(" ".join(sentences))])
    assert [piece["text"] for piece in evidence] == sentences[:SHOWN]


LINES = st.lists(
    st.lists(
        st.sampled_from("denominator zero clip gradient driver nan loss model epsilon".split()), max_size=9
    ),
    max_size=12,
).map(lambda lines: "\n".join(map(" ".join, lines)))


@given(st.lists(LINES, min_size=1, max_size=3))
def test_weights_add_up_to_the_log_odds(bodies: list[str]) -> None:
    """All pieces together add what text and placed cues add to the log-odds, for every cause."""
    features, traces = extract([thread(*bodies, title="nan")], Rules(CUED))
    sheet, traced = Sheet.of(features), traces_of(traces)
    weighed = Weighed.of(sheet, MODEL.weighting)
    placed = np.flatnonzero(features.cues[0])[traces[0].cues != NOWHERE]
    weighted = MODEL.weighting.transform(features.counts)
    valid = (weighted @ MODEL.valid.text)[0] + MODEL.valid.cues[placed].sum(axis=0)
    causes = (weighted @ MODEL.cause.text)[0] + MODEL.cause.cues[placed].sum(axis=0)
    for first in range(3):
        odds = valid.sum() + causes[first] - np.delete(causes, first).mean()
        weights = Explainer(MODEL).weights(sheet, weighed, traced, np.array([first]))
        assert weights.sum() == pytest.approx(odds, abs=1e-4)


MODEL = trained(CUED)


def test_a_piece_taken_away_changes_the_log_odds_by_its_weight() -> None:
    """Where its words stand nowhere else and share no channel, a piece's weight is the change without it."""
    whole = thread(FILLER, "The denominator is zero here")
    without = replace(whole, segments=tuple(one for one in whole.segments if one.position != 1))
    (evidence,) = explained(MODEL, CUED, [whole])
    odds = []
    for found in (whole, without):
        features, _ = extract([found], Rules(CUED))
        text = MODEL.weighting.transform(features.counts)
        valid, causes = (text @ MODEL.valid.text)[0], (text @ MODEL.cause.text)[0]
        odds.append(valid.sum() + causes[0] - causes[1:].mean())
    (weight,) = (piece["weight"] for piece in evidence if piece["position"] == 1)
    assert weight == pytest.approx(odds[0] - odds[1], abs=2e-3)


def test_evidence_is_bounded_ordered_and_json() -> None:
    """At most SHOWN pieces, the strongest first, none below LEAST or longer than SNIPPET."""
    body = "\n".join(f"The denominator of layer {n} is zero, so add an epsilon to it" for n in range(40))
    found = [thread(FILLER, body + "x" * 5_000), replace(toy_document(2, None), segments=())]
    evidence, nothing = explained(MODEL, CUED, found)
    weights = [abs(float(str(piece["weight"]))) for piece in evidence]
    assert weights == sorted(weights, reverse=True)
    assert 0 < len(evidence) <= SHOWN
    assert min(weights) >= LEAST
    assert all(len(str(piece["text"])) <= SNIPPET for piece in evidence)
    assert json.loads(json.dumps(evidence)) == evidence
    assert nothing == []


def test_hostile_text_stays_what_it_is() -> None:
    """Markup, escapes and formulas come out as the text they are, in one line."""
    line = f"denominator zero epsilon {HOSTILE}"
    (evidence,) = explained(MODEL, CUED, [thread(FILLER, line)])
    (shown,) = (str(piece["text"]) for piece in evidence if piece["position"] == 1)
    assert shown == " ".join(line.replace("\ud800", "?").split())[:SNIPPET]
    assert "\n" not in shown


def test_one_cause_alone_has_evidence_too() -> None:
    """A codebook with a single cause explains by validity, without dividing by nothing."""
    from pipeline.codebook import to_codebook

    head = "[[types]]\ncode='code'\nname='Code'\n[[reasons]]\ncode='noise'\nname='n'\ndefinition='x'\n"
    cause = "[[causes]]\ncode='A'\nname='A'\ntype='code'\ndefinition='x'\n"
    codebook = to_codebook(head + cause + "[[cues]]\nfor='valid'\nweight=2\npatterns=['zero']\n")
    (evidence,) = explained(rules_model(Rules(codebook)), codebook, [thread("It is zero")])
    assert evidence == [{"text": "It is zero", "weight": 2.0, "position": 0}]


def test_a_segment_of_one_word_is_placed() -> None:
    """A hit in the title stands at position 0, as do the tags."""
    found = replace(toy_document(1, None), segments=(Segment("title", "clip"), Segment("tags", "clip")))
    (evidence,) = explained(rules_model(Rules(CUED)), CUED, [found])
    assert evidence == [{"text": "clip", "weight": 3.0, "position": 0}]
