"""Weighted rows: beside the columns of the blocks stand those of the same words wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.features import WIDTH, extract
from pipeline.rows import CHARACTERS_BLOCK, CUES_BLOCK, FACTS_BLOCK, WORDS_BLOCK, Rows
from pipeline.rules import Rules
from pipeline.weighting import Weighting
from tests.model_documents import toy_codebook, toy_document

RULES = Rules(toy_codebook("[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['clip', 'never']\n"))
FEATURES = extract([toy_document(number, cause) for number, cause in enumerate("ABCABC")], RULES)[0]
ROWS = Rows.of(FEATURES, Weighting.fit(FEATURES.counts, 2))


def test_columns_of_one_block_stand_together_and_facts_and_cues_last() -> None:
    """Text, words and characters wherever they stand, facts, cues: in this order."""
    assert (np.diff(ROWS.blocks) >= 0).all()
    assert {WORDS_BLOCK, CHARACTERS_BLOCK, FACTS_BLOCK} < set(ROWS.blocks)
    assert (ROWS.blocks == CUES_BLOCK).sum() == 2


def test_a_shared_column_sums_the_columns_of_a_word_that_several_blocks_hold() -> None:
    """Each sums two columns or more, of as many blocks, at the same place within them."""
    columns = Weighting.fit(FEATURES.counts, 2).columns
    assert ROWS.sums.shape[1] > 0
    for number in range(ROWS.sums.shape[1]):
        summed = columns[ROWS.sums[:, [number]].nonzero()[0]]
        assert len(set(summed // WIDTH)) == len(summed) > 1
        assert len(set(summed % WIDTH)) == 1


def test_weights_of_shared_columns_come_to_weights_of_the_text_columns() -> None:
    """Documents score the same by all columns and by text, facts and cues alone."""
    weights = np.random.default_rng(3).normal(size=(len(ROWS.blocks), 2))
    text, facts, cues = ROWS.parted(weights)
    assert len(text) == (ROWS.blocks < WORDS_BLOCK).sum()
    known = ROWS.matrix[:, np.flatnonzero(ROWS.blocks < WORDS_BLOCK)]
    scores = known @ text + FEATURES.facts @ facts + FEATURES.cues @ cues
    assert scores == pytest.approx(ROWS.matrix @ weights, abs=1e-4)
