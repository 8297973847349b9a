"""The exact sbatch command lines of a plan's jobs; pure.

What stands on the command line wins over the Slurm script's directives; all else they say holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.roots import CHECKOUT
from training.plan.model import Plan, SlurmPlan
from training.slurm.batch_script import parse, value_of
from training.slurm.times import slurm_time

MAX_ARRAY_SIZE = 1001
"""Slurm's own default of MaxArraySize: indices go up to one less."""
PROBE_S = 300
ARRAY_LOG = r"-(?P<array>\d+)_(?:(?P<offset>\d+)\+)?(?P<task>\d+)\.out"
"""What follows the job's name in the name of an array task's log, as a regular expression."""
ARRAY_JOB = "<array_job_id>"
"""Stands for an id in a preview."""


@dataclass(frozen=True)
class ArrayChunk:
    """A run of the plan's scenes that one array job holds: indices 0 to count - 1, from offset."""

    offset: int
    count: int


def array_chunks(scenes: int, max_array_size: int) -> tuple[ArrayChunk, ...]:
    """As few arrays as the site's MaxArraySize allows, in order."""
    starts = range(0, scenes, max_array_size)
    return tuple(ArrayChunk(start, min(max_array_size, scenes - start)) for start in starts)


def array_job(plan: Plan, chunk: ArrayChunk, after: str = "") -> list[str]:
    """One array; it waits for the end of the job `after`, so that a bound holds over several."""
    slurm = slurm_of(plan)
    bound = f"%{slurm.parallelism}" if slurm.parallelism < chunk.count else ""
    return [
        *_sbatch(plan, slurm.job_name, slurm.time_s, f"%A_{_offset(chunk)}%a"),
        f"--array=0-{chunk.count - 1}{bound}",
        "--requeue",
        *([f"--dependency=afterany:{after}"] if after else []),
        *_stage(plan.script, "array", plan, str(chunk.offset)),
    ]


def waits_for_former(plan: Plan) -> bool:
    """Whether an array's later parts wait for the one before: only then is there one bound."""
    return slurm_of(plan).parallelism < len(plan.of("run"))


def aggregate_job(plan: Plan, after_ok: Sequence[str], after_any: Sequence[str] = ()) -> list[str]:
    """The aggregate; a failure of one of `after_ok` ends it instead of leaving it pending."""
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    kinds = {"afterok": after_ok, "afterany": after_any}
    waits = [":".join([kind, *ids]) for kind, ids in kinds.items() if ids]
    return [
        *_sbatch(plan, plan.aggregate.job_name, plan.aggregate.time_limit_s),
        "--requeue",
        *([f"--dependency={','.join(waits)}", "--kill-on-invalid-dep=yes"] if waits else []),
        *_stage(plan.light_script, "aggregate", plan),
    ]


def worker_job(plan: Plan, name: str, walltime_s: int, exclude: Sequence[str] = ()) -> list[str]:
    """A flow's worker of that name, which trains scenes for so long, on none of these nodes.

    Never queued again by Slurm: the flow itself replaces what it lost.
    """
    slurm = slurm_of(plan)
    return [
        *_sbatch(plan, f"{slurm.job_name}-{name}", walltime_s),
        "--no-requeue",
        *_exclude(slurm.script_text, exclude),
        *_stage(plan.script, "worker", plan, name),
    ]


def aggregate_worker_job(plan: Plan, name: str) -> list[str]:
    """A flow's worker for the aggregate: its own name and time, no GPU."""
    if plan.aggregate is None:
        raise ValueError("the plan has no aggregate")
    return [
        *_sbatch(plan, plan.aggregate.job_name, plan.aggregate.time_limit_s),
        "--no-requeue",
        *_stage(plan.light_script, "worker", plan, name),
    ]


def probe_job(plan: Plan) -> list[str]:
    """A job of seconds, without GPU, that proves what scenes will need on a node."""
    name = f"{slurm_of(plan).job_name}-probe"
    return [
        *_sbatch(plan, name, PROBE_S),
        "--no-requeue",
        *_stage(plan.light_script, "probe", plan),
    ]


def with_files(command: Sequence[str], instead: Mapping[Path, Path]) -> list[str]:
    """The same command with other files in the place of some: to try it before they are kept."""
    names = {str(path): str(other) for path, other in instead.items()}
    return [names.get(word, word) for word in command]


def slurm_of(plan: Plan) -> SlurmPlan:
    """A plan's Slurm part; raises ValueError for a plan of this machine."""
    if plan.slurm is None:
        raise ValueError("not a plan for Slurm")
    return plan.slurm


def _offset(chunk: ArrayChunk) -> str:
    """Tells a log which of the plan's scenes the index is counted from."""
    return f"{chunk.offset}+" if chunk.offset else ""


def _sbatch(plan: Plan, name: str, time_s: int, ids: str = "%j") -> Iterator[str]:
    folder = str(plan.job_logs).replace("%", "%%")  # Slurm reads % in file names
    yield from ("sbatch", "--parsable", f"--job-name={name}", f"--time={slurm_time(time_s)}")
    yield from (f"--chdir={CHECKOUT}", f"--output={folder}/%x-{ids}.out", "--open-mode=append")


def _stage(script: Path, stage: str, plan: Plan, *more: str) -> tuple[str, ...]:
    return (str(script), "--in-job", stage, str(plan.file), *more)


def _exclude(script_text: str, nodes: Sequence[str]) -> list[str]:
    """The nodes to avoid, beside those that the script avoids: one option would hide the other."""
    if not nodes:
        return []
    scripts = value_of(parse(script_text)[0], "exclude")
    return [f"--exclude={','.join([*([scripts] if scripts else []), *nodes])}"]
