"""Pieces and tokens: nothing of a text is lost, and every count comes from one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import hstack
from sklearn.feature_extraction.text import HashingVectorizer

from pipeline import tokens
from pipeline.channels import CHANNELS, Segment
from pipeline.dataset import FACTS, Document
from pipeline.features import BLOCKS, HEAD, NOWHERE, WIDTH, Block, extract
from pipeline.pieces import pieces_of
from pipeline.rules import Rules
from tests.model_documents import toy_codebook

RULES = Rules(toy_codebook("[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['clip', '']\n"))
WORDS = st.sampled_from(
    ["NaN", "loss", "a", "gradient.", "ΟΔΟΣ", "İx", "損失が", "x=1", "clip", "e-10", "\x1f"]
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "\xa0", ". ", "  \n\n"]))).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)
SEGMENTS = st.lists(
    st.builds(Segment, st.sampled_from(CHANNELS), TEXTS, st.sampled_from([None, 0, 1])), max_size=6
).map(tuple)


def document(segments: tuple[Segment, ...]) -> Document:
    return Document(1, "https://example.org/1", "0" * 64, "g", segments, (0.0,) * len(FACTS))


def plain_counts(block: Block, segments: tuple[Segment, ...]) -> object:
    """Return the counts of a block as scikit-learn's vectorizer gives them."""
    text = "\n".join(segment.text for segment in segments if segment.channel in block.channels)
    vectorizer = HashingVectorizer(
        n_features=WIDTH,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
        analyzer="char_wb" if block.analyzer == "char_wb" else "word",
        ngram_range=block.ngrams,
        token_pattern=r"\S+" if block.analyzer == "tags" else r"(?u)\b\w\w+\b",
    )
    return vectorizer.transform([text[:HEAD] if block.analyzer == "char_wb" else text])


@given(SEGMENTS)
def test_counts_are_those_of_the_vectorizer_of_scikit_learn(segments: tuple[Segment, ...]) -> None:
    """Counting piece by piece gives just what scikit-learn counts in the joined text."""
    features, (trace,) = extract([document(segments)], RULES)
    expected = hstack([plain_counts(block, segments) for block in BLOCKS], format="csr")
    assert (features.counts != expected).nnz == 0
    assert features.counts.has_sorted_indices
    assert len(trace.counts) == features.counts.nnz
    assert (trace.counts < len(trace.pieces)).all()
    assert ((trace.cues < len(trace.pieces)) | (trace.cues == NOWHERE)).all()


def test_characters_are_counted_up_to_a_bound() -> None:
    """What stands behind the first HEAD characters of a channel adds words but no character n-grams."""
    segments = tuple(Segment("prose", f"{number} word " * 500, number) for number in range(3))
    features, _ = extract([document(segments)], RULES)
    expected = hstack([plain_counts(block, segments) for block in BLOCKS], format="csr")
    assert (features.counts != expected).nnz == 0


@given(SEGMENTS)
def test_the_slices_of_a_segment_make_up_its_text(segments: tuple[Segment, ...]) -> None:
    """Slices follow on one another, and what is no window reads as its pieces do."""
    pieces = pieces_of(segments)
    for segment, slices in zip(segments, pieces.slices, strict=True):
        assert "".join(segment.text[one.start : one.end] for one in slices) == segment.text
        for one in slices:
            position, text = pieces.texts[one.piece]
            assert position == segment.position
            assert segment.channel.endswith("context") or text == segment.text[one.start : one.end]


def test_sentences_and_lines_are_pieces_and_short_ones_join_the_next() -> None:
    """A piece ends with a sentence or a line, and nothing shorter than a few words stands alone."""
    text = (
        "Hi. The loss of this model is nan after an hour. Why?\nI use a learning rate of ten in this run\nok"
    )
    told = [text for _, text in pieces_of([Segment("prose", text, 0)]).texts]
    assert told == [
        "Hi. The loss of this model is nan after an hour. ",
        "Why?\nI use a learning rate of ten in this run\n",
        "ok",
    ]


def test_a_window_belongs_to_the_piece_that_it_repeats() -> None:
    """The context of a keyword is no piece of its own where its post has the words."""
    lines = "The first line speaks of other things.\nThe loss is nan after some steps here.\n"
    segments = [Segment("context", "loss is nan after", 0), Segment("prose", lines, 0)]
    pieces = pieces_of([*segments, Segment("context", "損失", 1)])
    assert [slices[0].piece for slices in pieces.slices] == [1, 0, 2]
    assert pieces.at(0, 8) == 1
    assert pieces.texts[2] == (1, "損失")


@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_a_token_belongs_to_the_piece_it_begins_in(analyzer: str) -> None:
    """A pair of words over the end of a piece counts for the first word's."""
    found, pieces = tokens.tokens_of(analyzer, (1, 2), [("One two", 4), ("three", 7)])
    told = dict(zip(found, pieces, strict=True))
    if analyzer == "word":
        assert told == {"one": 4, "two": 4, "three": 7, "one two": 4, "two three": 4}
    else:
        assert told["tw"] == 4
        assert told["th"] == 7
        assert len(found) == len(pieces)


def test_the_n_grams_of_a_long_word_are_not_kept() -> None:
    """Those of base64 in one line would fill the memory; they are what scikit-learn gives all the same."""
    word = "QUJDREVG" * 20
    before = tokens._kept_grams.cache_info().currsize
    analyze = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5)).build_analyzer()
    assert tokens.tokens_of("char_wb", (3, 5), [(word, 0)])[0] == analyze(word)
    assert tokens._kept_grams.cache_info().currsize == before
