"""An edit after submission changes no scene of an array or of a flow on a real Slurm."""

from __future__ import annotations

import re
from typing import Any

import pytest
from array_on_slurm import wait_ended
from edited_project import Project

ONE_AT_A_TIME = ("--slurm.array-parallelism", "1")


@pytest.fixture
def project(slurm_lab: Any, slurm: Any) -> Project:
    slurm_lab.slurm = slurm
    slurm_lab.add_scene("a_0")
    slurm_lab.add_scene("a_1")
    return Project(slurm_lab.root / "project", slurm_lab)


def submit(lab: Any, project: Project, *flags: str) -> str:
    """Submit both scenes, one at a time; return the array's id."""
    own = (*project.flags, "--submit", *ONE_AT_A_TIME, "--overrides", "wait=1", *flags)
    result = lab.run(*own, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"submitted: array job (\d+)", result.stdout)[0]


def test_a_pending_array_task_trains_what_was_submitted(slurm_lab, project, eventually):
    """Script, untracked helper and configuration are edited while one task runs, one waits."""
    array = submit(slurm_lab, project)
    project.edit_while_the_first_runs(eventually)
    assert wait_ended(slurm_lab, eventually, array) == ["COMPLETED"]
    assert project.is_planned("a_0")
    assert project.is_planned("a_1")
    attempts = [slurm_lab.record(name)["attempts"][0] for name in ("a_0", "a_1")]
    (snapshot,) = {attempt["snapshot"] for attempt in attempts}
    assert (slurm_lab.root / "state" / "snapshots" / snapshot / "helper.py").exists()


def test_a_pending_array_task_without_a_copy_is_refused_after_an_edit(
    slurm_lab, project, eventually
):
    """With --no-snapshot: cause config, and the message names what changed."""
    array = submit(slurm_lab, project, "--no-snapshot")
    project.edit_while_the_first_runs(eventually)
    wait_ended(slurm_lab, eventually, array)
    assert project.is_planned("a_0")
    assert slurm_lab.causes("a_1") == ["config"]
    assert "helper.py" in slurm_lab.record("a_1")["attempts"][0]["message"]


def test_a_flow_on_slurm_trains_what_was_planned(flow_lab, project, eventually):
    """Its second scene starts on a worker that came before the edit."""
    own = ("--cluster", "slurm", *project.flags, *ONE_AT_A_TIME, "--overrides", "wait=1")
    flow = flow_lab.popen(*own, program=("-m", "flows.train"), stand_in=False)
    project.edit_while_the_first_runs(eventually)
    out, err = flow.communicate(timeout=120)
    assert flow.returncode == 0, out + err
    assert project.is_planned("a_0")
    assert project.is_planned("a_1")
