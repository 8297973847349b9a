"""The jobs of a flow as its dry run shows them."""

from __future__ import annotations

import shlex

from training.jobs.flow_jobs import controller_text, jobs_text
from training.jobs.sbatch_commands import probe_job, worker_job
from training.plan.model import AggregatePlan


def test_each_kind_of_job_is_shown_with_its_number_and_time(make_plan, tmp_path):
    """The command lines are those that the flow submits."""
    plan = make_plan("p")
    merge = AggregatePlan(
        command=("merge",), log=tmp_path / "log", job_name="merge", time_limit_s=3600
    )
    slurm = plan.slurm.model_copy(update={"scenes_per_job": 2})
    plan = plan.model_copy(update={"aggregate": merge, "slurm": slurm})
    lines = jobs_text(plan).splitlines()
    scenes = "# 3 scenes: at most 2 jobs at once, for up to 2 scenes one after the other"
    assert lines[:4] == [
        "# first a probe of a node, seconds, unless one has passed within a day",
        shlex.join(probe_job(plan)),
        f"{scenes}, 00:02:00 a job",
        shlex.join(worker_job(plan, "w1")),
    ]
    assert lines[4] == "# then the aggregate, which merges what the scenes wrote, up to 01:00:00"
    assert "--job-name=merge" in lines[5]
    at_once = plan.model_copy(update={"scenes_per_gpu": 2})
    scenes = "# 3 scenes: at most 1 job at once, for up to 2 scenes at once on its GPU, 00:01:00"
    assert jobs_text(at_once).splitlines()[2].startswith(scenes)
    never = plan.model_copy(update={"slurm": slurm.model_copy(update={"probe": "never"})})
    assert jobs_text(never).splitlines() == lines[2:]
    summary = merge.model_copy(update={"command": ()})  # the flow writes it itself
    assert jobs_text(plan.model_copy(update={"aggregate": summary})).splitlines() == lines[:4]


def test_a_plan_without_scenes_to_run_has_no_jobs(make_plan):
    plan = make_plan("p")
    done = tuple(scene.model_copy(update={"action": "skip"}) for scene in plan.scenes)
    text = jobs_text(plan.model_copy(update={"scenes": done}))
    assert text == "# no jobs: nothing to do"


def test_the_job_of_the_flow_itself_is_shown_with_its_time(plan):
    """As it is submitted; its own time, no GPU."""
    title, line = controller_text(plan, 24 * 3600).splitlines()
    assert title == "# the flow itself, 1-00:00:00, then queued again and goes on"
    assert line.endswith(f"--in-job controller {plan.file}")
