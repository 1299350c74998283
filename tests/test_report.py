"""The report: one page that asks for nothing, runs nothing foreign, and looks right."""

from __future__ import annotations

import html
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from db.engine import Database
from db.final_labels import final_labels
from db.proposals import keep_model, replace_proposals
from db.threads import Thread
from flows.cli import nanmine
from pipeline.report import content_policy, report_html
from pipeline.report_parts import explained_table, model_part
from pipeline.study import Study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
RUN = "document.documentElement.setAttribute('data-ran','1')"
XSS = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror=\"{RUN}\">",
    f"<svg onload=\"{RUN}\">",
    f"</title><script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</style><img src=x onerror=\"{RUN}\">",
    f"\"><img src=x onerror=\"{RUN}\">",
    f"' autofocus onfocus='{RUN}",
    f"<iframe srcdoc=\"<script>parent.{RUN}</script>\"></iframe>",
    f"<a href=\"javascript:{RUN}\">x</a>",
    f"<details open ontoggle=\"{RUN}\">",
    f"<math><mtext></mtext><style><img src=x onerror=\"{RUN}\"></style></math>",
    "<link rel=stylesheet href=http://127.0.0.1:PORT/style>",
    "<img src=http://127.0.0.1:PORT/image>",
    "<style>body{background:url(http://127.0.0.1:PORT/back)}</style>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT/away'>",
    "<base href=http://127.0.0.1:PORT/>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --!> <p>",
    "&lt;script&gt;",
    "\u202e\u2066nan\u2069",
)  # fmt: skip


@pytest.fixture
def visits() -> Iterator[tuple[int, list[str]]]:
    """A loopback server's port, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run headless Chromium on one page with a fresh profile."""
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    switches += " disable-component-update disable-sync hide-scrollbars enable-logging=stderr"
    profile = f"--user-data-dir={Path.cwd() / 'profile'}"
    command = [str(CHROMIUM), *(f"--{name}" for name in switches.split()), profile, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90)


def test_the_page_is_whole_and_the_same_twice(labelled: Database, study: Study) -> None:
    """Tables, threads and fingerprint stand on it, and nothing depends on the clock."""
    with labelled.reading() as session:
        first, second = report_html(session, study), report_html(session, study)
    assert first == second
    for text in (
        "cohen kappa",
        "The distribution of root causes",
        "Agreement between annotators",
        "simulated annotators",
        "fingerprint",
    ):
        assert text in first
    assert first.count('<tr><td class="title">') == 19


def test_a_database_without_labels_has_a_report(database: Database, study: Study) -> None:
    """Every section says that there is nothing yet."""
    with database.reading() as session:
        page = report_html(session, study)
    assert "No labelled threads yet." in page and "No thread has two independent labels yet." in page


def test_nothing_on_the_page_points_outside_but_links_to_sources(labelled: Database, study: Study) -> None:
    """No src, no style sheet, no import but data addresses; anchors are the only addresses."""
    with labelled.reading() as session:
        page = report_html(session, study)
    assert all(source.startswith("data:") for source in re.findall(r'\ssrc="([^"]*)"', page))
    assert not re.findall(r"<link|@import|url\(|style=\"|\son\w+=", page)


def test_the_policy_names_the_script_and_the_style_by_digest() -> None:
    """A changed script gets another digest, so only ours runs."""
    assert content_policy("a", "b") != content_policy("c", "b")
    assert content_policy("a", "b").startswith("default-src 'none'; script-src 'sha256-")


def test_an_address_that_is_not_http_is_no_link(labelled: Database, study: Study) -> None:
    """A stored javascript: address is shown as text."""
    with labelled.writing() as session:
        session.query(Thread).order_by(Thread.id).limit(1).one().url = "javascript:alert(1)"
        session.flush()
        page = report_html(session, study)
    assert 'href="javascript' not in page


