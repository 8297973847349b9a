"""Compose the exact sbatch command lines of a plan's jobs; pure functions.

Options on the command line win over the Slurm script's directives; its other directives hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from preprocess.roots import CHECKOUT
from training.jobs.array_chunks import ArrayChunk
from training.plan.model import Plan
from training.plan.slurm_model import SlurmPlan
from training.slurm.batch_script import names_nodes, parse, value_of
from training.slurm.times import slurm_time

PROBE_S = 300
"""Time limit of the probe's job."""
COMPILING_PROBE_S = 3600
"""The same where it may have to compile the trainer's CUDA code."""
ARCHITECTURES = "TORCH_CUDA_ARCH_LIST"
"""Variable by which PyTorch is told for which GPUs to compile, e.g. `8.0;9.0`."""
CONTROLLER = "_controller"
"""What the name of a controller's job ends with."""
CONTROLLER_MEMORY = "2G"
"""A flow of ten thousand scenes, a server of Prefect's, and the report's plots."""
CONTROLLER_NOTICE_S = 120
"""How long before its end a controller is told; Slurm may do so a minute earlier."""
ARRAY_LOG = r"-(?P<array>\d+)_(?:(?P<offset>\d+)\+)?(?P<task>\d+)\.out"
"""Regular expression for what follows the job's name in the file name of an array task's log."""


def array_job(
    plan: Plan, chunk: ArrayChunk, after_ok: Sequence[str] = (), after_any: Sequence[str] = ()
) -> list[str]:
    """Return the command line of one array behind these jobs.

    It is cancelled when one of `after_ok` fails, and starts however those of `after_any` end.
    """
    slurm = slurm_of(plan)
    at_once = chunk.at_once or slurm.parallelism
    bound = f"%{at_once}" if at_once < chunk.count else ""
    return [
        *_sbatch(plan, slurm.job_name, slurm.time_s, ids=f"%A_{_offset(chunk)}%a"),
        *sbatch_options(slurm.scene_options),
        f"--array=0-{chunk.count - 1}{bound}",
        "--requeue",
        *_dependency(after_ok, after_any),
        *_stage(plan.script, "array", plan, str(chunk.offset)),
    ]


def arrays_wait(plans: Sequence[Plan]) -> bool:
    """Return whether arrays wait for those before them, so that the parallelism bounds all."""
    return slurm_of(plans[0]).parallelism < sum(len(plan.of("run")) for plan in plans)


def aggregate_job(plan: Plan, after_ok: Sequence[str], after_any: Sequence[str] = ()) -> list[str]:
    """Return the command line of the aggregate behind these jobs.

    It is cancelled when one of `after_ok` fails, and starts however those of `after_any` end.
    Raises ValueError for a plan without an aggregate.
    """
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    return [
        *_sbatch(plan, plan.aggregate.job_name, plan.aggregate.time_limit_s),
        "--requeue",
        *_dependency(after_ok, after_any),
        *_stage(plan.light_script, "aggregate", plan),
    ]


