"""A flow in a Slurm job of its own that loses its node: every scene is started once."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flow_on_slurm import FLOW, end, is_ready
from prefect_database import put_migrated_database

from training.records.controller_record import ControllerRecord

NAMES = [f"a_{number}" for number in range(8)]
AT_ONCE = 6
"""Two on each node but the controller's."""
SECRET = f"secret-{uuid4()}"
"""Nowhere in the sources, which are copied."""


def start(lab: Any, *flags: str) -> Any:
    own = ["--cluster", "slurm", "--run-all", "--kill-grace", "1", "--controller", "job"]
    return lab.popen(*own, *flags, program=FLOW)


def record_of(lab: Any) -> ControllerRecord:
    (file,) = (lab.root / "state" / "plans").glob("*.controller")
    return ControllerRecord.model_validate_json(file.read_text())


def with_secret(*folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if SECRET.encode() in path.read_bytes()]


def let_go(lab: Any) -> None:
    for name in NAMES:
        if lab.output(name).exists():
            (lab.output(name) / "go.txt").touch()


def runs(lab: Any) -> list[tuple[str, dict[str, str], set[str]]]:
    """Return of each flow run, in order, its state, those of its task runs, the aggregate's edges.

    As they are in the database of the job's own server.
    """
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
            found.append((state, {row[1]: row[2] for row in rows}, edges))
        return found


def second_run_trains(lab: Any) -> bool:
    return any("RUNNING" in tasks.values() for _, tasks, _ in runs(lab)[1:])


@pytest.mark.long
def test_a_controller_whose_node_dies_goes_on_and_no_scene_is_started_twice(
    slurm_lab, slurm, eventually
):
    """The last run's graph shows all eight scenes and the aggregate.

    The command ends once the job runs, and a second one starts nothing. The user's secret is in one
    private file alone, while the controller lives.
    """
    lab = slurm_lab
    put_migrated_database(lab.root / "prefect")
    lab.environment |= {"PREFECT_API_KEY": SECRET}
    for name in NAMES:
        lab.add_scene(name, do="wait")
    said = end(start(lab, "--slurm.array-parallelism", str(AT_ONCE)))
    (job_id,) = re.findall(r"submitted: controller, Slurm job (\d+)", said)
    assert f"the controller, Slurm job {job_id}, runs on" in said
    assert "cancel: python training/run.py --cancel --exp-name exp" in said
    assert slurm.job(job_id)["JobName"] == "exp_controller"
    node = slurm.job(job_id)["NodeList"]
    slurm.call("scontrol", "update", f"nodename={node}", "state=drain", "reason=no scene here")
    eventually(lambda: sum(is_ready(lab, "exp", each) for each in NAMES) == AT_ONCE, "trainers")
    assert node not in {lab.record(name)["attempts"][0]["host"] for name in NAMES[:AT_ONCE]}
    assert "controller: running since" in lab.run("--status").stdout
    assert f"runs in Slurm job {job_id}" in end(start(lab), 1)
    assert with_secret(lab.root, slurm.layout.folder) == ["settings.json"]
    slurm.crash_node(node)
    eventually(lambda: second_run_trains(lab), "adoption", 120)
    shown = lab.run("--status").stdout
    assert "started again 1 time" in shown
    assert "without a flow" not in shown
    eventually(lambda: (let_go(lab), record_of(lab).end)[1], "the end", 120)
    assert record_of(lab).exit_status == 0
    assert [len(lab.starts(name)) for name in NAMES] == [1] * len(NAMES)
    assert not with_secret(lab.root)
    (former, _, _), (state, tasks, edges) = runs(lab)
    assert (former, state) == ("CRASHED", "COMPLETED")
    assert tasks == dict.fromkeys([*NAMES, "aggregate"], "COMPLETED")
    assert edges == set(NAMES)
