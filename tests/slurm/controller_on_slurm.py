"""Start and inspect a flow in a Slurm job of its own, whose server's database is the lab's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any, NamedTuple

from flow_on_slurm import FLOW

from training.records.controller_record import ControllerRecord


class Run(NamedTuple):
    """A flow run as it is in the database of the job's own server."""

    state: str
    tasks: dict[str, str]
    """The states of its task runs, by name."""
    aggregate_edges: set[str]
    """The task runs that its aggregate waits for."""


def start(lab: Any, *flags: str) -> Any:
    """Submit a controller for all scenes with a kill grace of a second."""
    own = ["--cluster", "slurm", "--run-all", "--kill-grace", "1", "--controller", "job"]
    return lab.popen(*own, *flags, program=FLOW)


def record_of(lab: Any) -> ControllerRecord:
    """Return the record of the lab's one controller."""
    (file,) = (lab.root / "state" / "plans").glob("*.controller")
    return ControllerRecord.model_validate_json(file.read_text())


def let_go(lab: Any, names: Iterable[str]) -> None:
    """Have the trainers of scenes that wait end well."""
    for name in names:
        if lab.output(name).exists():
            (lab.output(name) / "go.txt").touch()


def runs(lab: Any) -> list[Run]:
    """Return the flow runs in order."""
    with closing(sqlite3.connect(lab.root / "prefect" / "prefect.db")) as database:
        ask = database.execute
        found = []
        for run, state in ask("SELECT id, state_type FROM flow_run ORDER BY created").fetchall():
            query = "SELECT id, name, state_type, task_inputs FROM task_run WHERE flow_run_id = ?"
            rows = ask(query, (run,)).fetchall()
            names = {row[0]: row[1] for row in rows}
            inputs = [json.loads(row[3]) for row in rows if row[1] == "aggregate"]
            waits_for = {edge["id"] for one in inputs for edge in one["wait_for"]}
            edges = {names[each] for each in waits_for}
            found.append(Run(state, {row[1]: row[2] for row in rows}, edges))
        return found


def trains_in(lab: Any, number: int) -> set[str]:
    """Return the names of the task runs that run in the flow run of that number, from 1."""
    found = runs(lab)[number - 1 :][:1]
    return {name for run in found for name, state in run.tasks.items() if state == "RUNNING"}
