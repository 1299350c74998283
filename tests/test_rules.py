"""The cues of a codebook: read, checked, found, and the base of every proposal."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.channels import LONGEST, PostText, Segment, segments_of
from pipeline.codebook import to_codebook
from pipeline.dataset import to_document
from pipeline.errors import StudyError
from pipeline.keywords import KeywordMatcher
from pipeline.records import PostRecord, ThreadRecord
from pipeline.rules import Hit, Rules
from pipeline.study import load_study
from tests.model_documents import stored

CODEBOOK = """
[[types]]
code = "code"
name = "Code"
[[reasons]]
code = "noise"
name = "Noise"
definition = "Not about it."
[[causes]]
code = "A"
name = "A"
type = "code"
definition = "One."
fix_patterns = ["guard"]
[[causes]]
code = "B"
name = "B"
type = "code"
definition = "Two."
[[fix_patterns]]
code = "guard"
name = "Guard"
"""
KEYWORDS = KeywordMatcher(["nan"])


def rules_with(cues: str) -> Rules:
    return Rules(to_codebook(CODEBOOK + cues))


@pytest.mark.parametrize(
    ("cue", "said"),
    [
        ("for = 'C'\nweight = 1\npatterns = ['x']", "'C' is not a cause"),
        ("for = 'A'\nweight = 1\npatterns = ['(']", "unterminated"),
        ("for = 'A'\nweight = 1\npatterns = ['x']\nchannels = ['subject']", "'subject' is not one of"),
        ("for = 'A'\nweight = 1\npatterns = ['x']\ncolour = 'red'", "unknown key 'colour'"),
        ("for = 'B'\nweight = 1\npatterns = ['x']\nfix = 'guard'", "'guard' is not one of B's"),
        ("for = 'A'\npatterns = ['x']", "'weight' is missing"),
        ("for = 'A'\nweight = 'much'\npatterns = ['x']", "could not convert"),
    ],
)
def test_a_cue_that_cannot_be_used_is_refused_with_its_row(cue: str, said: str) -> None:
    """A wrong cue is named by its row and by what is wrong with it."""
    with pytest.raises(StudyError, match=r"\[\[cues\]\] row 1") as raised:
        rules_with(f"[[cues]]\n{cue}")
    assert said in str(raised.value)


def test_a_cue_hits_only_in_its_channels_and_says_where() -> None:
    """A hit says in which segment, and where in it, the cue was found first."""
    rules = rules_with(
        "[[cues]]\nfor = 'A'\nweight = 2\npatterns = ['divi\\w+ by zero']\nchannels = ['replies']"
    )
    assert rules.find((Segment("prose", "a division by zero", 0),)) == ()
    segments = (Segment("title", "x"), Segment("replies", "No division  here: division by zero", 3))
    assert rules.find(segments) == (Hit(0, 1, 19),)


def test_reasons_speak_against_validity_and_an_empty_pattern_always_holds() -> None:
    """Weights for reasons count against validity; a base rate hits every document."""
    rules = rules_with(
        "[[cues]]\nfor = 'valid'\nweight = 1.5\npatterns = ['']\n"
        "[[cues]]\nfor = 'noise'\nweight = 1\npatterns = ['log']\n"
        "[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['x']"
    )
    assert [hit.cue for hit in rules.find(())] == [0]
    assert rules.valid_weights[:, 0].tolist() == [1.5, -1.0, 0.0]
    assert np.array_equal(rules.cause_weights, [[0, 0], [0, 0], [0, 3]])


def test_a_reason_speaks_against_its_own_step_only() -> None:
    """A cue for a reason of step 2 leaves the odds of step 1 alone; one below 0 speaks for passing."""
    later = "[[reasons]]\ncode = 'open'\nname = 'Open'\ndefinition = 'Not settled.'\nstep = 2\n"
    cues = (
        "[[cues]]\nfor = 'open'\nweight = -2\npatterns = ['fixed']\n"
        "[[cues]]\nfor = 'noise'\nweight = 1\npatterns = ['log']\n"
        "[[cues]]\nfor = 'valid'\nweight = 3\npatterns = ['nan']"
    )
    rules = rules_with(later + cues)
    assert rules.valid_weights.tolist() == [[0, 2], [-1, 0], [3, 0]]


def test_channels_keep_code_logs_answers_and_contexts_apart() -> None:
    """Each piece of a thread stands in the channel that it belongs to."""
    posts = [
        PostText(
            "opening",
            "The loss is nan."
            + " And so on." * 20
            + "\n\n```\nx = float('nan')\nTraceback (most recent call last):\n```",
            "markdown",
        ),
        PostText("reply", "Did you look?", "markdown"),
        PostText("reply", "Add an epsilon.", "markdown", accepted=True),
    ]
    found = {(piece.channel, piece.position) for piece in segments_of("Help", posts, "github a/b", KEYWORDS)}
    assert found >= {("title", None), ("tags", None), ("prose", 0), ("code", 0), ("log", 0)}
    assert found >= {("replies", 1), ("answer", 2), ("context", 0), ("code_context", 0)}


def test_without_an_accepted_answer_the_last_replies_of_people_stand_for_it() -> None:
    """What a bot says when it closes a thread answers nothing."""
    posts = [
        PostText("opening", "a", "text"),
        PostText("reply", "first", "text"),
        PostText("reply", "second", "text"),
    ]
    closing = ("This was automatically closed.", "Can we close this?", "Feel free to reopen if needed.")
    posts += [PostText("reply", said, "text") for said in ("third", *closing)]
    found = [piece.text for piece in segments_of("t", posts, "", KEYWORDS) if piece.channel == "answer"]
    assert found == ["second", "third"]


def test_an_explanation_that_ends_in_a_courtesy_is_still_an_answer() -> None:
    """Only a few words that close a thread are passed over, not what somebody explained before them."""
    said = "The mask is empty, so the mean divides by zero. " * 3 + "Feel free to reopen."
    posts = [PostText("opening", "a", "text"), PostText("reply", said, "text")]
    found = [piece.text for piece in segments_of("t", posts, "", KEYWORDS) if piece.channel == "answer"]
    assert found == [said]


def test_a_thread_of_a_megabyte_is_bounded_and_quick() -> None:
    """One enormous log costs no more than the longest channel, with every cue of the bundled study."""
    study = load_study()
    body = "epoch 1 loss: nan log(0) / 0 " * 40_000
    segments = segments_of("nan", [PostText("opening", body, "text")], "", study.keywords)
    Rules(study.codebook).find(segments)
    assert sum(len(piece.text) for piece in segments if piece.channel == "prose") <= LONGEST


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        *(("", repeated) for repeated in ("a", " ", "nan ", "((((", "1e-")),
        *((before, " ") for before in ("tf", "division", "it was")),
        ("", "output"),
    ],
)
def test_every_bundled_cue_comes_to_an_end_on_hostile_text(before: str, repeated: str) -> None:
    """As many repetitions as a channel holds hit what some hit, tried on every cue, whatever it asks for."""
    cues = Rules(load_study().codebook).cues
    texts = [before + repeated * number for number in (40, LONGEST // len(repeated))]
    found = [[bool(cue.pattern.search(text)) for cue in cues] for text in texts]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("The loss divides by zero; adding a small epsilon to the denominator fixed it.", "IR"),
        ("You pass softmax output where the loss expects logits; set from_logits=False.", "APIM"),
        ("I forgot to normalize the images; after dividing by 255 the nan is gone.", "IDP"),
        ("float16 overflows in mixed precision training, use float32 for this layer.", "IFPT"),
        ("Off-by-one: the wrong index was used, a typo in my code.", "CLE"),
        ("The learning rate was too high, gradients exploded; gradient clipping helped.", "GE"),
        ("It is a bug in cuDNN; upgrading the driver to the latest version fixed it.", "RE"),
        ("There are nan values in the dataset, call dropna to remove missing values.", "BI"),
        ("Replacing relu by tanh and xavier initialization of the weights solved it.", "IMC"),
    ],
)
def test_the_bundled_cues_name_the_cause_that_a_plain_answer_gives(text: str, cause: str) -> None:
    """An answer in the codebook's own terms is given its cause before there is any label."""
    rules = Rules(load_study().codebook)
    hits = [hit.cue for hit in rules.find((Segment("answer", text, 1),))]
    scores = rules.cause_weights[hits].sum(axis=0)
    assert rules.codebook.cause_codes[int(scores.argmax())] == cause


