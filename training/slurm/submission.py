"""`--submit`: the scenes as array jobs and the aggregate behind them, to submit and leave."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from training import local
from training.display import say
from training.options import LaunchOptions
from training.plan import Plan, ScenePlan, render
from training.planning import decide
from training.run import DONE, FAILED, INTERRUPTED, header
from training.slurm import client, jobs
from training.slurm.formats import QueuedJob
from training.slurm.kept import discard, keep_scripts
from training.slurm.queued import StageJob, scenes_queued, stage_jobs
from training.slurm.script import parse
from training.slurm.settle import settle_all

NOT_NOW = "Requested node configuration is not available"


@dataclass(frozen=True)
class Submission:
    """What one `--submit` gives to Slurm."""

    plan: Plan
    parts: tuple[jobs.ArrayPart, ...]
    waits_for: tuple[str, ...] = ()
    """Jobs of earlier submissions that hold scenes of this plan."""
    outlives: tuple[str, ...] = ()
    """Jobs of a flow that do: how they end says nothing."""
    aggregated_by: str = ""
    """The job that aggregates the experiment already, when nothing else is left to submit."""

    @property
    def has_aggregate(self) -> bool:
        """Whether an aggregate job is submitted."""
        return self.plan.aggregate is not None and not self.aggregated_by

    def array(self, part: jobs.ArrayPart, former: str) -> list[str]:
        """The command line of one array; `former` is the job of the part before."""
        waits = jobs.waits_for_former(self.plan) and former
        return jobs.array_job(self.plan, part, after=former if waits else "")

    def aggregate(self, arrays: Iterable[str]) -> list[str]:
        """The command line of the aggregate behind these arrays."""
        return jobs.aggregate_job(self.plan, [*arrays, *self.waits_for], self.outlives)


def preview(plan: Plan) -> str:
    """The plan and the sbatch command lines that submit it; works without Slurm."""
    try:
        submission = _submission(plan, client.my_jobs(), client.max_array_size())
    except client.SlurmError:
        submission = _submission(plan, (), jobs.MAX_ARRAY_SIZE)
    former, lines = "", []
    for part in submission.parts:
        lines.append(shlex.join(submission.array(part, former)))
        former = jobs.ARRAY_JOB
    if submission.has_aggregate:
        lines.append(shlex.join(submission.aggregate([jobs.ARRAY_JOB] * len(submission.parts))))
    return "\n".join([render(submission.plan), "", *lines])


def submit(options: LaunchOptions, plan: Plan) -> int:
    """Submit a plan and leave; exit status 0 when all that was left is in the queue.

    Raises FaultsError for what Slurm refuses, before anything has been created.
    """
    try:
        queue = client.my_jobs()
        settled = _settled(plan, queue)
        submission = _submission(settled, queue, client.max_array_size())
        doubts = _try_out(submission)
    except client.SlurmRefusedError as error:
        raise FaultsError([_refusal(plan, error)]) from error
    except client.SlurmError as error:
        say(f"nothing was submitted: {error}", sys.stderr)
        return FAILED
    say("\n".join([*filter(None, [header(submission.plan)]), *doubts, _summary(submission)]))
    if not submission.parts and not submission.has_aggregate:
        return DONE
    if not options.yes and not _confirmed():
        say("nothing was submitted")
        return INTERRUPTED
    keep_scripts(submission.plan)
    local.start(submission.plan)
    return _submit(options, submission)


def _settled(plan: Plan, queue: Iterable[QueuedJob]) -> Plan:
    """The plan after Slurm has said how jobs ended whose scenes nobody has looked at since."""
    open_scenes = [scene for scene in plan.scenes if scene.action != "skip"]
    queued = {job.job_id for job in queue}
    if not settle_all((scene.output for scene in open_scenes), queued):
        return plan
    return plan.model_copy(update={"scenes": tuple(map(_decided_again, plan.scenes))})


def _decided_again(scene: ScenePlan) -> ScenePlan:
    action, reason = decide(scene)
    return scene.model_copy(update={"action": action, "reason": reason})


def _submission(plan: Plan, queue: Iterable[QueuedJob], max_array_size: int) -> Submission:
    """What is left to submit: scenes that a job of this experiment has already are held."""
    ours = stage_jobs(queue, plan)
    arrays = scenes_queued(job for job in ours if job.stage == "array")
    flows = scenes_queued(job for job in ours if job.stage == "worker")
    holders = {**flows, **arrays}
    left = plan.model_copy(update={"scenes": tuple(_held(s, holders) for s in plan.scenes)})
    held = [scene.name for scene in left.of("held")]
    return Submission(
        plan=left,
        parts=jobs.array_parts(len(left.of("run")), max_array_size),
        waits_for=_ids(arrays[name] for name in held if name in arrays),
        outlives=_ids(flows[name] for name in held if name in flows and name not in arrays),
        aggregated_by="" if left.of("run") else _aggregate_of(ours),
    )


def _held(scene: ScenePlan, holders: dict[str, QueuedJob]) -> ScenePlan:
    job = holders.get(scene.name)
    if scene.action == "skip" or job is None:
        return scene
    # The array's id: with its tasks' own ids a thousand scenes would be a thousand lines.
    reason = f"{job.state.lower()} in Slurm job {job.array_job_id}"
    return scene.model_copy(update={"action": "held", "reason": reason})


def _ids(queue: Iterable[QueuedJob]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(job.job_id for job in queue))


def _aggregate_of(ours: Iterable[StageJob]) -> str:
    return next((each.job.job_id for each in ours if each.stage == "aggregate"), "")


def _try_out(submission: Submission) -> list[str]:
    """Have Slurm say what it would refuse, of scripts that are not kept yet; warnings.

    Raises SlurmRefusedError.
    """
    plan, slurm = submission.plan, jobs.slurm_of(submission.plan)
    commands = [jobs.array_job(plan, part) for part in submission.parts[:1]]
    commands += [jobs.aggregate_job(plan, ())] if submission.has_aggregate else []
    with tempfile.TemporaryDirectory() as folder:
        script, light_script = Path(folder, "scenes.slurm"), Path(folder, "aggregate.slurm")
        script.write_text(slurm.script_text, encoding="utf-8")
        light_script.write_text(slurm.light_script_text, encoding="utf-8")
        instead = {plan.script: script, plan.light_script: light_script}
        return [doubt for each in commands if (doubt := _doubt(jobs.with_files(each, instead)))]


def _doubt(command: list[str]) -> str:
    try:
        client.test_only(command)
    except client.SlurmRefusedError as error:
        if NOT_NOW not in error.words:
            raise
        # Said of what no node can ever hold, but also while all are down: sbatch itself knows.
        job = next(word for word in command if word.startswith("--job-name="))
        return f"warning: no node can start {job.partition('=')[2]} now ({error.words})"
    return ""


def _refusal(plan: Plan, error: client.SlurmRefusedError) -> Fault:
    """Slurm's words and the line of the script that they are about."""
    slurm = jobs.slurm_of(plan)
    about = [each for each in parse(slurm.script_text)[0] if f"--{each.name}" == error.directive]
    where = f"{slurm.script}:{about[-1].words[0].line}" if about else str(slurm.script)
    value = f"{error.directive}={about[-1].value}" if about else error.directive
    remedy = f"correct {where}, or name another script with --slurm.slurm-script"
    return Fault(str(error), value, remedy)


def _summary(submission: Submission) -> str:
    plan, slurm = submission.plan, jobs.slurm_of(submission.plan)
    if submission.aggregated_by:
        return f"nothing is left to submit: job {submission.aggregated_by} aggregates"
    count = len(plan.of("run"))
    if not count and not submission.has_aggregate:
        return "nothing is left to submit"
    bound = f", at most {slurm.parallelism} at once" if slurm.parallelism < count else ""
    time = jobs.slurm_time(slurm.time_s)
    array = f"array {slurm.job_name}: {count} scenes{bound}, {time} each" if count else "no scene"
    aggregate = f"; aggregate {plan.aggregate.job_name}" if plan.aggregate else "; no aggregate"
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
        for part in submission.parts:
            command = submission.array(part, arrays[-1] if arrays else "")
            arrays.append(client.submit(command))
            say(f"submitted: array job {arrays[-1]}, {part.count} scenes")
        if submission.has_aggregate:
            command = submission.aggregate(arrays)
            say(f"submitted: aggregate job {client.submit(command)}")
    except client.SlurmError as error:
        if not arrays and submission.parts and isinstance(error, client.SlurmRefusedError):
            discard(submission.plan)
            raise FaultsError([_refusal(submission.plan, error)]) from error
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
