"""Submit a flow as a Slurm job: checks first, then all that the job reads, then the job."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence

from flows.controller.settings import folder_of, keep_settings, remove_settings
from flows.notifications.notify import NOTIFY_URL, hide_url, notify_url
from flows.options import FlowOptions
from flows.server.settings import API_URL, read_settings, settings_in_use
from flows.slurm.preflight import SlurmSilentError
from preprocess.faults import Fault, FaultsError
from training.execution.local import prepare_launch
from training.jobs.controller_status import log_of, ways_to_watch
from training.jobs.kept_scripts import discard_plan, keep_scripts
from training.jobs.sbatch_check import check_with_sbatch, refusal_fault
from training.jobs.sbatch_commands import controller_job
from training.plan.model import Plan
from training.records.controller_record import (
    ControllerRecord,
    ControllerStart,
    note_controller_job,
    read_controller,
    write_controller,
)
from training.records.record import RecordError
from training.slurm import client
from training.slurm.times import seconds_of
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.scene_log import last_lines
from training.system.waiting import awaited

START_WAIT_S = 60.0
"""How long a command waits for its job to start; one in a full queue may take days."""
POLL_S = 1.0
MAX_UNSEEN = 2
"""A job may be missing from one of Slurm's answers, between two states."""
SHOWN_LINES = 5
Settings = Mapping[str, str]


def settings_for_job() -> Settings:
    """Return the user's settings of Prefect for a job, secrets included.

    Raises FaultsError where the API that they name does not answer, or is of this machine alone.
    """
    settings = read_settings()
    if url := settings.get(API_URL, ""):
        from flows.server.external_api import check_server

        check_reachable_from_jobs(url)
        check_server(url, settings)
    return settings


def settings_in_flow() -> Settings:
    """Return the same for a flow that Prefect has started: it has asked that API already."""
    settings = settings_in_use()
    check_reachable_from_jobs(settings.get(API_URL, ""))
    return settings


def check_reachable_from_jobs(url: str) -> None:
    """Raise FaultsError where a Prefect API is an address of this machine alone."""
    import httpx

    from flows.server.external_api import is_loopback

    if url and is_loopback(httpx.URL(url).host):
        what = f"{API_URL} is of this machine alone: a flow in a job can't reach it"
        remedy = (
            f"name a server that compute nodes reach, unset {API_URL} (the job then starts one of"
            " its own), or run the flow here (--controller here)"
        )
        raise FaultsError([Fault(what, url, remedy)])


def check_controller(plan: Plan, options: FlowOptions) -> None:
    """Ask Slurm whether it would take the controller's job; print what is doubtful.

    Raises FaultsError for what it would refuse, and SlurmSilentError where it does not answer.
    """
    try:
        with awaited("Slurm checks the controller's job (sbatch --test-only)"):
            warnings = check_with_sbatch(plan, [_command(plan, options)])
    except client.SlurmRefusedError as error:
        raise FaultsError([_refusal(plan, options, error)]) from error
    except client.SlurmError as error:
        fault = Fault("Slurm does not answer", str(error), "try again when it does")
        raise SlurmSilentError([fault]) from error
    for warning in warnings:
        say(str(warning))


def submit_controller(options: FlowOptions, plans: Sequence[Plan], settings: Settings) -> str:
    """Keep what the job needs and submit it; return its id.

    `settings`: Prefect's, secrets included. Raises FaultsError; nothing is left then.
    """
    plan = plans[0]
    record = ControllerRecord(
        plans=tuple(each.plan_id for each in plans), options=options.model_dump(mode="json")
    )
    for each in plans:
        keep_scripts(each)
    prepare_launch(plans)
    secrets = {**settings, NOTIFY_URL: notify_url()}
    hide_url()  # the job would inherit it
    job_id = ""
    try:
        keep_settings(plan, {name: value for name, value in secrets.items() if value})
        write_controller(plan.file, record)
        with awaited("Slurm takes the controller's job (sbatch)"):
            job_id = client.submit(_command(plan, options))
        note_controller_job(plan.file, job_id)
    except client.SlurmRefusedError as error:
        _discard(plans)
        raise FaultsError([_refusal(plan, options, error)]) from error
    except client.SlurmError as error:
        _discard(plans)
        raise FaultsError([Fault("the controller was not submitted", str(error))]) from error
    except OSError as error:
        with contextlib.suppress(client.SlurmError):  # it would find no plan, and end
            client.cancel({job_id} if job_id else ())
        _discard(plans)
        raise FaultsError([Fault("the controller can't be kept", str(error))]) from error
    return job_id


