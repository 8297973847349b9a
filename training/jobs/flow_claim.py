"""Which process runs a plan's flow, and which flow has taken over from one that has died.

It claims the plan as a supervisor claims a scene, so that the same rules say whether it lives:
`<state>/flows/<plan>/.claim`. A flow that ends in good order removes the folder; what is left there
is of a flow that lives, or has died.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from preprocess.faults import Fault, FaultsError
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan
from training.records.claim import (
    SILENT_AFTER_S,
    Claim,
    ClaimHeldError,
    EndedJob,
    Holder,
    claimed,
    holder_of,
    seconds_since_heartbeat,
)
from training.records.record import RecordError
from training.system.atomic_write import write_atomically
from training.system.claim_file import ClaimLostError, numbered
from training.system.console import say
from training.system.exit_status import FAILED
from training.system.job_environment import is_started_again, own_job_id
from training.system.waiting import awaited

SUCCESSOR, FLOW_RUN = "successor", "flow_run.json"
"""Files in the folder of a flow."""
POLL_S, LAST_S = 0.5, 5.0
HEARTBEAT_EVERY_S, STALE_AFTER_S = 5.0, 40.0
"""Of a flow's claim. Where a flow outside Slurm is lost with its machine, only its silence tells,
and its scenes are to be in view again within a minute. It trains nothing itself, so one that
only slept costs no more than its own end: the scenes have claims that are slower to lose."""


class FlowRunNote(BaseModel):
    """A flow run in Prefect."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str


def folder_of(plan: Plan) -> Path:
    """Return the folder with the claim and the notes of a plan's flow."""
    return plan.roots.state_root / "flows" / plan.plan_id


@contextmanager
def flow_claimed(plan: Plan) -> Iterator[None]:
    """Have a plan, and those that it succeeds, while the context is open.

    A process that has lost its claim, since another flow took it for dead, ends at once. Raises
    FaultsError where another flow was quicker, or a file can't be written.
    """
    with ExitStack() as stack:
        try:
            claims = [stack.enter_context(_claimed(plan))]
            for each in predecessors_of(plan):
                claims.append(stack.enter_context(_claimed(each)))
                write_atomically(folder_of(each) / SUCCESSOR, plan.plan_id)
        except ClaimHeldError as error:
            what = "another flow has just taken over what a dead one has left"
            raise FaultsError([Fault(what, str(error.holder))]) from error
        except (RecordError, OSError) as error:
            raise FaultsError([Fault("the flow can't be noted", str(error))]) from error
        stack.enter_context(_heartbeats(claims))
        try:
            yield
        finally:
            for each in predecessors_of(plan):
                with contextlib.suppress(OSError):
                    (folder_of(each) / SUCCESSOR).unlink()
            shutil.rmtree(folder_of(plan), ignore_errors=True)


def predecessors_of(plan: Plan) -> list[Plan]:
    """Return the plans whose flows have died and that a plan succeeds; skip unreadable ones."""
    found = []
    for plan_id in plan.succeeds:
        with contextlib.suppress(PlanFileError):
            found.append(read_plan(plan.file.with_name(f"{plan_id}.json")))
    return found


def successor_of(plan: Plan) -> Plan | None:
    """Return the plan whose flow has taken over from that of a plan, last; None where none has."""
    seen, found = {plan.plan_id}, plan
    with contextlib.suppress(OSError, PlanFileError):
        while (plan_id := (folder_of(found) / SUCCESSOR).read_text("utf-8").strip()) not in seen:
            seen.add(plan_id)
            found = read_plan(plan.file.with_name(f"{plan_id}.json"))
    return None if found is plan else found


def flows_before(plan: Plan) -> list[Plan]:
    """Return earlier plans with the same outputs whose flows, alive or dead, are noted."""
    found = []
    for folder in sorted(folder_of(plan).parent.glob(f"{plan.exp_name}-*")):
        with contextlib.suppress(PlanFileError):
            if (folder / FLOW_RUN).exists() and folder.name != plan.plan_id:
                found.append(read_plan(plan.file.with_name(f"{folder.name}.json")))
    return [each for each in found if _writes_the_same(each, plan)]


def with_dead_flows(plan: Plan) -> Plan:
    """Return a plan for this machine as the successor of those here whose flows have died.

    Not of plans for Slurm: their scenes may train on, for the next flow there.
    """
    here = (each for each in flows_before(plan) if each.slurm is None)
    dead = (each.plan_id for each in here if flow_has_died(each, None))
    return plan.model_copy(update={"succeeds": tuple(sorted(dead))})


