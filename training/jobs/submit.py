"""`--submit`: submit the scenes as array jobs and the aggregate behind them, then leave."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from preprocess.faults import FaultsError, counted
from training.display.plan_text import overview, render
from training.execution import local
from training.jobs import sbatch_commands
from training.jobs.array_chunks import ArrayChunk, array_chunks, dealt
from training.jobs.current_plan import hold_queued, reconcile_plan
from training.jobs.experiment_jobs import (
    FLOW_STAGES,
    StageJob,
    jobs_by_scene,
    jobs_with_same_outputs,
)
from training.jobs.job_chain import JobChain, Submission
from training.jobs.kept_scripts import discard_plan, keep_scripts
from training.jobs.sbatch_check import refusal_fault, with_nodes_left
from training.plan.loop import with_remade
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.slurm import client
from training.slurm.parsers import QueuedJob
from training.slurm.times import slurm_time
from training.system.atomic_write import write_atomically
from training.system.console import is_terminal, say
from training.system.exit_status import DONE, FAILED, INTERRUPTED
from training.system.typed_command import spelled
from training.system.waiting import awaited


def preview(plans: Sequence[Plan]) -> str:
    """Return plans and the sbatch command lines that would submit them; works without Slurm."""
    try:
        queue, size = client.my_jobs(), client.max_array_size()
    except client.SlurmError:
        queue, size = [], client.DEFAULT_ARRAY_SIZE
    submissions = [_submission(plan, queue, size) for plan in plans]
    lines: list[str] = []

    def write_down(command: list[str]) -> str:
        lines.append(shlex.join(command))
        return "<array_job_id>" if not plans[1:] else f"<{client.job_name_of(command)}>"

    chain, parts = JobChain(write_down, submissions), []
    for submission in submissions:
        lines.clear()
        chain.submit(submission)
        parts.append("\n".join([render([submission.plan]), "", *lines]))
    return "\n\n".join(parts)


def submit(options: LaunchOptions, plans: Sequence[Plan]) -> int:
    """Submit what is left of plans; return exit status 0 when all of it is in the queue.

    Raises FaultsError for what Slurm refuses; nothing has been created then.
    """
    warnings, plan = dict[str, None](), plans[0]
    try:
        with awaited("Slurm says what it has queued (squeue)"):
            queue, size = client.my_jobs(), client.max_array_size()
        plans = with_remade([reconcile_plan(plan, queue) for plan in plans])
        submissions = [_submission(plan, queue, size) for plan in plans]
        for number, each in enumerate(submissions):
            plan = each.plan
            with awaited("Slurm checks the jobs (sbatch --test-only)"):
                usable, checked = with_nodes_left(plan, partial(_first_of_each_kind, each))
            submissions[number] = replace(each, plan=usable)
            warnings |= dict.fromkeys(checked)
    except client.SlurmRefusedError as error:
        raise FaultsError([refusal_fault(plan, error)]) from error
    except client.SlurmError as error:
        say(f"nothing was submitted: {error}", sys.stderr)
        return FAILED
    head = overview([each.plan for each in submissions])
    say("\n".join(filter(None, [head, *warnings, *map(_summary, submissions)])))
    if all(each.is_empty for each in submissions):
        return DONE
    if not options.yes and not _confirmed():
        say("nothing was submitted")
        return INTERRUPTED
    for each in submissions:
        if not each.is_empty:
            keep_scripts(each.plan)
    local.prepare_launch([each.plan for each in submissions])
    return _submit(options, submissions)


def _submission(plan: Plan, queue: Iterable[QueuedJob], max_array_size: int) -> Submission:
    """Return what is left to submit: scenes that a job of the experiment has already are held."""
    jobs = jobs_with_same_outputs(queue, plan)
    arrays = jobs_by_scene(job for job in jobs if job.stage == "array")
    flows = jobs_by_scene(job for job in jobs if job.stage in FLOW_STAGES)
    left = dealt(hold_queued(plan, {**flows, **arrays}), max_array_size)
    held, slurm = [scene.name for scene in left.of("held")], sbatch_commands.slurm_of(left)
    return Submission(
        plan=left,
        chunks=array_chunks(len(left.of("run")), max_array_size, slurm.parallelism),
        waits_for=_ids(arrays[name] for name in held if name in arrays),
        outlives=_ids(flows[name] for name in held if name in flows and name not in arrays),
        aggregated_by="" if left.of("run") else _aggregate_of(jobs),
        stuck=_ids(each.job for each in jobs if each.job.can_never_start),
    )


def _first_of_each_kind(submission: Submission, plan: Plan) -> list[list[str]]:
    commands = [sbatch_commands.array_job(plan, chunk) for chunk in submission.chunks[:1]]
    return commands + (
        [sbatch_commands.aggregate_job(plan, ())] if submission.has_aggregate else []
    )


def _ids(jobs: Iterable[QueuedJob]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(job.job_id for job in jobs))


def _aggregate_of(jobs: Iterable[StageJob]) -> str:
    """Return the id of the queued job that aggregates the experiment; empty if none ever will."""
    found = (each.job for each in jobs if each.stage == "aggregate")
    return next((job.job_id for job in found if not job.can_never_start), "")


def _summary(submission: Submission) -> str:
    plan, slurm = submission.plan, sbatch_commands.slurm_of(submission.plan)
    if submission.aggregated_by:
        return f"nothing is left to submit: job {submission.aggregated_by} aggregates"
    count = len(plan.of("run"))
    if not count and not submission.has_aggregate:
        return "nothing is left to submit"
    bound = f", at most {slurm.parallelism} at once" if slurm.parallelism < count else ""
    time = slurm_time(slurm.time_s)
    scenes = f"{counted(count, 'scene')}{bound}, {time} each"
    parts = f", in {len(submission.chunks)} arrays" if submission.chunks[1:] else ""
    array = f"array {slurm.job_name}: {scenes}{parts}" if count else "no scene"
    name = plan.aggregate.job_name if plan.aggregate and submission.has_aggregate else ""
    aggregate = f"; aggregate {name}" if name else ""
    return f"to submit with {slurm.script}: {array}{aggregate}"


def _confirmed() -> bool:
    """Ask whether to submit; without a terminal there is nobody to ask, and the answer is yes."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return True
    try:
        answer = input("Submit? [Y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in {"", "y", "yes"}


def _submit(options: LaunchOptions, submissions: Sequence[Submission]) -> int:
    chain = JobChain(client.submit, submissions, _sent)
    try:
        client.cancel({job_id for each in submissions for job_id in each.stuck})
        for submission in submissions:
            with awaited("Slurm takes the jobs (sbatch)"):
                chain.submit(submission)
    except client.SlurmError as error:
        if not chain.has_jobs and isinstance(error, client.SlurmRefusedError):
            for each in submissions:
                discard_plan(each.plan)
            raise FaultsError([refusal_fault(submission.plan, error)]) from error
        say(_incomplete(str(error), chain.arrays, chain.command), sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        say(_incomplete("interrupted", chain.arrays, chain.command), sys.stderr)
        return INTERRUPTED
    say(_next_commands(options))
    return DONE


def _sent(plan: Plan, job_id: str, chunk: ArrayChunk | None) -> None:
    if chunk:
        name = f" of stage {plan.stage.name}" if plan.stage else ""
        say(f"submitted: array job {job_id}{name}, {counted(chunk.count, 'scene')}")
        return
    say(f"submitted: aggregate job {job_id}")
    with contextlib.suppress(OSError):  # then --status knows less of its end
        write_atomically(plan.aggregate_job, f"{job_id}\n")


def _incomplete(reason: str, arrays: list[str], command: list[str]) -> str:
    stays = f"array jobs {', '.join(arrays)} stay queued; " if arrays else ""
    remedy = "run the same command again to submit what is left, or by hand:"
    return f"not submitted: {reason}\n{stays}{remedy}\n{shlex.join(command)}"


def _next_commands(options: LaunchOptions) -> str:
    """Return the command lines that watch, cancel and report this submission, in its folders."""
    same = ["--exp-name", options.exp_name]
    for root in ("results_root", "state_root"):
        if value := getattr(options, root):
            same += ["--" + root.replace("_", "-"), value]
    again = shlex.join(same)
    lines = {
        "watch": f"{spelled('status')} --watch",
        "cancel": spelled("cancel"),
        "report, at the end": spelled("report"),
    }
    return "\n".join(f"{what}: {command} {again}" for what, command in lines.items())