def wait_for_start(plan: Plan, job_id: str, timeout_s: float = START_WAIT_S) -> tuple[bool, str]:
    """Wait until a controller has started, or the time is over; return whether it lives, and how.

    A Slurm that does not answer counts as a queue.
    """
    deadline, unseen = time.monotonic() + timeout_s, 0
    while True:
        if starts := _starts(plan):
            return True, f"runs on {starts[-1].host}"
        reason = _reason_in_queue(job_id)
        unseen = 0 if reason else unseen + 1
        if unseen >= MAX_UNSEEN:
            return _after_end(plan, job_id)
        if reason and time.monotonic() > deadline:
            return True, f"is in the queue: {reason}"
        time.sleep(POLL_S)


def next_commands(plan: Plan, job_id: str) -> str:
    """Return the command lines that watch, follow and cancel an experiment, and show its flow."""
    flow = f"what the flow says: tail -F {shlex.quote(str(log_of(plan, job_id)))}"
    return f"{ways_to_watch(plan)}\n{flow}"


def start_in_job(options: FlowOptions, plans: Sequence[Plan], settings: Settings) -> int:
    """Submit a controller, wait a little for its start, and say how to watch it.

    Returns exit status 0 where it runs or is queued. Raises FaultsError.
    """
    plan = plans[0]
    job_id = submit_controller(options, plans, settings)
    say(f"submitted: controller, Slurm job {job_id}")
    try:
        with awaited("the controller starts"):
            lives, how = wait_for_start(plan, job_id)
    except KeyboardInterrupt:
        lives, how = True, "stays in the queue"
    say(f"the controller, Slurm job {job_id}, {how}")
    say(next_commands(plan, job_id))
    return DONE if lives else FAILED


def _command(plan: Plan, options: FlowOptions) -> list[str]:
    return controller_job(plan, seconds_of(options.controller_time))


def _refusal(plan: Plan, options: FlowOptions, error: client.SlurmRefusedError) -> Fault:
    if error.directive == "--time":
        value = f"--controller-time {options.controller_time}"
        return Fault(str(error), value, "give --controller-time a time that the partition allows")
    return refusal_fault(plan, error)


def _discard(plans: Sequence[Plan]) -> None:
    remove_settings(plans[0])
    with contextlib.suppress(OSError):  # it may not have been made
        folder_of(plans[0]).rmdir()
    for each in plans:
        discard_plan(each)


def _starts(plan: Plan) -> tuple[ControllerStart, ...]:
    with contextlib.suppress(RecordError):
        if record := read_controller(plan.file):
            return record.starts
    return ()


def _reason_in_queue(job_id: str) -> str:
    """Return the state of a job in the queue, with Slurm's reason; empty where it is not there."""
    try:
        jobs = client.jobs_of_id(job_id)
    except client.SlurmError as error:
        return str(error)
    living = [job for job in jobs if not job.is_over]
    return ", ".join(f"{each.state} ({each.reason})" for each in living)


def _after_end(plan: Plan, job_id: str) -> tuple[bool, str]:
    """Return how a controller has ended that was never seen to start."""
    if _starts(plan):
        return True, "has run, and ended already"
    said = " | ".join(last_lines(log_of(plan, job_id), SHOWN_LINES)) or "nothing was printed"
    remove_settings(plan)
    end = None
    with contextlib.suppress(client.SlurmError):
        end = client.job_ends({job_id}).get(job_id)
    return False, f"ended before the flow began ({end or 'Slurm does not say how'}): {said}"