def test_the_command_writes_the_page(labelled: Database, tmp_path: Path) -> None:
    """`nanmine report --out FILE` writes it whole."""
    run = CliRunner().invoke(
        nanmine, ["--database", f"sqlite:///{tmp_path}/study.db", "report", "--out", "r.html"]
    )
    assert run.exit_code == 0, run.output
    assert Path("r.html").read_text().endswith("</html>")


def test_a_models_card_and_evaluation_are_shown(labelled: Database, study: Study) -> None:
    """The card as it stands, methods beside baselines, and the confusion and calibration as figures."""
    size = len(study.codebook.causes)
    scores = {
        "average_precision": 0.9,
        "work_saved_at_95": 0.1,
        "macro_f1": 0.5,
        "accuracy": 0.6,
        "top_3": 0.8,
    }
    calibration = {"error": 0.1, "noise_floor": 0.05, "noise_95": 0.08, "bins": [[0.5, 0.4, 10]]}
    figures = {
        "methods": {"model": scores | {"calibration": calibration}, "rules": scores},
        "per_class": [{"code": "IR", "labels": 9, "precision": 0.5, "recall": 0.5, "f1": 0.5}],
        "confusion": [[1.0] * size] * size,
        "repeats": 10,
        "folds": 5,
        "labels": 19,
    }
    row = {
        "name": "m1",
        "digest": "d",
        "card": {"seed": 7, "figures": figures},
        "made_at": datetime(2022, 1, 1, tzinfo=UTC),
    }
    with labelled.writing() as session:
        keep_model(session, row)
        part = model_part(session, study)
    assert [table.name for table in part.tables] == ["model", "evaluation", "classes", "explained"]
    assert part.tables[1].rows[1] == ("rules", 0.9, 0.1, 0.5, 0.6, 0.8)
    assert len(part.figures) == 2 and all(draw() for draw, _ in part.figures)
    assert "error 0.100; a perfectly calibrated model would show 0.050" in part.figures[1][1]


def test_a_proposal_that_no_label_confirms_stands_with_its_evidence(labelled: Database, study: Study) -> None:
    """The surest of the newest, with the words they go by; one that agrees with its label is left out."""
    with labelled.writing() as session:
        model = keep_model(session, {"name": "m", "digest": "d", "card": {}, "made_at": datetime.now(UTC)})
        finals = [final for final in final_labels(session) if final.label.root_cause][:3]
        wrong = [next(code for code in ("IR", "RE") if code != final.label.root_cause) for final in finals]
        said = [str(finals[0].label.root_cause), wrong[1], wrong[2]]
        rows = [
            proposed(final.thread_id, *told)
            for final, *told in zip(finals, said, (0.9, 0.5, 0.8), strict=True)
        ]
        replace_proposals(session, model, [proposed(final.thread_id, "BI", 1.0) for final in finals])
        newer = {"name": "n", "digest": "e", "card": {}, "made_at": datetime.now(UTC)}
        replace_proposals(session, keep_model(session, newer), rows)
        table = explained_table(session)
        page = report_html(session, study)
    labels = [final.label.root_cause for final in finals]
    assert table.rows == (
        (finals[2].url, labels[2], wrong[2], 0.8, f"+1.50 in post 1: {XSS[0]}"),
        (finals[1].url, labels[1], wrong[1], 0.5, f"+1.50 in post 1: {XSS[0]}"),
    )
    assert table.notes[0].startswith("2 proposals are for threads with another label")
    assert html.escape(XSS[0]) in page and XSS[0] not in page


def proposed(thread_id: int, code: str, probability: float) -> dict[str, object]:
    """Return a proposal that is sure of validity and as sure of a cause as said."""
    return {
        "thread_id": thread_id,
        "valid_probability": 1.0,
        "causes": [{"code": code, "probability": probability}],
        "fix_patterns": [],
        "evidence": [{"text": XSS[0], "weight": 1.5, "position": 1}],
    }


