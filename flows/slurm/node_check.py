"""Before any GPU job: run `flows.slurm.probe` in a short job, to prove that workers can work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows.runner.dispatch import JobsError, StoppedError
from flows.slurm import polling, probe, probe_memory
from flows.slurm.avoided_nodes import AGREEING_NODES
from flows.slurm.polling import (
    PollThrottle,
    Slurm,
    ThrottledMessages,
    jobs_in_queue,
    pending_summary,
)
from preprocess.json_file import read_json
from training.jobs.sbatch_check import NOT_AVAILABLE, no_node_left
from training.jobs.sbatch_commands import excluded_nodes, probe_job, slurm_of
from training.plan.model import Plan
from training.slurm import client
from training.slurm.bad_nodes import (
    BadNode,
    forget_bad_node,
    note_bad_nodes,
    used_again_text,
)
from training.slurm.client import SlurmError, SlurmRefusedError
from training.slurm.job_states import JobEnd
from training.system.scene_log import last_lines
from training.system.waiting import awaited

POLL_S = 0.1
MAX_UNSEEN = 2
"""A job may be missing from one of Slurm's answers, between two states."""
END_S = 20.0
"""How long Slurm may take to say on which node a probe ended that could not report."""
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


class ProbeFailedError(JobsError):
    """A probe failed, for a reason of its node or of the Slurm script."""

    def __init__(self, why: str, job_id: str, node: str) -> None:
        super().__init__(why)
        self.why, self.job_id, self.node = why, job_id, node


class NoNodeLeftError(JobsError):
    """Slurm has no node for a probe but those that it must not run on."""


def check_node(
    plan: Plan, memory: Path, slurm: Slurm, say: Callable[[str], None], stop: threading.Event
) -> tuple[str, ...]:
    """Run the probe until it has succeeded on a node; return the nodes where it has not.

    These are bad nodes, and remembered. Without a probe where --slurm.probe says never, or one has
    passed within a day, which `memory` says (`probe_memory.file_of`). Raises JobsError that names
    what is wrong where several nodes agree or no other is left, StoppedError once `stop` is set.
    """
    policy = slurm_of(plan).probe
    if policy == "never" or (policy == "auto" and probe_memory.is_remembered(memory)):
        return ()
    probe_memory.forget(memory)
    failed: dict[str, ProbeFailedError] = {}
    remembered = slurm_of(plan).excluded_nodes
    while True:
        try:
            node = _run_probe(plan, slurm, say, stop, exclude=(*remembered, *failed))
        except NoNodeLeftError:
            if not remembered:
                raise
            say(used_again_text(remembered))
            remembered = ()
        except ProbeFailedError as error:
            failed = _with_failed_node(plan, failed, error)
            say(f"{error.why}\n    the probe is repeated on another node than {error.node}")
        else:
            break
    probe_memory.remember(memory)
    note_bad_nodes(
        plan.roots.state_root,
        [BadNode(node=each.node, job_id=each.job_id) for each in failed.values()],
    )
    forget_bad_node(plan.roots.state_root, node)
    return tuple(failed)


def _with_failed_node(
    plan: Plan, failed: Mapping[str, ProbeFailedError], error: ProbeFailedError
) -> dict[str, ProbeFailedError]:
    """Return the failed probes by node, with one more; raises JobsError where no node is at fault.

    That is where AGREEING_NODES agree, or where no other node can be had: the script names its
    nodes, or the job's is not known.
    """
    known = {**failed, error.node: error}
    can_move = excluded_nodes(slurm_of(plan), [error.node]) if error.node else ""
    if can_move and error.node not in failed and len(known) < AGREEING_NODES:
        return known
    nodes = list(filter(None, known))
    agree = f"\n    as on {', '.join(nodes)}, so that no node is at fault" if nodes[1:] else ""
    raise JobsError(f"{error.why}{agree}")


def _run_probe(
    plan: Plan,
    slurm: Slurm,
    say: Callable[[str], None],
    stop: threading.Event,
    exclude: Sequence[str],
) -> str:
    """Run the probe on none of the `exclude` nodes; return the node on which it succeeded.

    Raises ProbeFailedError, NoNodeLeftError, and JobsError where Slurm does not take its job.
    """

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError("the flow stopped while a node was probed")

    report = probe.report_file(plan.roots.state_root, plan.plan_id)
    report.write_bytes(b"")
    try:
        with awaited("Slurm takes the probe's job (sbatch)"):
            job_id = client.submit(probe_job(plan, exclude), sleep=sleep)
    except SlurmRefusedError as error:
        if NOT_AVAILABLE in error.slurm_message and exclude:
            raise NoNodeLeftError(str(no_node_left(exclude))) from error
        raise JobsError(str(error)) from error
    except SlurmError as error:
        raise JobsError(str(error)) from error
    try:
        with awaited(f"a node is probed before any training, job {job_id}"):
            _wait_for_report(job_id, report, slurm, say, sleep)
    except BaseException:
        with contextlib.suppress(SlurmError):  # the flow's guard cancels it then
            slurm.cancel([job_id])
        raise
    return _node_of_report(plan, job_id, report, slurm, sleep)


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


def _node_of_report(
    plan: Plan, job_id: str, file: Path, slurm: Slurm, sleep: Callable[[float], None]
) -> str:
    """Return the node of a probe that has reported that every step succeeded.

    Raises ProbeFailedError for every other, JobsError for one that was cancelled.
    """
    script = slurm_of(plan).script
    try:
        report = read_json(file)
    except ValueError:
        raise _unreported(plan, job_id, _end_of(job_id, slurm, sleep)) from None
    failed = next((step for step in probe.STEPS if report.get(step) != probe.OK), None)
    node = str(report["node"])
    if failed is None:
        return node
    fault = FAULTS[failed].format(root=plan.roots.results_root)
    why = (
        f"on node {node} {fault}: {report.get(failed)}\n"
        f"    -> {REMEDIES[failed].format(script=script)}"
        f" (Slurm job {job_id}, {report['python']})"
    )
    raise ProbeFailedError(why, job_id, node)


def _unreported(plan: Plan, job_id: str, end: JobEnd | None) -> JobsError:
    """Return the error of a probe that ended before it could report."""
    log = next(iter(plan.job_logs.glob(f"*-{job_id}.out")), plan.job_logs / f"job {job_id}")
    printed = " | ".join(last_lines(log, SHOWN_LINES)) or "it printed nothing"
    node = end.node if end else ""
    where = f" on node {node}" if node else ""
    why = (
        f"the probe (Slurm job {job_id}{where}) ended before it could report: {printed}\n"
        f"    -> python must start in {slurm_of(plan).script}, and its last line"
        f" must run training/run.py; log: {log}"
    )
    is_cancelled = end is not None and end.state == "CANCELLED"
    return JobsError(why) if is_cancelled else ProbeFailedError(why, job_id, node)


def _end_of(job_id: str, slurm: Slurm, sleep: Callable[[float], None]) -> JobEnd | None:
    """Return how Slurm says the probe's job ended, which names its node; None if not in time."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        with contextlib.suppress(SlurmError):
            if end := slurm.job_ends([job_id]).get(job_id):
                return end
        sleep(polling.QUERY_S)
    return None
