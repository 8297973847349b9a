"""The plan: the frozen, plain-data answer to "what will run".

A dry run prints the plan that a launch executes; every Slurm job reads it from its file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SkipValidation,
    ValidationInfo,
    model_validator,
)

from training.configuration.fingerprint import combined, last_made
from training.plan.command_lines import JOBS_PYTHON, noted, quoted
from training.plan.shared_content import SharedPath, file_lines, spread
from training.plan.slurm_model import SlurmPlan
from training.records.record import CodeVersion
from training.snapshots.manifest import Sources
from training.system.paths import Roots

if TYPE_CHECKING:
    from training.snapshots.sources import Reading

Action = Literal["run", "skip", "held"]
PLAN_VERSION = 3
"""Format of the plans written now; files of version 1 do not name it, those of version 2 have most
of what scenes share in each of them. Raise it when an older program would misread a plan; a new key
with a default is no new version."""
LOG = "train.log"


def setting_of(scene: str) -> str:
    """Return the setting in a scene's name in a sweep, `epochs=30,seed=1/<scene>`; else empty."""
    return scene.rpartition("/")[0]


class ScenePlan(BaseModel):
    """What will run for one scene; its supervisor is given nothing else."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    name: str
    """Of a sweep with its setting: `epochs=30,seed=1/<scene>`."""
    exp_name: str
    """Of a sweep that of the setting: `<sweep>/epochs=30,seed=1`."""
    scene: dict[str, Any]
    """The scene's JSON as it was when the plan was made; a run uses this, not the file."""
    scene_file: SharedPath
    action: Action
    reason: str
    command: tuple[str, ...]
    environment: dict[str, str]
    """Set on top of the caller's environment."""
    output: SharedPath
    fingerprint: str
    """Of the configuration and the scene: `training.configuration.fingerprint`."""
    made_from: tuple[Path, ...] = ()
    """Output folders of other runs that this one uses: a trained model, data, a refiner. How they
    were last made belongs to `current_fingerprint`."""
    configuration: SkipValidation[dict[str, Any]] = {}  # or each scene would have a copy
    """What the fingerprint is of: resolved values by dotted key, files by content, no secrets."""
    former_fingerprint: str = ""
    """In the scene's record, in the version before's format; it counts as the same."""
    code_version: CodeVersion | None = None
    """Of the trainer; None in a dry run of a scene without a record, and in older plans."""
    sources: Sources | None = None
    """The same as the plan's: what its trainer runs, as it was when the plan was made."""
    retrain_other_code: bool = False
    """With --rerun-triggers code: what another version of the trainer made is made again."""
    expected_outputs: tuple[str, ...] = Field(
        validation_alias=AliasChoices("expected_outputs", "promises")
    )
    """Globs inside the output folder that a done scene has at least one readable file of each."""
    time_limit_s: int
    kill_grace_s: int
    warm_start: bool = False
    """Whether it may start from a process that has imported already what its script imports."""
    scenes_on_gpu: int = 1
    """How many scenes may be on its GPU at once, itself included; known when it is started."""
    former_attempts: int = 0
    """Attempts that have ended in earlier starts of the same controller: they count as retries."""
    alone_on_gpu: bool = False
    """Whether no other may be there with it: it ran out of memory beside others, earlier in the
    same run."""
    cancelled: Path
    """A file that exists once the plan was cancelled: attempts that end then ended by request."""
    retrain_done_before: datetime | None = None
    """With --force: a scene done before this moment is trained again."""
    launch_command: str = ""
    """The same as the plan's."""
    adopted_job: str = ""
    """The Slurm job, of a flow that has died, in which it trains already; else empty."""
    expected_s: float | None = None
    """How long it took in an earlier experiment, in seconds for as many epochs; None: not known."""

    def model_post_init(self, _: Any) -> None:
        """Share the set of fields that were given: pydantic makes one of 2 KB for each scene."""
        object.__setattr__(self, "__pydantic_fields_set__", _ALL_GIVEN)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, which are not validated."""
        copied = super().model_copy(update=update, deep=deep)
        copied.model_post_init(None)
        return copied

    @property
    def scene_name(self) -> str:
        """The name of the scene alone."""
        return self.name.rpartition("/")[2]

    @property
    def setting(self) -> str:
        """The setting of a sweep that it is trained with; else empty."""
        return setting_of(self.name)

    @property
    def current_fingerprint(self) -> str:
        """The fingerprint with what the records in `made_from` say now; raises RecordError.

        They are read each time, since an earlier stage may write them after the plan was made.
        """
        made = [last_made(folder) for folder in self.made_from]
        return combined(self.fingerprint, made) if any(made) else self.fingerprint

    def is_configuration_of(self, recorded: str) -> bool:
        """Return whether a recorded fingerprint is of this scene's configuration.

        Raises RecordError when a record of what it is made from can't be read.
        """
        return recorded in {self.current_fingerprint, self.former_fingerprint} - {""}

    @property
    def enough_failures(self) -> Path:
        """A file that exists once --max-failures was reached: no further scene starts."""
        return self.cancelled.with_suffix(".enough")

    @property
    def log(self) -> Path:
        """The output of all attempts, each under a heading."""
        return self.output / LOG

    @property
    def builds_data(self) -> bool:
        """Whether the scene's data is built from a recipe in its JSON."""
        return self.scene.get("synthetic") is not None

    @property
    def command_line(self) -> str:
        """The command with its environment, quoted so that it can be pasted into a shell."""
        return quoted(self.command, self.environment)

    @property
    def noted_command(self) -> str:
        """The same for record and log."""
        return noted(self.command, self.environment)