@browser
@pytest.mark.browser
@pytest.mark.slow
def test_no_text_of_a_thread_runs_or_asks(
    labelled: Database, study: Study, visits: tuple[int, list[str]], tmp_path: Path
) -> None:
    """An XSS corpus in titles runs nothing, asks for nothing, and Chromium's console stays silent."""
    port, asked = visits
    with labelled.writing() as session:
        for number, thread in enumerate(session.query(Thread).order_by(Thread.id)):
            thread.title = XSS[number % len(XSS)].replace("PORT", str(port))
        session.flush()
        page = report_html(session, study)
    (tmp_path / "report.html").write_text(page)
    seen = chromium("--dump-dom", "--virtual-time-budget=3000", (tmp_path / "report.html").as_uri())
    assert "data-ran" not in seen.stdout.split("<head>")[0]
    assert 'id="shown"' in seen.stdout
    assert not asked
    assert "CONSOLE" not in seen.stderr, seen.stderr


@browser
@pytest.mark.browser
@pytest.mark.slow
def test_the_list_sorts_and_filters(labelled: Database, study: Study, tmp_path: Path) -> None:
    """A click on a heading sorts, a second one turns round; words and verdict leave out what does not fit."""
    with labelled.reading() as session:
        page = report_html(session, study)
    act = """<script>
      const button = document.querySelector('#list th button'), words = document.getElementById('words');
      const first = () => document.querySelector('#list tbody tr').cells[0].textContent;
      const seen = [];
      button.click(); seen.push(first()); button.click(); seen.push(first());
      words.value = 'STEP github'; words.dispatchEvent(new Event('input'));
      seen.push(document.getElementById('shown').textContent);
      words.value = ''; document.getElementById('verdict').value = 'not valid';
      document.getElementById('verdict').dispatchEvent(new Event('change'));
      seen.push(document.getElementById('shown').textContent);
      document.title = seen.join('; ');
    </script></body>"""
    unguarded = re.sub(r"<meta http-equiv=\"Content-Security-Policy\".*\n", "", page).replace("</body>", act)
    (tmp_path / "report.html").write_text(unguarded)
    seen = chromium("--dump-dom", (tmp_path / "report.html").as_uri())
    assert "<title>nan in step 0; nan in step 19; 10 shown; 3 shown</title>" in seen.stdout


@browser
@pytest.mark.browser
@pytest.mark.slow
def test_the_browser_test_can_fail(visits: tuple[int, list[str]], tmp_path: Path) -> None:
    """A page without our policy and escaping runs the corpus and asks for images: the check sees it."""
    port, asked = visits
    body = f"{XSS[0]}<img src=http://127.0.0.1:{port}/image><script>console.error('seen')</script>"
    (tmp_path / "bad.html").write_text(f"<html><head></head><body>{body}</body></html>")
    seen = chromium("--dump-dom", "--virtual-time-budget=3000", (tmp_path / "bad.html").as_uri())
    assert 'data-ran="1"' in seen.stdout.split("<head>")[0]
    assert asked == ["/image"]
    assert "CONSOLE" in seen.stderr


@browser
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_no_wider_than_the_window(
    labelled: Database, study: Study, tmp_path: Path, width: int
) -> None:
    """At desktop and at phone width only tables and figures scroll; the screenshot is a real picture."""
    with labelled.reading() as session:
        page = report_html(session, study)
    probe = "<script>document.title=document.documentElement.scrollWidth+' of '+innerWidth</script>"
    unguarded = re.sub(r"<meta http-equiv=\"Content-Security-Policy\".*\n", "", page).replace(
        "</body>", probe + "</body>"
    )
    (tmp_path / "report.html").write_text(unguarded)
    address = (tmp_path / "report.html").as_uri()
    seen = chromium("--dump-dom", f"--window-size={width},900", f"--screenshot={tmp_path}/shot.png", address)
    found = re.search(r"<title>(\d+) of (\d+)</title>", seen.stdout)
    assert found is not None and int(found[1]) <= int(found[2])
    shot = chromium(f"--window-size={width},900", f"--screenshot={tmp_path}/shot.png", address)
    assert shot.returncode == 0 and (tmp_path / "shot.png").stat().st_size > 20_000
