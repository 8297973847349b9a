"""The refiner's training set by one command on a real Slurm, by array and by flow."""

from __future__ import annotations

import re

import pytest
from difix_lab import FLAGS, SCENES, UNTRAINED, add_scenes, check_whole, dataset, manifests
from flow_on_slurm import FLOW, ended_jobs


@pytest.mark.long
def test_array_and_flow_give_the_same_data_set(flow_lab, eventually):
    """The array's dependent job merges; so does the flow's aggregate, to the same bytes.

    The array is submitted as the reference page does, which says nothing of checkpoints.
    """
    add_scenes(flow_lab, SCENES[1:3])  # one of each group
    flags = [flag for flag in FLAGS if flag != UNTRAINED]
    result = flow_lab.run("--submit", "--slurm.array-parallelism", "2", *flags, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "data is made of grey people" in result.stdout + result.stderr
    aggregate = re.search(r"submitted: aggregate job (\d+)", result.stdout)[1]
    ends = {"COMPLETED", "FAILED", "CANCELLED"}
    state = lambda: flow_lab.slurm.job(aggregate)["JobState"]  # noqa: E731
    eventually(lambda: state() in ends, "the aggregate's end", 120)
    assert state() == "COMPLETED"
    check_whole(flow_lab)
    before = manifests(flow_lab)
    dataset(flow_lab).rename(flow_lab.root / "by_array")
    flags = ("--cluster", "slurm", "--slurm.array-parallelism", "2", "--force")
    flags += ("--aggregate-job-name", "merge_of_flow")
    result = flow_lab.run(*flags, *FLAGS, program=FLOW, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert manifests(flow_lab) == before
    assert ended_jobs(flow_lab.slurm, "merge_of_flow") == {"merge_of_flow"}
