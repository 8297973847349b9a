"""The page of a flow run: its thread, and what a real server has of real runs."""

from __future__ import annotations

import functools
import logging
import threading
import uuid
from pathlib import Path

import pytest
from page_lab import planned, record
from prefect.states import Completed

from flows import run_page
from flows.run_page import RunPage
from flows.run_page_artifacts import Artifacts
from training.outcome import Outcome
from training.records import Cause


@pytest.fixture
def plan_of(tmp_path):
    """A plan with folders of its own."""
    return functools.partial(planned, tmp_path)


class Recorder(Artifacts):
    """Keeps what would be sent; as slow or as broken as a test wants."""

    def __init__(self) -> None:
        super().__init__(uuid.uuid4())
        self.sent: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self.let_go = threading.Event()
        self.let_go.set()

    def show(self, key: str, _kind: str, _description: str, data: str) -> None:
        self.let_go.wait(60)
        if self.fault:
            raise self.fault
        self.sent.append((key, data))


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
    """However fast they start and end; the last writes have all of them."""
    monkeypatch.setattr(run_page, "LAST_S", 60)
    plan = plan_of(*(f"scene{number:04}" for number in range(300)))
    outcome = Outcome(scene="", status="done", cause=Cause.OK, log=Path("l"))
    with page_of(plan) as page:
        for scene in plan.scenes:
            page.started(scene, 1)
            record(scene)
            page.ended(scene, outcome.model_copy(update={"scene": scene.name}))
        page.final(Completed(message="300 of 300 scenes done"))
    sent = page._artifacts.sent
    assert 3 <= len(sent) <= 7
    assert "300 of 300 scenes done" in sent[-3][1]
    assert sent[-2][1].count('"done"') == 300


def test_a_server_that_hangs_keeps_nobody(plan_of, page_of):
    """Neither the scenes nor, for longer than a moment, the end of the run."""
    plan = plan_of("a")
    page = page_of(plan)
    page._artifacts.let_go.clear()
    with page:
        page.started(plan.scenes[0], 1)
    assert page._artifacts.sent == []
    page._artifacts.let_go.set()


def test_a_server_that_is_lost_is_told_once(plan_of, page_of, capsys, monkeypatch):
    """In one line; when it is back the page goes on."""
    monkeypatch.setattr(run_page, "LAST_S", 60)
    monkeypatch.setattr(run_page, "FIRST_S", [0.0] * 5)
    page = page_of(plan_of("a"))
    page._artifacts.fault = OSError("connection refused")
    with page:
        page.final(Completed(message="done"))
    said = capsys.readouterr().err.splitlines()
    assert said == ["the run's page in Prefect's UI is not current (OSError: connection refused)"]