_ALL_GIVEN = set(ScenePlan.model_fields)


class AggregatePlan(BaseModel):
    """The stage after all scenes: the experiment's summary, and before it the trainer's own."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    command: tuple[str, ...] = ()
    """Merges the scenes' outputs (DiFix data) and needs all of them; empty: nothing to merge."""
    environment: dict[str, str] = {}
    log: Path
    job_name: str
    time_limit_s: int
    """Time limit of its job; the command itself is stopped a little earlier."""

    @property
    def command_line(self) -> str:
        """The command with its environment, quoted so that it can be pasted into a shell."""
        return quoted(self.command, self.environment)

    @property
    def noted_command(self) -> str:
        """The same for the log."""
        return noted(self.command, self.environment)


class LoopStage(BaseModel):
    """Which stage of a refiner loop (`--loop`) a plan is."""

    model_config = ConfigDict(frozen=True)

    name: str
    after: tuple[str, ...]
    """Names of the stages that must be done before it starts."""
    loop: str
    """The experiment that the loop is named after."""
    plans: tuple[str, ...] = ()
    """Ids of the plans of all stages of the loop, in the order in which they run."""


class Plan(BaseModel):
    """What will run for all chosen scenes of one launch."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    schema_version: int = Field(PLAN_VERSION, ge=1, le=PLAN_VERSION)
    """The file's format. A version 1 file is read like any other: its keys are aliases here."""
    plan_id: str
    created: datetime
    exp_name: str
    output_subdir: str = Field("", validation_alias=AliasChoices("output_subdir", "part"))
    """Folder inside a scene's that the run mode writes to, with a record of its own."""
    roots: Roots
    scenes: tuple[ScenePlan, ...]
    launch_command: str = ""
    """The command line that was typed, or one that does the same as the form; empty in older
    plans."""
    sources: Sources | None = None
    """What the trainer runs, as it was when the plan was made; None in older plans."""
    workers: int
    gpus: tuple[str, ...]
    """Ids of this machine's GPUs; empty on one without GPUs, and in a plan for Slurm."""
    scenes_per_gpu: int = 1
    """How many scenes train at once on a GPU, here or in a Slurm job of the flow."""
    max_retries: int
    max_failures: int
    aggregate: AggregatePlan | None = None
    """None with --no-auto-schedule-aggregate."""
    slurm: SlurmPlan | None = None
    """None for a run on this machine."""
    stage: LoopStage | None = None
    """None for a plan that is no part of a refiner loop."""
    succeeds: tuple[str, ...] = ()
    """Ids of the plans whose flows have died, and whose jobs this one's flow takes over."""
    warnings: tuple[str, ...] = ()

    _reading: Reading | None = PrivateAttr(None)
    """The sources themselves, from when the plan is made to when it is kept; in no file."""

    def with_reading(self, reading: Reading) -> Plan:
        """Return the plan with its sources, which `take_reading` will keep."""
        plan = self.model_copy()
        plan._reading = reading  # noqa: SLF001 - its own
        return plan

    def launched_by(self, command: str) -> Plan:
        """Return the plan with the command line that launched it."""
        update = {"launch_command": command}
        scenes = tuple(scene.model_copy(update=update) for scene in self.scenes)
        return self.model_copy(update={**update, "scenes": scenes})

    def take_reading(self) -> Reading | None:
        """Return the sources that were read when the plan was made, once; then None."""
        reading, self._reading = self._reading, None
        return reading

    @model_validator(mode="before")
    @classmethod
    def _take_shared(cls, content: Any, info: ValidationInfo) -> Any:
        def objects_of(scene: dict[str, Any]) -> Mapping[str, Any]:
            return vars(ScenePlan.model_validate(scene))

        return spread(content, objects_of if info.mode == "python" else None)

    def to_json(self) -> str:
        """Return the content of the plan's file: what all scenes of an experiment share, once."""
        return "".join(file_lines(self, ScenePlan.model_fields))

    @property
    def python(self) -> str:
        """First word of this plan's commands; `runnable` puts a job's own interpreter there."""
        return sys.executable if self.slurm is None else JOBS_PYTHON

    def of(self, action: Action) -> tuple[ScenePlan, ...]:
        """Return the scenes with that action, in order."""
        return tuple(scene for scene in self.scenes if scene.action == action)

    @property
    def adopted_jobs(self) -> dict[str, int]:
        """Slurm jobs of flows that have died, by id: how many of its scenes train there already."""
        return dict(Counter(each.adopted_job for each in self.of("run") if each.adopted_job))

    @property
    def is_sweep(self) -> bool:
        """Whether it crosses settings with scenes."""
        return any(scene.setting for scene in self.scenes)

    @property
    def settings(self) -> dict[str, list[ScenePlan]]:
        """The scenes of a sweep by setting, in order; without a sweep empty."""
        found: dict[str, list[ScenePlan]] = {}
        for scene in self.scenes:
            if scene.setting:
                found.setdefault(scene.setting, []).append(scene)
        return found

    def of_setting(self, setting: str) -> Plan:
        """Return the part of a sweep's plan that is an experiment of its own, with plain scenes."""
        scenes = self.settings.get(setting, [])
        own = tuple(each.model_copy(update={"name": each.scene_name}) for each in scenes)
        return self.model_copy(update={"exp_name": f"{self.exp_name}/{setting}", "scenes": own})

    @property
    def experiment(self) -> tuple[Roots, str, list[str], str]:
        """Arguments of `training.report.summary`: roots, name, scenes, output subfolder."""
        return self.roots, self.exp_name, [scene.name for scene in self.scenes], self.output_subdir

    @property
    def file(self) -> Path:
        """Where a started plan is kept."""
        return self.roots.state_root / "plans" / f"{self.plan_id}.json"

    @property
    def cancelled(self) -> Path:
        """A file that exists once this plan was cancelled."""
        return self.file.with_suffix(".cancelled")

    @property
    def enough_failures(self) -> Path:
        """A file that exists once --max-failures was reached."""
        return self.file.with_suffix(".enough")

    @property
    def scene_offsets(self) -> Path:
        """A file that says where in the plan's file each scene stands (`plan_file`)."""
        return self.file.with_suffix(".offsets")

    @property
    def snapshot_note(self) -> Path:
        """A file with the digest of this plan's sources: they are kept as long as the plan is."""
        return self.file.with_suffix(".snapshot")

    @property
    def aggregate_job(self) -> Path:
        """A file with the id of the Slurm job that was submitted for the aggregate."""
        return self.file.with_suffix(".aggregate")

    @property
    def script(self) -> Path:
        """Copy of the Slurm script that jobs are submitted with."""
        return self.file.with_suffix(".slurm")

    @property
    def light_script(self) -> Path:
        """Slurm script of the jobs that need no GPU."""
        return self.file.with_suffix(".light.slurm")

    @property
    def job_logs(self) -> Path:
        """Folder for the output of Slurm jobs; a trainer's own output is in the scene's log."""
        return self.roots.state_root / "slurm" / self.plan_id


ENDING_SLACK_S = 10.0
"""Seconds after the grace that a supervisor needs to kill its trainer and write the record."""
