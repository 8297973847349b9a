"""What a plan says of its Slurm jobs."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.plan.option_types import ProbePolicy


class SlurmPlan(BaseModel):
    """How scenes become Slurm jobs: each runs the Slurm script with `--in-job STAGE PLAN`."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    script: Path
    """The Slurm script that a site edits: the one place for resources."""
    script_text: str
    """Its content when the plan was made."""
    light_script_text: str
    """The same without its requests for GPUs, for jobs that need none."""
    job_name: str
    time_s: int
    """A job's time for one scene: the script's, or --slurm.time."""
    scenes_per_job: int
    """How many scenes a job of the flow trains, at least as many as share its GPU."""
    parallelism: int
    """Upper bound of the scenes that run, and of the jobs that are queued, at once."""
    interface: str = ""
    """Network interface by which nodes reach this machine; empty: chosen automatically."""
    probe: ProbePolicy = "auto"
    """Whether a flow probes a node before its first GPU job; auto: unless one passed lately."""
    excluded_nodes: tuple[str, ...] = ()
    """Bad nodes of the last day (`training.slurm.bad_nodes`), excluded beside those that the script
    excludes; none where the script names its nodes."""
    forget_bad_nodes: bool = False
    """Whether what is remembered of bad nodes is removed when the plan starts."""
    orphan_grace_s: int = 0
    """How long a scene trains on in its job when its flow has died."""
    site_options: dict[str, str] = {}
    """Options of sbatch that the user's environment sets, by long name, e.g. the partition."""
    flag_options: dict[str, str] = {}
    """The same as flags set them, for all jobs: they win over the environment."""
    scene_options: dict[str, str] = {}
    """Options of sbatch that flags set for the jobs of scenes alone: memory and GPUs."""
    warnings: tuple[str, ...] = ()
    """What is probably not meant in the script or the environment."""
