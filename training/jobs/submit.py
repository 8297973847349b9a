"""`--submit`: submit the scenes as array jobs and the aggregate behind them, then leave."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from preprocess.faults import FaultsError
from training.display.plan_text import header, render
from training.execution import local
from training.jobs import sbatch_commands
from training.jobs.current_plan import hold_queued, reconcile_plan
from training.jobs.experiment_jobs import StageJob, jobs_by_scene, jobs_of_experiment
from training.jobs.kept_scripts import discard_plan, keep_scripts
from training.jobs.sbatch_check import check_with_sbatch, refusal_fault
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.slurm import client
from training.slurm.parsers import QueuedJob
from training.slurm.times import slurm_time
from training.system.atomic_write import write_atomically
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED


@dataclass(frozen=True)
class Submission:
    """What one `--submit` submits."""

    plan: Plan
    chunks: tuple[sbatch_commands.ArrayChunk, ...]
    waits_for: tuple[str, ...] = ()
    """Array jobs of earlier submissions that have scenes of this plan; they must succeed."""
    outlives: tuple[str, ...] = ()
    """Jobs of a flow that have scenes of this plan; how they end says nothing about the scenes."""
    aggregated_by: str = ""
    """The queued job that aggregates the experiment, when no scene is left to submit."""

    @property
    def has_aggregate(self) -> bool:
        """Whether an aggregate job is submitted: only where the scenes' outputs are to be merged.

        A summary alone is not worth a job: `--status` and `python -m flows.report` give it.
        """
        aggregate = self.plan.aggregate
        return aggregate is not None and bool(aggregate.command) and not self.aggregated_by

    def array(self, chunk: sbatch_commands.ArrayChunk, previous: str) -> list[str]:
        """Return the command line of one array; `previous` is the job of the chunk before it."""
        waits = sbatch_commands.chunks_wait(self.plan)
        return sbatch_commands.array_job(self.plan, chunk, after=previous if waits else "")

    def aggregate(self, arrays: Iterable[str]) -> list[str]:
        """Return the command line of the aggregate behind these arrays."""
        return sbatch_commands.aggregate_job(self.plan, [*arrays, *self.waits_for], self.outlives)


def preview(plan: Plan) -> str:
    """Return the plan and the sbatch command lines that would submit it; works without Slurm."""
    try:
        submission = _submission(plan, client.my_jobs(), client.max_array_size())
    except client.SlurmError:
        submission = _submission(plan, (), sbatch_commands.MAX_ARRAY_SIZE)
    previous, lines = "", []
    for chunk in submission.chunks:
        lines.append(shlex.join(submission.array(chunk, previous)))
        previous = sbatch_commands.ARRAY_JOB
    if submission.has_aggregate:
        lines.append(
            shlex.join(submission.aggregate([sbatch_commands.ARRAY_JOB] * len(submission.chunks)))
        )
    return "\n".join([render(submission.plan), "", *lines])


def submit(options: LaunchOptions, plan: Plan) -> int:
    """Submit what is left of a plan; return exit status 0 when all of it is in the queue.

    Raises FaultsError for what Slurm refuses; nothing has been created then.
    """
    try:
        queue = client.my_jobs()
        submission = _submission(reconcile_plan(plan, queue), queue, client.max_array_size())
        warnings = check_with_sbatch(submission.plan, _first_of_each_kind(submission))
    except client.SlurmRefusedError as error:
        raise FaultsError([refusal_fault(plan, error)]) from error
    except client.SlurmError as error:
        say(f"nothing was submitted: {error}", sys.stderr)
        return FAILED
    head = [*filter(None, [header(submission.plan)]), *map(str, warnings)]
    say("\n".join([*head, _summary(submission)]))
    if not submission.chunks and not submission.has_aggregate:
        return DONE
    if not options.yes and not _confirmed():
        say("nothing was submitted")
        return INTERRUPTED
    keep_scripts(submission.plan)
    local.prepare_launch(submission.plan)
    return _submit(options, submission)


def _submission(plan: Plan, queue: Iterable[QueuedJob], max_array_size: int) -> Submission:
    """Return what is left to submit: scenes that a job of the experiment has already are held."""
    jobs = jobs_of_experiment(queue, plan)
    arrays = jobs_by_scene(job for job in jobs if job.stage == "array")
    flows = jobs_by_scene(job for job in jobs if job.stage == "worker")
    left = hold_queued(plan, {**flows, **arrays})
    held = [scene.name for scene in left.of("held")]
    return Submission(
        plan=left,
        chunks=sbatch_commands.array_chunks(len(left.of("run")), max_array_size),
        waits_for=_ids(arrays[name] for name in held if name in arrays),
        outlives=_ids(flows[name] for name in held if name in flows and name not in arrays),
        aggregated_by="" if left.of("run") else _aggregate_of(jobs),
    )


def _first_of_each_kind(submission: Submission) -> list[list[str]]:
    plan = submission.plan
    commands = [sbatch_commands.array_job(plan, chunk) for chunk in submission.chunks[:1]]
    return commands + (
        [sbatch_commands.aggregate_job(plan, ())] if submission.has_aggregate else []
    )


def _ids(jobs: Iterable[QueuedJob]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(job.job_id for job in jobs))


def _aggregate_of(jobs: Iterable[StageJob]) -> str:
    return next((each.job.job_id for each in jobs if each.stage == "aggregate"), "")


def _summary(submission: Submission) -> str:
    plan, slurm = submission.plan, sbatch_commands.slurm_of(submission.plan)
    if submission.aggregated_by:
        return f"nothing is left to submit: job {submission.aggregated_by} aggregates"
    count = len(plan.of("run"))
    if not count and not submission.has_aggregate:
        return "nothing is left to submit"
    bound = f", at most {slurm.parallelism} at once" if slurm.parallelism < count else ""
    time = slurm_time(slurm.time_s)
    array = f"array {slurm.job_name}: {count} scenes{bound}, {time} each" if count else "no scene"
    name = plan.aggregate.job_name if plan.aggregate and submission.has_aggregate else ""
    aggregate = f"; aggregate {name}" if name else ""
    return f"to submit with {slurm.script}: {array}{aggregate}"


def _confirmed() -> bool:
    """Ask whether to submit; without a terminal there is nobody to ask, and the answer is yes."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    try:
        answer = input("Submit? [Y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in {"", "y", "yes"}


def _submit(options: LaunchOptions, submission: Submission) -> int:
    arrays: list[str] = []
    command: list[str] = []
    try:
        for chunk in submission.chunks:
            command = submission.array(chunk, arrays[-1] if arrays else "")
            arrays.append(client.submit(command))
            say(f"submitted: array job {arrays[-1]}, {chunk.count} scenes")
        if submission.has_aggregate:
            command = submission.aggregate(arrays)
            job_id = client.submit(command)
            say(f"submitted: aggregate job {job_id}")
            with contextlib.suppress(OSError):  # then --status knows less of its end
                write_atomically(submission.plan.aggregate_job, f"{job_id}\n")
    except client.SlurmError as error:
        if not arrays and submission.chunks and isinstance(error, client.SlurmRefusedError):
            discard_plan(submission.plan)
            raise FaultsError([refusal_fault(submission.plan, error)]) from error
        say(_incomplete(str(error), arrays, command), sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        say(_incomplete("interrupted", arrays, command), sys.stderr)
        return INTERRUPTED
    say(_next_commands(options))
    return DONE


def _incomplete(reason: str, arrays: list[str], command: list[str]) -> str:
    stays = f"array jobs {', '.join(arrays)} stay queued; " if arrays else ""
    remedy = "run the same command again to submit what is left, or by hand:"
    return f"not submitted: {reason}\n{stays}{remedy}\n{shlex.join(command)}"


def _next_commands(options: LaunchOptions) -> str:
    """Return the command lines that watch and cancel this submission, with the same folders."""
    same = ["--exp-name", options.exp_name]
    for root in ("results_root", "state_root"):
        if value := getattr(options, root):
            same += ["--" + root.replace("_", "-"), value]
    lines = (
        f"{verb}: {shlex.join(['python', 'training/run.py', f'--{verb}', *same])}"
        for verb in ("watch", "cancel")
    )
    return "\n".join(lines)
