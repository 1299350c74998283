"""The sandbox refuses and serves what the live Stack Exchange API does."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.filters import KNOWN, find_filter, make_filter
from pipeline.sandbox.server import Request
from pipeline.sandbox.stackexchange import StackExchangeService
from pipeline.sandbox.world import generate_world, load_world

NESTED = (
    "question.body;question.body_markdown;question.answers;question.comments;answer.body;answer.body_markdown;"
    "answer.comments;comment.body;comment.body_markdown;.total"
)
SEARCH = "/2.3/search/advanced"


def service(**options: Any) -> StackExchangeService:
    """Return the service over the small world."""
    return StackExchangeService(load_world(), VirtualClock(), **options)


def ask(to: StackExchangeService, path: str, query: str = "site=stackoverflow") -> tuple[int, dict[str, Any]]:
    """Return the status and the unpacked body of one answer."""
    response = to.answer(Request("GET", path, parse_qs(query, keep_blank_values=True), {}, b"", "127.0.0.1"))
    assert response.headers["Content-Encoding"] == "gzip"
    return response.status, json.loads(gzip.decompress(response.body))


def create(to: StackExchangeService, include: str = NESTED, **more: str) -> str:
    """Return the id of a filter made by `filters/create`."""
    query = "&".join([f"include={include}", *(f"{name}={value}" for name, value in more.items())])
    return str(ask(to, "/2.3/filters/create", query)[1]["items"][0]["filter"])


REFUSED = [
    ("/2.3/search/advanced", "", 400, "site is required"),
    ("/2.3/search/advanced", "site=nowhere", 400, "No site found for name `nowhere`"),
    ("/2.3/search/advanced", "site=stackoverflow&pagesize=101", 400, "pagesize"),
    ("/2.3/search/advanced", "site=stackoverflow&page=0", 400, "page"),
    ("/2.3/search/advanced", "site=stackoverflow&fromdate=2020-01-01", 400, "fromdate"),
    ("/2.3/search/advanced", "site=stackoverflow&filter=!nosuch", 400, "filter"),
    ("/2.3/search/advanced", "site=stackoverflow&since=1", 400, "since"),
    ("/2.3/search/advanced", "site=stackoverflow&nottagged=keras", 400, "nottagged"),
    ("/2.3/search/advanced", "site=stackoverflow&accepted=perhaps", 400, "accepted"),
    ("/2.3/search/advanced", "site=stackoverflow&sort=newest", 400, "sort"),
    ("/2.3/search/advanced", "site=stackoverflow&access_token=x", 405, "`key`"),
    ("/2.3/search/advanced", "site=stackoverflow&access_token=x&key=y", 406, "`access_token`"),
    ("/2.3/questions/abc", "site=stackoverflow", 404, "no method found with this name"),
    ("/2.3/questions/2147483648", "site=stackoverflow", 400, "ids"),
    (f"/2.3/questions/{';'.join(['1'] * 101)}", "site=stackoverflow", 400, "ids"),
    ("/2.3/filters/create", "include=question.nothing", 400, "include"),
    ("/2.3/filters/create", "site=stackoverflow", 400, "site"),
    ("/2.3/errors/503", "", 503, "simulated"),
]


@pytest.mark.parametrize(("path", "query", "id", "message"), REFUSED)
def test_what_the_live_service_refuses_is_refused(path: str, query: str, id: int, message: str) -> None:
    """Every refusal has status 400, the documented id, and for a parameter its bare name."""
    status, body = ask(service(), path, query)
    assert (status, body["error_id"]) == (400, id)
    assert body["error_message"].startswith(message)


def test_a_trailing_slash_changes_nothing() -> None:
    """stackapi asks with a slash, others without."""
    to = service()
    assert ask(to, "/2.3/questions/34100200/")[1]["items"] == ask(to, "/2.3/questions/34100200")[1]["items"]


def test_the_default_filter_has_neither_bodies_nor_answers() -> None:
    """Without a filter a question says only that it has an accepted answer."""
    (question,) = ask(service(), "/2.3/questions/34100200")[1]["items"]
    assert question["accepted_answer_id"] == 34100201
    assert not {"body", "body_markdown", "answers", "comments"} & question.keys()


def test_one_filter_brings_answers_and_comments_nested() -> None:
    """A made filter is honoured down to the comments of an answer, and its wrapper fields come too."""
    to = service()
    body = ask(to, "/2.3/questions/34100200", f"site=stackoverflow&filter={create(to)}")[1]
    (question,) = body["items"]
    assert body["total"] == 1
    assert question["answers"][0]["is_accepted"]
    assert question["answers"][0]["comments"][0]["body"] == "That was it, thank you!"
    assert "<code>" in question["body"]


def test_a_filter_without_the_wrapper_drops_it() -> None:
    """`base=none` leaves no items, quota or backoff unless they are included."""
    to = service()
    made = create(to, "question.title;.items", base="none")
    body = ask(to, "/2.3/questions/34100200", f"site=stackoverflow&filter={made}")[1]
    assert body == {
        "items": [{"title": "TensorFlow: cost function returns nan after a few hundred iterations"}]
    }


def test_filter_ids_are_deterministic_and_outlive_the_service() -> None:
    """The same fields give the same id, and another server understands it."""
    assert create(service()) == create(service())
    made = make_filter("default", KNOWN, (), safe=False)
    assert find_filter(made.id) == made


def test_a_safe_filter_encodes_titles_and_markdown_once() -> None:
    """Entities are encoded once more than the author wrote them; an unsafe filter leaves them."""
    to = service()
    for unsafe, title in (("false", "Are &amp;lt;nan&amp;gt; and"), ("true", "Are &lt;nan&gt; and")):
        query = f"site=stackoverflow&filter={create(to, unsafe=unsafe)}"
        assert ask(to, "/2.3/questions/58700350", query)[1]["items"][0]["title"].startswith(title)


def test_a_deleted_owner_is_a_stub_or_missing() -> None:
    """Posts of deleted accounts have an owner without id, or no owner."""
    to = service()
    body = ask(to, "/2.3/questions/41300850;58700350/answers", "site=stackoverflow")[1]
    owners = [answer.get("owner", {"user_type": "missing"})["user_type"] for answer in body["items"]]
    assert set(owners) == {"registered", "does_not_exist", "missing"}


def test_answered_is_not_accepted() -> None:
    """A question with upvoted answers is answered, and has no accepted answer id."""
    (question,) = ask(service(), "/2.3/questions/57100460")[1]["items"]
    assert question["is_answered"]
    assert "accepted_answer_id" not in question


def test_missing_ids_are_silently_absent() -> None:
    """Ids that do not exist are no error."""
    assert ask(service(), "/2.3/questions/1;34100200")[1]["items"][0]["question_id"] == 34100200


def test_search_ors_tags_and_questions_ands_them() -> None:
    """`tagged` asks for any of the tags in a search and for all of them in a list."""
    to, query = service(), "site=stackoverflow&tagged=tensorflow;pytorch&pagesize=100"
    assert len(ask(to, SEARCH, query)[1]["items"]) == 31
    assert ask(to, "/2.3/questions", query)[1]["items"] == []


def test_search_finds_by_word_title_and_body() -> None:
    """`q` matches words, `title` and `body` any text, inference and banana included."""
    to = service()
    found = {
        name: {
            q["question_id"]
            for q in ask(to, SEARCH, f"site=stackoverflow&pagesize=100&{name}=inf")[1]["items"]
        }
        for name in ("q", "title", "body")
    }
    assert 60500130 not in found["q"]
    assert 60500130 in found["title"] & found["body"]
    assert 38200630 in found["q"]


def test_bounds_are_inclusive_seconds_of_creation() -> None:
    """A question created exactly at the bound is within it."""
    query = "site=stackoverflow&fromdate=1449306000&todate=1449306000"
    assert [q["question_id"] for q in ask(service(), SEARCH, query)[1]["items"]] == [34100200]


def test_page_26_needs_a_key() -> None:
    """Without a key page 26 is refused; with one it is served."""
    to = StackExchangeService(generate_world(30), VirtualClock())
    query = "site=stackoverflow&pagesize=1&sort=creation&order=asc"
    assert ask(to, SEARCH, f"{query}&page=25")[1]["has_more"]
    status, body = ask(to, SEARCH, f"{query}&page=26")
    assert (status, body["error_id"], body["error_name"]) == (400, 403, "access_denied")
    assert len(ask(to, SEARCH, f"{query}&page=26&key=k")[1]["items"]) == 1


def test_the_quota_counts_down_to_the_ban_and_comes_back() -> None:
    """The quota is per key or address; when it is used up the ban names the seconds until it is back."""
    to = service(quota_keyless=2)
    assert [ask(to, "/2.3/questions")[1]["quota_remaining"] for _ in range(2)] == [1, 0]
    to.clock.sleep(3600)
    body = ask(to, "/2.3/questions")[1]
    assert body["error_id"] == 502
    assert body["error_message"] == (
        "too many requests from this IP, more requests available in 82800 seconds"
    )
    assert ask(to, "/2.3/questions", "site=stackoverflow&key=k")[1]["quota_remaining"] == 9999
    to.clock.sleep(82800)
    assert ask(to, "/2.3/questions")[1]["quota_remaining"] == 1


def test_an_ignored_backoff_is_a_violation_of_that_method_only() -> None:
    """A method that asked for a wait refuses until it is over; other methods go on."""
    to = service(backoff={"search/advanced": 10})
    assert ask(to, SEARCH)[1]["backoff"] == 10
    assert ask(to, SEARCH)[1]["error_name"] == "throttle_violation"
    assert "items" in ask(to, "/2.3/questions")[1]
    to.clock.sleep(10)
    assert ask(to, SEARCH)[1]["backoff"] == 10


def test_nested_answers_can_come_short() -> None:
    """With a cap the accepted answer count says more than the nested answers show."""
    to = service(nested_answers=0)
    (question,) = ask(to, "/2.3/questions/34100200", f"site=stackoverflow&filter={create(to)}")[1]["items"]
    assert (question["answer_count"], question["answers"]) == (2, [])


def test_too_many_requests_a_second_get_a_web_page() -> None:
    """Above the rate a client gets HTML, not JSON."""
    to = service(per_second=1)
    ask(to, "/2.3/questions")
    response = to.answer(Request("GET", "/2.3/questions", {}, {}, b"", "127.0.0.1"))
    assert response.status == 429
    assert b"Too Many Requests - Stack Exchange" in response.body


def test_sites_serves_stackapi() -> None:
    """The call that stackapi's constructor makes finds the site, with its fixed filter and page size."""
    query = "pagesize=1000&page=1&filter=%21%2AL1%2AAY-85YllAr2%29"
    body = ask(service(), "/2.3/sites/", query)[1]
    assert body["items"][0]["api_site_parameter"] == "stackoverflow"


def test_a_changed_world_is_served_at_once() -> None:
    """An edited, a deleted and a new question show in the next answer."""
    to = service()
    to.world = to.world.without("stackexchange", 34100200)
    assert ask(to, "/2.3/questions/34100200")[1]["items"] == []
