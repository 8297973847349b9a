"""`--submit`: the scenes as array jobs and the aggregate behind them, to submit and leave."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from preprocess.faults import FaultsError
from training.display.plan_text import header, render
from training.execution import local
from training.jobs import sbatch_commands
from training.jobs.current_plan import reconciled, with_held
from training.jobs.experiment_jobs import StageJob, scenes_queued, stage_jobs
from training.jobs.kept_scripts import discard, keep_scripts
from training.jobs.sbatch_check import check_with_sbatch, refusal
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.slurm import client
from training.slurm.parsers import QueuedJob
from training.slurm.times import slurm_time
from training.system.console import say
from training.system.exit_status import DONE, FAILED, INTERRUPTED


@dataclass(frozen=True)
class Submission:
    """What one `--submit` gives to Slurm."""

    plan: Plan
    chunks: tuple[sbatch_commands.ArrayChunk, ...]
    waits_for: tuple[str, ...] = ()
    """Jobs of earlier submissions that hold scenes of this plan."""
    outlives: tuple[str, ...] = ()
    """Jobs of a flow that do: how they end says nothing."""
    aggregated_by: str = ""
    """The job that aggregates the experiment already, when nothing else is left to submit."""

    @property
    def has_aggregate(self) -> bool:
        """Whether an aggregate job is submitted: where scenes' outputs are to be merged.

        A plain summary is not worth a job; `--status` and the flow give it.
        """
        aggregate = self.plan.aggregate
        return aggregate is not None and bool(aggregate.command) and not self.aggregated_by

    def array(self, chunk: sbatch_commands.ArrayChunk, former: str) -> list[str]:
        """The command line of one array; `former` is the job of the part before."""
        waits = sbatch_commands.waits_for_former(self.plan) and former
        return sbatch_commands.array_job(self.plan, chunk, after=former if waits else "")

    def aggregate(self, arrays: Iterable[str]) -> list[str]:
        """The command line of the aggregate behind these arrays."""
        return sbatch_commands.aggregate_job(self.plan, [*arrays, *self.waits_for], self.outlives)


def preview(plan: Plan) -> str:
    """The plan and the sbatch command lines that submit it; works without Slurm."""
    try:
        submission = _submission(plan, client.my_jobs(), client.max_array_size())
    except client.SlurmError:
        submission = _submission(plan, (), sbatch_commands.MAX_ARRAY_SIZE)
    former, lines = "", []
    for chunk in submission.chunks:
        lines.append(shlex.join(submission.array(chunk, former)))
        former = sbatch_commands.ARRAY_JOB
    if submission.has_aggregate:
        lines.append(
            shlex.join(submission.aggregate([sbatch_commands.ARRAY_JOB] * len(submission.chunks)))
        )
    return "\n".join([render(submission.plan), "", *lines])


def submit(options: LaunchOptions, plan: Plan) -> int:
    """Submit a plan and leave; exit status 0 when all that was left is in the queue.

    Raises FaultsError for what Slurm refuses, before anything has been created.
    """
    try:
        queue = client.my_jobs()
        submission = _submission(reconciled(plan, queue), queue, client.max_array_size())
        warnings = check_with_sbatch(submission.plan, _first_of_each_kind(submission))
    except client.SlurmRefusedError as error:
        raise FaultsError([refusal(plan, error)]) from error
    except client.SlurmError as error:
        say(f"nothing was submitted: {error}", sys.stderr)
        return FAILED
    say("\n".join([*filter(None, [header(submission.plan)]), *warnings, _summary(submission)]))
    if not submission.chunks and not submission.has_aggregate:
        return DONE
    if not options.yes and not _confirmed():
        say("nothing was submitted")
        return INTERRUPTED
    keep_scripts(submission.plan)
    local.start(submission.plan)
    return _submit(options, submission)


def _submission(plan: Plan, queue: Iterable[QueuedJob], max_array_size: int) -> Submission:
    """What is left to submit: scenes that a job of this experiment has already are held."""
    ours = stage_jobs(queue, plan)
    arrays = scenes_queued(job for job in ours if job.stage == "array")
    flows = scenes_queued(job for job in ours if job.stage == "worker")
    left = with_held(plan, {**flows, **arrays})
    held = [scene.name for scene in left.of("held")]
    return Submission(
        plan=left,
        chunks=sbatch_commands.array_chunks(len(left.of("run")), max_array_size),
        waits_for=_ids(arrays[name] for name in held if name in arrays),
        outlives=_ids(flows[name] for name in held if name in flows and name not in arrays),
        aggregated_by="" if left.of("run") else _aggregate_of(ours),
    )


def _first_of_each_kind(submission: Submission) -> list[list[str]]:
    plan = submission.plan
    commands = [sbatch_commands.array_job(plan, chunk) for chunk in submission.chunks[:1]]
    return commands + (
        [sbatch_commands.aggregate_job(plan, ())] if submission.has_aggregate else []
    )


def _ids(queue: Iterable[QueuedJob]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(job.job_id for job in queue))


def _aggregate_of(ours: Iterable[StageJob]) -> str:
    return next((each.job.job_id for each in ours if each.stage == "aggregate"), "")


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
    """Ask a terminal; whoever is none is not asked."""
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
            say(f"submitted: aggregate job {client.submit(command)}")
    except client.SlurmError as error:
        if not arrays and submission.chunks and isinstance(error, client.SlurmRefusedError):
            discard(submission.plan)
            raise FaultsError([refusal(submission.plan, error)]) from error
        say(_incomplete(str(error), arrays, command), sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        say(_incomplete("interrupted", arrays, command), sys.stderr)
        return INTERRUPTED
    say(_farewell(options))
    return DONE


def _incomplete(why: str, arrays: list[str], command: list[str]) -> str:
    stays = f"array jobs {', '.join(arrays)} stay; " if arrays else ""
    remedy = "the same command again submits what is left, or by hand:"
    return f"not submitted: {why}\n{stays}{remedy}\n{shlex.join(command)}"


def _farewell(options: LaunchOptions) -> str:
    """How to go on from here, with the same folders."""
    same = ["--exp-name", options.exp_name]
    for root in ("results_root", "state_root"):
        if value := getattr(options, root):
            same += ["--" + root.replace("_", "-"), value]
    words = {"watch": "--watch", "cancel": "--cancel"}
    lines = (
        f"{what}: {shlex.join(['python', 'training/run.py', flag, *same])}"
        for what, flag in words.items()
    )
    return "\n".join(lines)
