"""The flows run for real: a crawl through Prefect's embedded server, a schedule, no telemetry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.crawls import CrawlRun
from db.engine import open_database
from pipeline.sandbox import Sandbox

pytestmark = [pytest.mark.flow, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(300)]
VARIABLES = {
    "github": "NANMINE_GITHUB_URL",
    "stackoverflow": "NANMINE_STACKEXCHANGE_URL",
    "pytorch-forums": "NANMINE_FORUM_URL",
}


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home of our own, so that nothing of the person's is touched."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def surrounded(prefect_home: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a command that finds the sandbox in place of the services."""
    with Sandbox() as sandbox:
        addresses = {variable: sandbox.urls[name] for name, variable in VARIABLES.items()}
        yield (
            os.environ
            | addresses
            | {
                "PREFECT_HOME": str(prefect_home),
                "NANMINE_PACE": "0.01",
                "NANMINE_GITHUB_TOKEN": "sandbox-token",
                "NANMINE_DATABASE_URL": f"sqlite:///{tmp_path}/study.db",
            }
        )


def nanmine(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    code = "from flows.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True
    )


def test_a_crawl_is_a_flow_run_that_changes_nothing_the_second_time(surrounded: dict[str, str]) -> None:
    """`nanmine crawl` with no server set up brings the candidates of every stratum; a rerun brings none."""
    first = nanmine(surrounded, "crawl")
    assert (first.returncode, "Traceback" in first.stderr) == (0, False)
    status = json.loads(nanmine(surrounded, "status", "--json").stdout)
    assert all(stratum["candidates"] > 10 for stratum in status["strata"].values())
    assert status["unfinished"] == {}
    again = nanmine(surrounded, "crawl")
    assert [line.split("threads, ")[1].split(";")[0] for line in again.stdout.splitlines()] == [
        "0 new, 0 changed"
    ] * 3
    assert "sandbox-token" not in first.stdout + first.stderr + again.stderr


def test_a_failing_source_is_one_line_and_spares_the_others(
    surrounded: dict[str, str], tmp_path: Path
) -> None:
    """A service that cannot be reached ends in exit 1 with one line; what the others gave is kept."""
    surrounded["NANMINE_STACKEXCHANGE_URL"] = "http://127.0.0.1:9"
    done = nanmine(surrounded, "crawl", "stackoverflow", "pytorch-forums")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("nanmine: stackoverflow: ")
    assert "Traceback" not in done.stderr
    database = open_database(f"sqlite:///{tmp_path}/study.db")
    with database.reading() as session:
        runs = session.execute(select(CrawlRun.source, CrawlRun.outcome).order_by(CrawlRun.source)).all()
    database.close()
    assert runs == [("pytorch-forums", "finished"), ("stackoverflow", "failed")]


def test_telemetry_is_off_unless_the_user_turns_it_on() -> None:
    """Our defaults switch Prefect's telemetry off and leave a user's own choice alone."""
    names = "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"
    code = f"import os, flows.engine; print(*map(os.environ.get, {names}))"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DO_NOT"))}
    for chosen, printed in (({}, "false 1"), ({"PREFECT_SERVER_ANALYTICS_ENABLED": "true"}, "true 1")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=bare | chosen, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == printed


@pytest.mark.slow
def test_a_schedule_crawls(surrounded: dict[str, str], tmp_path: Path) -> None:
    """`nanmine deploy serve` with a cron of every minute runs a crawl within two."""
    code = "from flows.cli import main; main()"
    words = ["deploy", "serve", "--cron", "* * * * *", "--max-wait", "30"]
    serving = subprocess.Popen([sys.executable, "-c", code, *words], env=surrounded, start_new_session=True)
    database = open_database(f"sqlite:///{tmp_path}/study.db")
    finished = select(CrawlRun.source).where(CrawlRun.outcome == "finished")
    try:
        deadline = time.monotonic() + 200
        names: list[str] = []
        while len(names) < 3 and time.monotonic() < deadline:
            time.sleep(2)
            with database.reading() as session:
                names = list(session.scalars(finished))
        assert {*names} == set(VARIABLES)
    finally:
        os.killpg(serving.pid, signal.SIGINT)  # as Ctrl-C at a terminal does
        try:
            serving.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(serving.pid, signal.SIGKILL)
            raise
        database.close()
