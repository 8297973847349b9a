"""One task of an array job: it trains one scene of the plan, and supervises the trainer itself.

`python -m training.jobs.array_task PLAN OFFSET`: the scene is the plan's OFFSET +
SLURM_ARRAY_TASK_ID-th of those that are to run, whatever has been added to the registry since.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from training.execution.attempt import run_attempt
from training.execution.trainer_process import ASKED, block_signals
from training.jobs.reconcile import reconcile_former_run
from training.jobs.sbatch_commands import slurm_of
from training.plan.model import ENDING_SLACK_S, Plan, ScenePlan
from training.plan.slurm_plan import START_S
from training.records.outcome import Outcome
from training.records.record import RecordError, read_record
from training.records.retry_policy import ELSEWHERE, should_retry
from training.slurm import client
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.job_environment import is_started_again, own_job_id

REQUEUED_WITHIN_S = 60
"""Slurm ends a job that it queues again; so long it may take."""


def main(argv: list[str]) -> int:
    """Train the task's scene; exit status 0 only if it is done."""
    block_signals()
    job_ends = time.monotonic() - START_S
    plan = Plan.model_validate_json(Path(argv[0]).read_bytes())
    scene = plan.of("run")[int(argv[1]) + int(os.environ["SLURM_ARRAY_TASK_ID"])]
    job_ends += slurm_of(plan).time_s
    if reason := _reason_not_to_start(plan, scene):
        say(f"{scene.name}: not started, {reason}")
        return FAILED
    if is_started_again():
        reconcile_former_run(scene, own_job_id())
    outcome = _to_the_end(plan, scene, job_ends)
    say(f"{outcome}, log {outcome.log}")
    if outcome.status == "failed":
        _note_failures(plan)
    return DONE if outcome.status == "done" else FAILED


def _reason_not_to_start(plan: Plan, scene: ScenePlan) -> str:
    if plan.cancelled.exists():
        return "the experiment was cancelled"
    if plan.enough_failures.exists():
        return f"{plan.max_failures} scenes have failed (--max-failures)"
    if attempts_since_plan(plan, scene) > plan.max_retries:  # Slurm queues again without end
        return f"started {plan.max_retries + 1} times already (--max-retries)"
    return ""


def attempts_since_plan(plan: Plan, scene: ScenePlan) -> int:
    """How often a scene has started since its plan was made, in whichever job."""
    try:
        record = read_record(scene.output)
    except RecordError:
        return 0
    attempts = record.attempts if record else ()
    return sum(attempt.start >= plan.created for attempt in attempts)


def _to_the_end(plan: Plan, scene: ScenePlan, job_ends: float) -> Outcome:
    """One scene with the starts that its causes allow, in this job or, queued again, in a later."""
    while True:
        outcome = run_attempt(scene, os.getpid())
        if not _again(plan, scene, outcome):
            return outcome
        if time.monotonic() + scene.time_limit_s + scene.kill_grace_s + ENDING_SLACK_S > job_ends:
            return _queued_again(outcome)
        say(f"{outcome}: goes on")


def _again(plan: Plan, scene: ScenePlan, outcome: Outcome) -> bool:
    """Whether to start again; never where Slurm is ending this job: that is Slurm's to decide."""
    cause = outcome.cause
    if cause is None or cause in ELSEWHERE or signal.sigpending() & ASKED:
        return False
    return should_retry(
        cause, attempts_since_plan(plan, scene), plan.max_retries, outcome.has_checkpoint
    )


def _queued_again(outcome: Outcome) -> Outcome:
    """Have Slurm start this task again, with its whole time; it ends this run of it."""
    say(f"{outcome}: the rest of this job's time can't hold it, queued again")
    try:
        client.requeue(own_job_id())
    except client.SlurmError as error:
        message = f"{outcome.message}; it can't be queued again: {error}"
        return outcome.model_copy(update={"message": message})
    signal.sigtimedwait(ASKED, REQUEUED_WITHIN_S)
    return outcome


def _note_failures(plan: Plan) -> None:
    """Leave the mark that keeps further tasks from starting, once --max-failures is reached."""
    if plan.max_failures and _failures(plan) >= plan.max_failures:
        plan.enough_failures.touch()


def _failures(plan: Plan) -> int:
    return sum(_has_failed(plan, scene) for scene in plan.of("run"))


def _has_failed(plan: Plan, scene: ScenePlan) -> bool:
    """Whether a start since the plan was made has failed."""
    try:
        record = read_record(scene.output)
    except RecordError:
        return True
    return record is not None and record.status == "failed" and attempts_since_plan(plan, scene) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
