"""The plan: the frozen, plain-data answer to "what will run"."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from training.records.record import now
from training.system.paths import Roots

Action = Literal["run", "skip", "held"]
LOG = "train.log"
JOBS_PYTHON = "python"
"""In a plan for Slurm: nodes may have another interpreter, which the Slurm script chooses."""


def quoted(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A command with settings before it, as a line for a shell."""
    settings = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
    return " ".join([*settings, shlex.join(command)])


class ScenePlan(BaseModel):
    """What will run for one scene."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    name: str
    exp_name: str
    scene: dict[str, Any]
    """The scene's JSON as it was when the plan was made; a run uses this, not the file."""
    scene_file: Path
    action: Action
    reason: str
    command: tuple[str, ...]
    environment: dict[str, str]
    """Set on top of the caller's environment."""
    output: Path
    fingerprint: str
    expected_outputs: tuple[str, ...] = Field(
        validation_alias=AliasChoices("expected_outputs", "promises")
    )
    """Globs inside the output folder that a done scene has at least one readable file of each."""
    time_limit_s: int
    kill_grace_s: int
    cancelled: Path
    """A file that stands once the plan was cancelled: what ends then ended by request."""
    retrain_done_before: datetime | None = None
    """With --force: a scene done before this moment is trained again."""

    @property
    def enough_failures(self) -> Path:
        """A file that stands once --max-failures was reached: no further scene starts."""
        return self.cancelled.with_suffix(".enough")

    @property
    def log(self) -> Path:
        """All attempts' output, each under a heading."""
        return self.output / LOG

    @property
    def builds_data(self) -> bool:
        """Whether the scene's data is made from a recipe in its JSON."""
        return self.scene.get("synthetic") is not None

    @property
    def command_line(self) -> str:
        """The command with its environment, quoted so that it can be pasted into a shell."""
        return quoted(self.command, self.environment)


class AggregatePlan(BaseModel):
    """The stage after all scenes: the experiment's summary, and before it the trainer's own."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    command: tuple[str, ...] = ()
    """What merges the scenes' outputs (DiFix data); it needs all of them. Empty: nothing to do."""
    environment: dict[str, str] = {}
    log: Path
    job_name: str
    time_limit_s: int
    """Of its job; the command itself is stopped a little earlier."""

    @property
    def command_line(self) -> str:
        """The command with its environment, quoted so that it can be pasted into a shell."""
        return quoted(self.command, self.environment)


class SlurmPlan(BaseModel):
    """How scenes become Slurm jobs; every job runs the Slurm script with `--in-job STAGE PLAN`."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    script: Path
    """The wrapper that a site edits: the single place for resources."""
    script_text: str
    """The wrapper as it was when the plan was made."""
    light_script_text: str
    """The same without what asks for GPUs: for jobs that need none."""
    job_name: str
    time_s: int
    """A job's time for one scene: the script's, or --slurm.time."""
    scenes_per_job: int
    parallelism: int
    """At most so many scenes run, and so many jobs are queued, at once."""
    interface: str = ""
    """Network interface that nodes reach this machine by; empty: chosen automatically."""


class Plan(BaseModel):
    """What will run for all chosen scenes of one launch."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    plan_id: str
    created: datetime
    exp_name: str
    output_subdir: str = Field("", validation_alias=AliasChoices("output_subdir", "part"))
    """Folder inside a scene's that the run mode writes to, with a record of its own."""
    roots: Roots
    scenes: tuple[ScenePlan, ...]
    workers: int
    gpus: tuple[str, ...]
    """GPU ids that scenes are pinned to, one each; empty on a machine without."""
    max_retries: int
    max_failures: int
    aggregate: AggregatePlan | None = None
    """None with --no-auto-schedule-aggregate."""
    slurm: SlurmPlan | None = None
    """None on this machine."""
    warnings: tuple[str, ...] = ()

    @property
    def python(self) -> str:
        """The first word of this plan's commands; in a job it becomes that job's interpreter."""
        return sys.executable if self.slurm is None else JOBS_PYTHON

    def of(self, action: Action) -> tuple[ScenePlan, ...]:
        """The scenes with that action, in order."""
        return tuple(scene for scene in self.scenes if scene.action == action)

    @property
    def experiment(self) -> tuple[Roots, str, list[str], str]:
        """What `training.report.summary` is to summarise: roots, name, scenes, part."""
        return self.roots, self.exp_name, [scene.name for scene in self.scenes], self.output_subdir

    @property
    def file(self) -> Path:
        """Where a started plan is kept."""
        return self.roots.state_root / "plans" / f"{self.plan_id}.json"

    @property
    def cancelled(self) -> Path:
        """A file that stands once this plan was cancelled."""
        return self.file.with_suffix(".cancelled")

    @property
    def enough_failures(self) -> Path:
        """A file that stands once --max-failures was reached."""
        return self.file.with_suffix(".enough")

    @property
    def script(self) -> Path:
        """The kept copy of the Slurm script that jobs are submitted with."""
        return self.file.with_suffix(".slurm")

    @property
    def light_script(self) -> Path:
        """The kept Slurm script of the jobs that need no GPU."""
        return self.file.with_suffix(".light.slurm")

    @property
    def job_logs(self) -> Path:
        """Folder of what Slurm jobs print; a trainer's own output is in the scene's log."""
        return self.roots.state_root / "slurm" / self.plan_id


def runnable(command: Sequence[str]) -> tuple[str, ...]:
    """A plan's command with this process's interpreter where the plan leaves it open."""
    return tuple([sys.executable, *command[1:]] if command[0] == JOBS_PYTHON else command)


def new_plan_id(exp_name: str) -> str:
    """A plan's name: experiment and time of day, sortable, unique to the microsecond."""
    return f"{exp_name}-{now().strftime('%Y%m%dT%H%M%S.%f')}"


ENDING_SLACK_S = 10.0
"""Beside the grace: what a supervisor needs to kill, judge and write."""