@pytest.mark.parametrize(
    ("channel", "settled", "open_"),
    [
        ("answer", "I found the reason: the mask was empty.", "Did you solve this? I have the same problem."),
        ("answer", "Thanks, that worked, no more nan.", "Thanks, but the loss is still nan after that."),
        ("answer", "You should lower it, because it overflows.", "Maybe try that? I have no idea."),
        ("replies", "Fixed in #1234, closing.", "I cannot reproduce it, please share your code."),
        ("tags", "github a/b pull  short", "github a/b issue unanswered short"),
        ("tags", "stackoverflow  question accepted short", "stackoverflow  question unanswered short"),
        ("tags", "pytorch-forums  topic accepted short", "pytorch-forums  topic  short"),
    ],
)
def test_the_bundled_cues_tell_a_settled_thread_from_an_open_one(
    channel: str, settled: str, open_: str
) -> None:
    """What somebody found, or what is marked as solved, passes the second step before what stays open."""
    rules = Rules(load_study().codebook)

    def settles(text: str) -> float:
        hits = [hit.cue for hit in rules.find((Segment(channel, text, 1),))]
        return float(rules.valid_weights[hits].sum(axis=0)[1])

    assert settles(settled) > settles(open_) + 1


@pytest.mark.parametrize(
    ("channel", "plain", "alike"),
    [
        ("answer", "There are three pages.", "There are many solutions."),
        (
            "tags",
            "github a/b issue unanswered short",
            "github a/b issue unanswered short long question topic torch",
        ),
        ("tags", "github a/b pull  ", "github a/b pull   long-short-term-memory topic torch"),
        ("tags", "stackoverflow  question accepted ", "stackoverflow  question accepted  short long-integer"),
        ("tags", "github a/b issue accepted long", "github issue-topic/short issue accepted long"),
    ],
)
def test_what_only_looks_like_a_cue_is_none(channel: str, plain: str, alike: str) -> None:
    """Neither tags and names of repositories that say a kind or a length, nor the end of another word."""
    rules = Rules(load_study().codebook)
    found = [rules.find((Segment(channel, text),)) for text in (plain, alike)]
    assert [hit.cue for hit in found[0]] == [hit.cue for hit in found[1]]


@pytest.mark.parametrize(
    ("replies", "accepted", "said"),
    [
        (0, False, "issue unanswered short"),
        (2, True, "issue accepted short"),
        (3, False, "issue torch"),
        (11, False, "issue long"),
    ],
)
def test_the_tags_say_of_what_kind_and_how_long_a_thread_is(replies: int, accepted: bool, said: str) -> None:
    """Cues can ask for the kind, for an accepted answer, for no reply, and for few or many."""
    posts = [PostRecord("opening", "0", "It is nan.", "markdown")]
    posts += [PostRecord("reply", str(number), "So?", "markdown") for number in range(replies)]
    thread = ThreadRecord(
        "github",
        "a/b#1",
        "https://github.com/a/b/issues/1",
        "issue",
        "nan",
        tuple(posts),
        None,
        libraries=("torch",),
        accepted=accepted,
    )
    document = to_document(stored(thread), load_study())
    (tags,) = (segment.text for segment in document.segments if segment.channel == "tags")
    assert said in " ".join(tags.split())
