"""The page of a flow run: its thread, and the artifacts of real runs on a real server."""

from __future__ import annotations

import functools
import json
import logging
import threading
import uuid
from pathlib import Path

import httpx
import pytest
from page_lab import planned, record
from prefect.states import Completed

from flows.adapters.prefect_adapter import TASK_RUN_LOGGER, TaskRun
from flows.run_page import page as run_page
from flows.run_page.artifacts import Artifacts
from flows.run_page.content import MOST_ROWS
from flows.run_page.page import RunPage
from flows.runner.log_filter import install_log_filters
from training.records.outcome import Outcome
from training.records.record import Cause

FLOW = ("-m", "flows.train")


@pytest.fixture
def plan_of(tmp_path):
    """A plan with folders of its own."""
    return functools.partial(planned, tmp_path)


class Recorder(Artifacts):
    """Keeps what would be sent, and is as slow or broken as a test wants."""

    def __init__(self) -> None:
        super().__init__(uuid.uuid4())
        self.sent: list[tuple[str, str]] = []
        self.pages: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self.refused: dict[str, int] = {}
        self.tries = 0
        self.let_go = threading.Event()
        self.let_go.set()

    def show(self, key: str, _kind: str, _description: str, data: str) -> None:
        self.let_go.wait(60)
        self.tries += 1
        if self.fault:
            raise self.fault
        self.sent.append((key, data))

    def add(self, _task_run_id, description: str, data: str) -> None:
        if description in self.refused:
            request = httpx.Request("POST", "http://server/api/artifacts/")
            answer = httpx.Response(self.refused[description], request=request)
            raise httpx.HTTPStatusError("refused", request=request, response=answer)
        self.pages.append((description, data))


@pytest.fixture
def page_of(monkeypatch):
    """A page whose artifacts go nowhere."""

    def page_of(plan):
        page = RunPage(plan, uuid.uuid4(), logging.getLogger("test"))
        page._artifacts = Recorder()
        return page

    monkeypatch.setattr(run_page, "LAST_S", 0.5)
    return page_of


def test_many_scenes_are_a_handful_of_writes(plan_of, page_of, monkeypatch):
    """However fast scenes start and end, writes are few and short; little is kept in memory."""
    monkeypatch.setattr(run_page, "LAST_S", 60)
    plan = plan_of(*(f"scene{number:04}" for number in range(300)))
    outcome = Outcome(scene="", status="done", cause=Cause.OK, log=Path("l"))
    with page_of(plan) as page:
        for scene in plan.scenes:
            page.has_task_run(scene.name, TaskRun(task_key="k", dynamic_key=scene.name))
            page.started(scene, 1)
            record(scene)
            ended = outcome.model_copy(update={"scene": scene.name})
            page.ended(scene, ended, will_retry=False)
        page.final(Completed(message="300 of 300 scenes done"))
    sent = page._artifacts.sent
    assert 3 <= len(sent) <= 7
    assert "300 of 300 scenes done" in sent[-3][1]
    assert sent[-2][1].count('"done"') == MOST_ROWS
    assert f"and {300 - MOST_ROWS} more" in json.loads(sent[-2][1])[-1]["scene"]
    pages = [description for description, _ in page._artifacts.pages]
    named = [f"scene {scene.name}" for scene in plan.scenes]  # in order
    assert pages == named[: run_page.MOST_PAGES]
    assert not page._task_runs


def test_a_scenes_page_that_is_refused_keeps_no_other_one_away(plan_of, page_of, monkeypatch):
    """A proxy may take no request of that size."""
    monkeypatch.setattr(run_page, "LAST_S", 60)
    plan = plan_of("a", "b")
    outcome = Outcome(scene="", status="done", cause=Cause.OK, log=Path("l"))
    with page_of(plan) as page:
        page._artifacts.refused = {"scene a": 413}
        for scene in plan.scenes:
            page.has_task_run(scene.name, TaskRun(task_key="k", dynamic_key=scene.name))
            record(scene)
            page.ended(scene, outcome, will_retry=False)
    assert [description for description, _ in page._artifacts.pages] == ["scene b"]


def test_lines_about_a_scene_are_on_its_own_page_too(plan_of, page_of, caplog):
    """By the task run's logger, past the filter of the engine's messages."""
    install_log_filters()
    plan = plan_of("a")
    task_run = TaskRun(task_key="k", dynamic_key="0")
    with caplog.at_level(logging.INFO, TASK_RUN_LOGGER), page_of(plan) as page:
        page.has_task_run("a", task_run)
        page.started(plan.scenes[0], 1)
        logging.getLogger(TASK_RUN_LOGGER).info("Running hook")
    (line,) = [each for each in caplog.records if each.name == TASK_RUN_LOGGER]
    assert line.getMessage().startswith("a: started")
    assert line.task_run_id == str(task_run.id)


def test_a_server_that_hangs_keeps_nobody(plan_of, page_of):
    """It delays no scene, and the end of the run only for a moment."""
    plan = plan_of("a")
    page = page_of(plan)
    page._artifacts.let_go.clear()
    with page:
        page.started(plan.scenes[0], 1)
    assert page._artifacts.sent == []
    page._artifacts.let_go.set()


def test_a_lost_server_is_reported_once(plan_of, page_of, capsys, monkeypatch, eventually):
    """It costs one line; the page goes on when the server is back."""
    monkeypatch.setattr(run_page, "LAST_S", 60)
    monkeypatch.setattr(run_page, "EVERY_S", 0.01)
    monkeypatch.setattr(run_page, "FIRST_S", [])
    page = page_of(plan_of("a"))
    server = page._artifacts
    server.fault = OSError("connection refused")
    with page:
        eventually(lambda: server.tries > 2, "several tries")
        server.fault = None
        page.final(Completed(message="done"))
    output = capsys.readouterr().err.splitlines()
    assert output == ["the run's page in Prefect's UI is not current (OSError: connection refused)"]
    assert "**Completed: done**" in server.sent[-3][1]


def test_a_retried_run_keeps_its_artifacts(prefect_server):
    """One set: the second attempt changes what the first has made; a scene's own has no key."""
    run, task_run = uuid.uuid4(), uuid.uuid4()
    for text in ("first", "second"):
        artifacts = Artifacts(run)
        artifacts.show("exp-progress", "markdown", "progress", text)
    artifacts.add(task_run, "scene a", "text")

    def shown(**wanted):
        body = {"artifacts": wanted}
        return prefect_server.request("POST", "/artifacts/filter", json=body).json()

    assert [each["data"] for each in shown(flow_run_id={"any_": [str(run)]})] == ["second"]
    (own,) = shown(task_run_id={"any_": [str(task_run)]})
    assert (own["key"], own["flow_run_id"], own["data"]) == (None, None, "text")
