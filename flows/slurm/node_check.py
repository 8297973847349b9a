"""Before any GPU job: one short job that proves that workers can work on a node."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from flows.runner.dispatch import JobsError
from flows.slurm import probe
from flows.slurm.polling import PollThrottle, Slurm, ThrottledMessages, jobs_in_queue, waiting_for
from training.jobs.sbatch_commands import probe_job
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError
from training.system.scene_log import last_lines

POLL_S = 0.1
UNSEEN_ROUNDS = 2
"""A job may be missing from Slurm's answer once, between two states."""
SHOWN_LINES = 5
REMEDIES = {
    "import": "correct the environment lines of {script}: the project must be installed there",
    "results": "name a folder that compute nodes can write with --results-root",
    "scheduler": "name the network interface that nodes can reach with --slurm.interface",
}
WHAT = {
    "import": "the project can't be imported",
    "results": "the result root {root} can't be written",
    "scheduler": "the Dask scheduler can't be reached",
}


def check_node(plan: Plan, slurm: Slurm, say: Callable[[str], None]) -> None:
    """Run the probe on whichever node Slurm gives; returns once it has succeeded.

    Raises JobsError that names what is wrong there.
    """
    report = probe.report_file(plan.roots.state_root, plan.plan_id)
    report.touch()
    try:
        job_id = client.submit(probe_job(plan))
    except SlurmError as error:
        raise JobsError(str(error)) from error
    try:
        _wait(job_id, report, slurm, say)
    except BaseException:
        with contextlib.suppress(SlurmError):  # then the flow's guard does it
            slurm.cancel([job_id])
        raise
    _judge(plan, job_id, report)


def _wait(job_id: str, report: Path, slurm: Slurm, say: Callable[[str], None]) -> None:
    """Until the probe has reported, or its job is gone from the queue."""
    now = time.monotonic()
    pace, unseen, tell = PollThrottle(asked=now, news=now), 0, ThrottledMessages(say)
    while not report.stat().st_size and unseen < UNSEEN_ROUNDS:
        time.sleep(POLL_S)
        if not pace.is_due(urgent=False):
            continue
        try:
            rows = jobs_in_queue(slurm.my_jobs())
        except SlurmError as error:
            tell("slurm", f"Slurm does not answer as it should: {error}")
            continue
        unseen = 0 if job_id in rows else unseen + 1
        if job_id in rows and (waiting := waiting_for([rows[job_id]])):
            tell("queue", f"a node is probed before any training: {waiting}")


def _judge(plan: Plan, job_id: str, report: Path) -> None:
    log = next(iter(plan.job_logs.glob(f"*-{job_id}.out")), plan.job_logs / f"job {job_id}")
    try:
        said = json.loads(report.read_text(encoding="utf-8"))
    except ValueError:
        words = " | ".join(last_lines(log, SHOWN_LINES)) or "it printed nothing"
        raise JobsError(
            f"the probe (Slurm job {job_id}) ended before it could report: {words}\n"
            f"    -> python must start in {plan.slurm and plan.slurm.script}, and its last line"
            f" must run training/run.py; log: {log}"
        ) from None
    for step in probe.STEPS:
        if said.get(step) != probe.OK:
            script = plan.slurm.script if plan.slurm else ""
            what = WHAT[step].format(root=plan.roots.results_root)
            remedy = REMEDIES[step].format(script=script)
            raise JobsError(
                f"on node {said['node']} {what}: {said.get(step)}\n"
                f"    -> {remedy} (Slurm job {job_id}, {said['python']})"
            )
