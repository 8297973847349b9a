"""One task of an array job: train one scene of the plan, supervising the trainer in this process.

`python -m training.jobs.array_task PLAN OFFSET`. The scene is the one at index OFFSET +
SLURM_ARRAY_TASK_ID among the plan's scenes to run, whatever has been added to the registry since.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from preprocess.faults import FaultsError, counted
from training.execution.attempt import ending_bound_s, run_attempt
from training.execution.prepare_gpu import prepare_gpu
from training.execution.prepare_rasterizer import compile_rasterizer
from training.execution.trainer_process import STOP_SIGNALS, block_signals
from training.jobs.begun_jobs import note_begun
from training.jobs.reconcile import reconcile_previous_run
from training.jobs.sbatch_commands import slurm_of
from training.plan.experiments import PlanFileError, read_plan
from training.plan.model import Plan, ScenePlan
from training.plan.plan_file import read_scene_to_run
from training.plan.slurm_plan import START_S
from training.records.outcome import Outcome
from training.records.record import RecordError, read_record
from training.records.retry_policy import ELSEWHERE, should_retry
from training.records.scene_state import attempts_since, has_failed_since
from training.slurm import client
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.gpus import visible_gpus
from training.system.job_environment import is_started_again, own_job_id

COMPILE_TIMEOUT_S = START_S / 2
"""For the rasterizer, of the seconds that a job has before its trainer starts."""
REQUEUE_TIMEOUT_S = 60
"""Slurm ends the run of a job that it requeues, within this time."""


def main(argv: list[str]) -> int:
    """Train the task's scene; return exit status 0 only if it is done."""
    block_signals()
    started = time.monotonic()
    job_ends = started - START_S
    plan_file = Path(argv[0])
    number = int(argv[1]) + int(os.environ["SLURM_ARRAY_TASK_ID"])
    try:
        plan = read_scene_to_run(plan_file, number)
    except PlanFileError as error:
        say(str(error))
        return FAILED
    note_begun(plan)
    (scene,) = plan.scenes
    job_ends += slurm_of(plan).time_s
    if reason := _reason_not_to_start(plan, scene):
        say(f"{scene.name}: not started, {reason}")
        return FAILED
    if is_started_again():
        reconcile_previous_run(scene, own_job_id())
    compile_rasterizer(plan, COMPILE_TIMEOUT_S)
    _prepare_gpu(plan)
    if time.monotonic() - started > START_S and _requeue_for_whole_time(scene):
        return FAILED
    outcome = _run_with_retries(plan, scene, job_ends)
    say(f"{outcome}, log {outcome.log}")
    if outcome.status == "failed" and plan.max_failures:
        _mark_enough_failures(read_plan(plan_file))
    return DONE if outcome.status == "done" else FAILED


def _prepare_gpu(plan: Plan) -> None:
    """Have the first job of all compile what training on a GPU needs; the others wait for it.

    Says what is wrong and goes on: the scene's own attempt then ends by it and records it.
    """
    if visible_gpus():
        try:
            prepare_gpu(plan)
        except FaultsError as error:
            say(f"{error}")


def _requeue_for_whole_time(scene: ScenePlan) -> bool:
    """Requeue this task once, since compiling has taken of the scene's time; return whether it was.

    What was compiled is kept, so the next run of the job starts the trainer in time.
    """
    if is_started_again():
        return False
    say(f"{scene.name}: requeued before its start, since compiling has taken of the job's time")
    try:
        client.requeue(own_job_id())
    except client.SlurmError as error:
        say(f"{scene.name}: started all the same: {error}")
        return False
    signal.sigtimedwait(STOP_SIGNALS, REQUEUE_TIMEOUT_S)
    return True


def _reason_not_to_start(plan: Plan, scene: ScenePlan) -> str:
    if plan.cancelled.exists():
        return "the experiment was cancelled"
    if plan.enough_failures.exists():
        return f"{counted(plan.max_failures, 'scene')} failed (--max-failures)"
    if _attempts(plan, scene) > plan.max_retries:  # Slurm requeues a job without limit
        return f"started {plan.max_retries + 1} times already (--max-retries)"
    if plan.stage and (missing := _not_made(scene)):
        return f"{missing} is not done, which stage {' and '.join(plan.stage.after)} makes"
    return ""


def _not_made(scene: ScenePlan) -> str:
    """Return an output folder that a stage of a loop uses and that is not done; empty without one.

    A job's dependency proves nothing: Slurm takes a job that it has forgotten for a success.
    """
    with contextlib.suppress(RecordError):
        records = {folder: read_record(folder) for folder in scene.made_from}
        missing = (folder for folder, each in records.items() if not each or each.status != "done")
        return str(next(missing, ""))
    return "one of them"


def _attempts(plan: Plan, scene: ScenePlan) -> int:
    """Return the number of attempts since the plan was made, in whichever job.

    0 for a record that can't be read: the next attempt ends with that as its message.
    """
    try:
        return attempts_since(read_record(scene.output), plan.created)
    except RecordError:
        return 0


def _run_with_retries(plan: Plan, scene: ScenePlan, job_ends: float) -> Outcome:
    """Run attempts while the retry policy says so, and requeue the job when its time is too short.

    `job_ends`: when Slurm ends this job, by `time.monotonic()`. Returns the last outcome.
    """
    while True:
        outcome = run_attempt(scene, os.getpid())
        if not _should_retry_here(plan, scene, outcome):
            return outcome
        if time.monotonic() + scene.time_limit_s + ending_bound_s(scene) > job_ends:
            return _requeue(outcome)
        say(f"{outcome}: started again")


def _should_retry_here(plan: Plan, scene: ScenePlan, outcome: Outcome) -> bool:
    """Return whether this job starts the scene again; not while Slurm is ending the job."""
    if outcome.cause in ELSEWHERE or signal.sigpending() & STOP_SIGNALS:
        return False
    return should_retry(outcome, _attempts(plan, scene), plan.max_retries)


def _requeue(outcome: Outcome) -> Outcome:
    """Requeue this task, so that it gets its whole time again; this run of the job ends."""
    say(f"{outcome}: requeued, since another attempt does not fit into the rest of this job's time")
    try:
        client.requeue(own_job_id())
    except client.SlurmError as error:
        message = f"{outcome.message}; it can't be requeued: {error}"
        return outcome.model_copy(update={"message": message})
    signal.sigtimedwait(STOP_SIGNALS, REQUEUE_TIMEOUT_S)
    return outcome


def _mark_enough_failures(plan: Plan) -> None:
    """Leave the mark that keeps further tasks from starting, once --max-failures is reached."""
    if _failures(plan) >= plan.max_failures:
        plan.enough_failures.touch()


def _failures(plan: Plan) -> int:
    return sum(_has_failed(plan, scene) for scene in plan.of("run"))


def _has_failed(plan: Plan, scene: ScenePlan) -> bool:
    """Return whether an attempt since the plan was made has failed; a broken record counts."""
    try:
        return has_failed_since(read_record(scene.output), plan.created)
    except RecordError:
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
