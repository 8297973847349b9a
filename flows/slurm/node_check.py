"""Before any GPU job: run `flows.slurm.probe` in a short job, to prove that workers can work."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flows.runner.dispatch import JobsError, StoppedError
from flows.slurm import probe, probe_memory
from flows.slurm.polling import (
    PollThrottle,
    Slurm,
    ThrottledMessages,
    jobs_in_queue,
    pending_summary,
)
from training.jobs.sbatch_commands import probe_job, slurm_of
from training.plan.model import Plan
from training.slurm import client
from training.slurm.client import SlurmError
from training.system.scene_log import last_lines
from training.system.waiting import awaited

POLL_S = 0.1
MAX_UNSEEN = 2
"""A job may be missing from one of Slurm's answers, between two states."""
SHOWN_LINES = 5
REMEDIES = {
    "tmpdir": "have {script} name a folder that nodes have, or unset TMPDIR there",
    "import": "correct the environment lines of {script}: the project must be installed there",
    "results": "name a folder that compute nodes can write with --results-root",
    "scheduler": "name the network interface that nodes can reach with --slurm.interface",
    "gpu": "have {script} load what it names, or train on the CPU with --overrides device=cpu",
}
FAULTS = {
    "tmpdir": "the folder that TMPDIR names can't be written",
    "import": "the project can't be imported",
    "results": "the result root {root} can't be written",
    "scheduler": "the Dask scheduler can't be reached",
    "gpu": "scenes can't be trained on a GPU",
}


def check_node(
    plan: Plan, memory: Path, slurm: Slurm, say: Callable[[str], None], stop: threading.Event
) -> None:
    """Run the probe on whichever node Slurm gives; return once it has succeeded.

    Without one where --slurm.probe says never, or one has passed within a day, which `memory` says
    (`probe_memory.file_of`). Raises JobsError that names what is wrong there, StoppedError once
    `stop` is set.
    """
    policy = slurm_of(plan).probe
    if policy == "never" or (policy == "auto" and probe_memory.is_remembered(memory)):
        return
    probe_memory.forget(memory)
    _run_probe(plan, slurm, say, stop)
    probe_memory.remember(memory)


def _run_probe(plan: Plan, slurm: Slurm, say: Callable[[str], None], stop: threading.Event) -> None:
    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError("the flow stopped while a node was probed")

    report = probe.report_file(plan.roots.state_root, plan.plan_id)
    report.touch()
    try:
        with awaited("Slurm takes the probe's job (sbatch)"):
            job_id = client.submit(probe_job(plan), sleep=sleep)
    except SlurmError as error:
        raise JobsError(str(error)) from error
    try:
        with awaited(f"a node is probed before any training, job {job_id}"):
            _wait_for_report(job_id, report, slurm, say, sleep)
    except BaseException:
        with contextlib.suppress(SlurmError):  # the flow's guard cancels it then
            slurm.cancel([job_id])
        raise
    _check_report(plan, job_id, report)


def _wait_for_report(
    job_id: str,
    report: Path,
    slurm: Slurm,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Return when the probe has reported, or when its job is gone from the queue."""
    now = time.monotonic()
    throttle, unseen = PollThrottle(asked_at=now, news_at=now), 0
    notify = ThrottledMessages(say)
    while not report.stat().st_size and unseen < MAX_UNSEEN:
        sleep(POLL_S)
        if not throttle.is_due(time.monotonic(), urgent=False):
            continue
        try:
            queue = jobs_in_queue(slurm.my_jobs())
        except SlurmError as error:
            notify("slurm", f"Slurm does not answer as it should: {error}")
            continue
        unseen = 0 if job_id in queue else unseen + 1
        if job_id in queue and (waiting := pending_summary([queue[job_id]])):
            notify("queue", f"a node is probed before any training: {waiting}")


def _check_report(plan: Plan, job_id: str, file: Path) -> None:
    """Raise JobsError unless the probe has reported that every step succeeded."""
    script = plan.slurm.script if plan.slurm else ""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        log = next(iter(plan.job_logs.glob(f"*-{job_id}.out")), plan.job_logs / f"job {job_id}")
        printed = " | ".join(last_lines(log, SHOWN_LINES)) or "it printed nothing"
        raise JobsError(
            f"the probe (Slurm job {job_id}) ended before it could report: {printed}\n"
            f"    -> python must start in {script}, and its last line"
            f" must run training/run.py; log: {log}"
        ) from None
    failed = next((step for step in probe.STEPS if report.get(step) != probe.OK), None)
    if failed is not None:
        fault = FAULTS[failed].format(root=plan.roots.results_root)
        raise JobsError(
            f"on node {report['node']} {fault}: {report.get(failed)}\n"
            f"    -> {REMEDIES[failed].format(script=script)}"
            f" (Slurm job {job_id}, {report['python']})"
        )
