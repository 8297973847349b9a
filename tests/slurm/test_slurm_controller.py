"""A flow in a Slurm job of its own that loses its node: every scene is started once."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
from controller_on_slurm import let_go, record_of, runs, start, trains_in
from flow_on_slurm import end, is_ready
from prefect_database import put_migrated_database

NAMES = [f"a_{number}" for number in range(8)]
AT_ONCE = 6
"""Two on each node but the controller's."""
SECRET = f"secret-{uuid4()}"
"""Nowhere in the sources, which are copied."""


def with_secret(*folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if SECRET.encode() in path.read_bytes()]


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
    eventually(lambda: trains_in(lab, 2), "adoption", 120)
    shown = lab.run("--status").stdout
    assert "started again 1 time" in shown
    assert "without a flow" not in shown
    eventually(lambda: (let_go(lab, NAMES), record_of(lab).end)[1], "the end", 120)
    assert record_of(lab).exit_status == 0
    assert [len(lab.starts(name)) for name in NAMES] == [1] * len(NAMES)
    assert not with_secret(lab.root)
    (former, _, _), (state, tasks, edges) = runs(lab)
    assert (former, state) == ("CRASHED", "COMPLETED")
    assert tasks == dict.fromkeys([*NAMES, "aggregate"], "COMPLETED")
    assert edges == set(NAMES)