def flow_has_died(plan: Plan, queued: Collection[str] | None) -> bool:
    """Return whether a plan's flow has died and left what it had.

    False where it has ended in good order, and where nobody can tell. `queued`: ids of this user's
    jobs in Slurm's queue; None where Slurm was not asked.
    """
    try:
        has_begun = numbered(folder_of(plan) / ".claim")
        return bool(has_begun) and _living_holder(plan, queued) is None
    except (RecordError, OSError):
        return False


def wait_until_silent(plan: Plan, queued: Collection[str] | None) -> None:
    """Wait until a flow that may have died has been silent for long enough.

    It may where its job has ended, or where it is on another machine outside Slurm: there a sign of
    life ends the wait.
    """
    began, last_s = time.monotonic(), 0.0
    with contextlib.suppress(RecordError), awaited("for a sign of life of the flow before"):
        while (holder := _living_holder(plan, queued)) is not None:
            has_ended, age_s = _has_ended(holder, queued), seconds_since_heartbeat(folder_of(plan))
            limit_s = SILENT_AFTER_S if has_ended else holder.stale_after_s
            lives = not has_ended and (_is_known_to_live(holder) or age_s < last_s)
            if lives or time.monotonic() > began + limit_s + 1:
                return
            last_s = age_s
            time.sleep(POLL_S)


def note_flow_run(plan: Plan, run: FlowRunNote) -> None:
    """Note the flow run of a plan, for who finds that its process has died."""
    with contextlib.suppress(OSError):  # then its state in Prefect stays as it is
        write_atomically(folder_of(plan) / FLOW_RUN, run.model_dump_json())


def noted_flow_run(plan: Plan) -> FlowRunNote | None:
    """Return the flow run of a plan; None where it is not known."""
    with contextlib.suppress(OSError, ValueError):
        return FlowRunNote.model_validate_json((folder_of(plan) / FLOW_RUN).read_bytes())
    return None


def forget_flow_run(plan: Plan) -> None:
    """Remove the note of a flow run that Prefect shows as ended."""
    with contextlib.suppress(OSError):
        (folder_of(plan) / FLOW_RUN).unlink()


def _writes_the_same(one: Plan, other: Plan) -> bool:
    is_same = (one.exp_name, one.output_subdir) == (other.exp_name, other.output_subdir)
    return is_same and one.roots.results_root == other.roots.results_root


def _claimed(plan: Plan) -> AbstractContextManager[Claim]:
    """Return `claimed` for a plan's flow; the job of a former holder is known to have ended."""
    holder = holder_of(folder_of(plan))
    job_id = holder.slurm_job_id if holder else ""
    ended = EndedJob(job_id, SILENT_AFTER_S) if job_id else None
    return claimed(
        folder_of(plan), os.getpid(), SILENT_AFTER_S + 1, ended, stale_after_s=STALE_AFTER_S
    )


def _living_holder(plan: Plan, queued: Collection[str] | None) -> Holder | None:
    """Return the living process that has a plan's flow; raises RecordError."""
    holder = holder_of(folder_of(plan))
    ended = _ended_job(holder, queued) if holder else None
    return holder_of(folder_of(plan), ended) if ended else holder


def _ended_job(holder: Holder, queued: Collection[str] | None) -> EndedJob | None:
    """Return the job that a flow ran in where it has ended, or has been requeued as this one."""
    ended = _has_ended(holder, queued)
    return EndedJob(holder.slurm_job_id, SILENT_AFTER_S) if ended else None


def _has_ended(holder: Holder, queued: Collection[str] | None) -> bool:
    """Return whether a flow had a job that has ended, or has been requeued as this one."""
    job_id = holder.slurm_job_id
    is_own_former = job_id == own_job_id() and is_started_again()
    return bool(job_id) and (is_own_former or (queued is not None and job_id not in queued))


def _is_known_to_live(holder: Holder) -> bool:
    """Return whether a living holder is more than not yet silent: its host or Slurm says so."""
    return holder.process.is_of_this_host() or bool(holder.slurm_job_id)


@contextmanager
def _heartbeats(claims: Sequence[Claim]) -> Iterator[None]:
    over = threading.Event()

    def show_life() -> None:
        while not over.wait(HEARTBEAT_EVERY_S):
            for claim in claims:
                _heartbeat(claim)

    thread = threading.Thread(target=show_life, name="flow-claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_S)


def _heartbeat(claim: Claim) -> None:
    """Show that this process lives; end it where another flow has taken over all that it had."""
    try:
        claim.heartbeat()
    except ClaimLostError as error:
        with contextlib.suppress(OSError):
            if not numbered(claim.path.parent):
                return  # somebody has removed the folder
        say(f"this flow was taken for dead and ends, another one goes on: {error}", sys.stderr)
        os._exit(FAILED)  # as kill -9 would: nothing here is this flow's any more