def most_jobs(plan: Plan) -> int:
    """Return how many jobs a flow has at once at most, for as many scenes as may run at once."""
    return -(-slurm_of(plan).parallelism // plan.scenes_per_gpu)


def worker_time_s(plan: Plan) -> int:
    """Return the time of a flow's job: a scene's, as often as scenes follow each other in it."""
    slurm = slurm_of(plan)
    return slurm.time_s * -(-slurm.scenes_per_job // plan.scenes_per_gpu)


def worker_job(plan: Plan, name: str, exclude: Sequence[str] | None = None) -> list[str]:
    """Return the command line of a flow's worker of that name, on none of the `exclude` nodes.

    Where these are not given, on none of those that the plan excludes. Slurm never requeues it: the
    flow itself replaces workers that it lost.
    """
    slurm = slurm_of(plan)
    return [
        *_sbatch(plan, f"{slurm.job_name}-{name}", worker_time_s(plan), exclude),
        *sbatch_options(slurm.scene_options),
        "--no-requeue",
        *_stage(plan.script, "worker", plan, name),
    ]


def aggregate_worker_job(plan: Plan, name: str, exclude: Sequence[str] | None = None) -> list[str]:
    """Return the command line of a flow's worker for the aggregate: its own time limit, no GPU.

    `exclude` as in `worker_job`. Raises ValueError for a plan without an aggregate.
    """
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    return [
        *_sbatch(plan, plan.aggregate.job_name, plan.aggregate.time_limit_s, exclude),
        "--no-requeue",
        *_stage(plan.light_script, "worker", plan, name),
    ]


def probe_job(plan: Plan, exclude: Sequence[str] | None = None) -> list[str]:
    """Return the command line of the probe: no GPU, proves that a node is set up.

    `exclude` as in `worker_job`. It takes seconds, or minutes where it is told which GPUs to
    compile for.
    """
    name = f"{slurm_of(plan).job_name}-probe"
    told = ARCHITECTURES in slurm_of(plan).script_text or ARCHITECTURES in os.environ
    time_s = COMPILING_PROBE_S if told and asks_for_gpus(plan) else PROBE_S
    return [
        *_sbatch(plan, name, time_s, exclude),
        "--no-requeue",
        *_stage(plan.light_script, "probe", plan),
    ]


def controller_job(plan: Plan, time_s: int) -> list[str]:
    """Return the command line of the job that runs the flow itself, given the first of its plans.

    One CPU, little memory, no GPU; queued again when its node is lost or it is preempted, and told
    `CONTROLLER_NOTICE_S` before its end, so that it is queued again then, too.
    """
    return [
        *_sbatch(plan, controller_name(plan), time_s),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=1", f"--mem={CONTROLLER_MEMORY}"),
        "--requeue",
        f"--signal=B:USR1@{CONTROLLER_NOTICE_S}",
        *_stage(plan.light_script, "controller", plan),
    ]


def controller_name(plan: Plan) -> str:
    """Return the name of a controller's job, given the first of its plans; of a loop without it."""
    name, stage = slurm_of(plan).job_name, plan.stage.name if plan.stage else ""
    return f"{name.removesuffix(f'_{stage}') if stage else name}{CONTROLLER}"


def asks_for_gpus(plan: Plan) -> bool:
    """Return whether the Slurm script or a flag asks for GPUs, so that scenes will have some."""
    slurm = slurm_of(plan)
    by_flag = bool(slurm.scene_options.keys() - {"mem"})
    return by_flag or slurm.script_text != slurm.light_script_text


def with_files(command: Sequence[str], instead: Mapping[Path, Path]) -> list[str]:
    """Return the command with some files replaced, to test it before those files are written."""
    names = {str(path): str(other) for path, other in instead.items()}
    return [names.get(word, word) for word in command]


def slurm_of(plan: Plan) -> SlurmPlan:
    """Return the Slurm part of a plan; raises ValueError for a plan without one."""
    if plan.slurm is None:
        raise ValueError("not a plan for Slurm")
    return plan.slurm


def _dependency(after_ok: Sequence[str], after_any: Sequence[str]) -> list[str]:
    kinds = {"afterok": after_ok, "afterany": after_any}
    waits = [":".join([kind, *ids]) for kind, ids in kinds.items() if ids]
    kill = ["--kill-on-invalid-dep=yes"] if after_ok else []
    return [f"--dependency={','.join(waits)}", *kill] if waits else []


def _offset(chunk: ArrayChunk) -> str:
    """Return `N+` for the log's file name, where its index counts from scene N; else empty."""
    return f"{chunk.offset}+" if chunk.offset else ""


def _sbatch(
    plan: Plan, name: str, time_s: int, exclude: Sequence[str] | None = None, ids: str = "%j"
) -> Iterator[str]:
    folder = str(plan.job_logs).replace("%", "%%")  # Slurm reads % in file names
    log = f"{folder}/%x-{ids}.out"
    yield from ("sbatch", "--parsable", f"--job-name={name}", f"--time={slurm_time(time_s)}")
    # Both streams, or a script's --error would hide what failed, or end a job by a missing folder.
    yield from (f"--chdir={CHECKOUT}", f"--output={log}", f"--error={log}", "--open-mode=append")
    slurm = slurm_of(plan)
    yield from options_of_all(slurm)
    if nodes := excluded_nodes(slurm, exclude):
        yield f"--exclude={nodes}"


def options_of_all(slurm: SlurmPlan) -> list[str]:
    """Return the options of sbatch that flags and the environment set for all jobs."""
    return sbatch_options(slurm.site_options | slurm.flag_options)


def sbatch_options(values: Mapping[str, str]) -> list[str]:
    """Return options of sbatch, given by long name, as its command line takes them."""
    return [f"--{option}={value}" for option, value in values.items()]


def _stage(script: Path, stage: str, plan: Plan, *more: str) -> tuple[str, ...]:
    return (str(script), "--in-job", stage, str(plan.file), *more)


def excluded_nodes(slurm: SlurmPlan, nodes: Sequence[str] | None = None) -> str:
    """Return the value of `--exclude`: the script's own nodes and others, by default the plan's.

    The script's belong to it, since the option hides the directive. Empty where nothing is to be
    added, and where the script names its nodes: Slurm refuses a job that is given both.
    """
    directives, _ = parse(slurm.script_text)
    if nodes is None:
        nodes = slurm.excluded_nodes
    if not nodes or names_nodes(directives):
        return ""
    of_script = value_of(directives, "exclude")
    return ",".join([*([of_script] if of_script else []), *nodes])
