"""What a pattern asks of a text: whatever a pattern hits holds it."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.channels import Segment
from pipeline.rules import Cue, Rules
from pipeline.study import load_study
from pipeline.trigrams import Needs, runs_of

RULES = Rules(load_study().codebook)
PATTERNS = (
    r"clip|cl(?:amp|ip_by)\w*",
    r"\blr\b|\bl2\b|learning[- _]?rate",
    r"(?:nan|inf)s?\W+(?:\w+\W+){0,2}(?:because|due)",
    r"(?:ab){2}c?d+?e*(?!h)fg(?<!x)",
    r"(?P<quote>['\"])nan(?P=quote)|(?-i:NaN)|(a)?(?(2)b|c)",
    r"straße|µs|ısk",
    r"(?x) lo \s+ ss  # a comment",
    r"k{2,}s++i*?",
    r"",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_a_pattern_hits_holds_what_it_asks_for(pattern: str) -> None:
    """Made from the pattern and put anywhere in a text, in any case, a hit always meets the needs."""
    compiled = re.compile(pattern, re.IGNORECASE)

    @given(st.text(max_size=9), st.from_regex(compiled), st.text(max_size=9))
    def holds(before: str, hit: str, after: str) -> None:
        for text in (before + hit + after, (before + hit).swapcase() + after, hit.upper()):
            if compiled.search(text):
                assert Needs.of(compiled).met_by(runs_of(text))

    holds()


def test_every_letter_folds_to_what_it_matches() -> None:
    """Of all characters, those that match a letter where case is ignored are held as that letter."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    for letter in "abcdefghijklmnopqrstuvwxyz":
        for found in re.findall(letter, everything, re.IGNORECASE):
            assert runs_of(f"x{found}y") >= {f"x{letter}y"}


@pytest.mark.parametrize(
    ("pattern", "text", "met"),
    [
        ("clip", "A CLIPPED gradient", True),
        ("clip", "cli pp", False),
        ("clip|norm", "abnormal", True),
        ("(?:clip|norm) by", "a norm", False),
        ("weight[- ]?decay", "weights", False),
        (r"\blr\b", "clear", False),
        ("(?:clip)?", "", True),
        ("clip|", "", True),
        ("(?!clip)norm", "norm", True),
    ],
)
def test_a_text_without_what_is_asked_for_is_passed_over(pattern: str, text: str, met: bool) -> None:
    """Strings that must be there are looked for wherever they stand; what may be absent is not."""
    assert Needs.of(re.compile(pattern)).met_by(runs_of(text)) == met


def _plainly(cues: tuple[Cue, ...], segments: tuple[Segment, ...]) -> list[tuple[int, int | None, int]]:
    """Return each first hit by trying every cue on every segment."""
    found = []
    for number, cue in enumerate(cues):
        own = ((place, one) for place, one in enumerate(segments) if one.channel in cue.channels)
        hits = ((number, place, hit.start()) for place, one in own if (hit := cue.pattern.search(one.text)))
        found += [(number, None, 0)] if not cue.pattern.pattern else list(hits)[:1]
    return found


@settings(max_examples=25)
@given(st.data())
def test_the_cues_hit_as_if_each_were_tried(data: st.DataObject) -> None:
    """On texts made from the study's own cues, the hits and their places are those of a plain search."""
    made = st.sampled_from(RULES.cues).flatmap(lambda cue: st.from_regex(cue.pattern))
    texts = data.draw(st.lists(st.lists(made, max_size=3).map(" ".join), max_size=3))
    channels = st.sampled_from(("title", "prose", "answer", "code"))
    segments = tuple(Segment(data.draw(channels), text) for text in texts)
    found = [(hit.cue, hit.segment, hit.start) for hit in RULES.find(segments)]
    assert found == _plainly(RULES.cues, segments)
