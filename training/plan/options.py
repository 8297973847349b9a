"""Define every option of a launch once: command line, form and docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess.faults import Fault, FaultsError, unusable_text
from training.plan.option_types import (
    FolderName,
    Globs,
    JobName,
    KeysAndValues,
    Memory,
    OrphanGrace,
    ProbePolicy,
    SlurmName,
    Time,
    TimeOrNone,
)
from training.slurm.times import seconds_of

MAX_WORKERS = 1024
MAX_JOBS = 256
MAX_SCENES_PER_GPU = 16
MAX_FAILURES = 100_000


@dataclass(frozen=True)
class Flag:
    """How the command line shows an option: group, example, and name if not the field's own.

    A name that does not begin with - is of a value that is given without a flag.
    """

    group: str
    example: str
    name: str = ""
    needs_items: bool = False
    """Whether a list may not be empty where a command line names it: without the flag it means
    something else. A form may send an empty one."""


class LaunchOptions(BaseModel):
    """What a person asks for; `training.plan.make_plan` turns it into what will run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exp_name: Annotated[
        FolderName,
        Flag("What to train", "--exp-name my_exp"),
        Field(title="Experiment"),
    ]
    """Experiment (letters, digits, _.+=-): with a scene it names one output folder; passed as
    shared.exp_name."""

    scenes: Annotated[
        tuple[str, ...],
        Flag("What to train", "--scenes hi4d_pair17_dance hi4d_pair19_hug", needs_items=True),
        Field(title="Scenes"),
    ] = ()
    """Train exactly these scenes, by whole seq_name."""

    scene_name_includes: Annotated[
        str,
        Flag("What to train", "--scene-name-includes hi4d_pair17_dance"),
        Field(title="Scenes whose name includes"),
    ] = ""
    """Only scenes whose seq_name contains this text."""

    run_all: Annotated[
        bool, Flag("What to train", "--run-all"), Field(title="All matched scenes")
    ] = False
    """Train all matched scenes; without it exactly one scene must match."""

    scenes_dir: Annotated[
        str, Flag("Folders", "--scenes-dir my_scenes"), Field(title="Scene files")
    ] = "preprocess/scenes"
    """Folder of scene files; the shipped registry when not given."""

    overrides: Annotated[
        KeysAndValues,
        Flag("What to train", "--overrides train.optimization.epochs=60 seed=1"),
    ] = ()
    """Hydra overrides, key=value, forwarded to the trainer untouched."""

    sweep: Annotated[
        KeysAndValues,
        Flag(
            "What to train",
            "--sweep train.optimization.epochs=30,50,100 seed=1,2,3",
            needs_items=True,
        ),
    ] = ()
    """Hydra overrides with several values each, every combination an experiment. Values are a list,
    range, choice or glob; the experiments are named and lie below this one."""

    loop: Annotated[bool, Flag("What to train", "--loop"), Field(title="Refiner loop")] = False
    """Train, make DiFix data, tune the image refiner on the train groups, and train the test
    groups' scenes with the views that it refines. For comparison they are also trained with
    rendered and with captured views."""

    force: Annotated[bool, Flag("What to train", "--force"), Field(title="Done scenes too")] = False
    """Train again what is done; the previous outputs are kept under superseded/."""

    rerun_triggers: Annotated[
        Literal["configuration", "code"],
        Flag("What to train", "--rerun-triggers code"),
        Field(title="Train done scenes again on"),
    ] = "configuration"
    """What trains a done scene again: a changed configuration, or changed trainer code too. The
    content of the scene's file and of the body models belongs to the configuration; changed code
    is reported either way."""

    dry_run: Annotated[bool, Flag("How to run", "--dry-run")] = False
    """Print what would run; create nothing, start nothing."""

    workers: Annotated[
        int,
        Flag("How to run", "--workers 2"),
        Field(title="Scenes at once", ge=0, le=MAX_WORKERS),
    ] = 0
    """Scenes at once on this machine; 0: as many as its GPUs take (--scenes-per-gpu), or one where
    there is no GPU. With GPUs never more than they take."""

    scenes_per_gpu: Annotated[
        int,
        Flag("How to run", "--scenes-per-gpu 4"),
        Field(title="Scenes per GPU", ge=1, le=MAX_SCENES_PER_GPU),
    ] = 1
    """Scenes at once on each GPU of this machine, for scenes too small to fill one. Where one runs
    out of memory it is tried again alone, and what is left runs half as many at once."""

    time_limit: Annotated[Time, Flag("How to run", "--time-limit 3:00:00")] = "1-00:00:00"
    """A scene's longest time, in Slurm's formats (90 is minutes); then it is stopped and can be
    resumed. In a Slurm job it counts where it is shorter than the job's own time."""

    max_retries: Annotated[int, Flag("How to run", "--max-retries 0"), Field(ge=0, le=100)] = 2
    """Further attempts of a scene whose machine, not whose training, failed."""

    max_failures: Annotated[
        int, Flag("How to run", "--max-failures 3"), Field(ge=0, le=MAX_FAILURES)
    ] = 0
    """Start no further scene after this many have failed; 0: no such limit."""

    kill_grace: Annotated[int, Flag("How to run", "--kill-grace 60"), Field(ge=1, le=3600)] = 20
    """Seconds a stopped trainer gets to write its checkpoint before it is killed."""

    train_script: Annotated[str, Flag("The trainer", "--train-script my_trainer.py")] = (
        "training/simple_multi_human_trainer.py"
    )
    """Any script that takes key=value arguments."""

    train_config: Annotated[str, Flag("The trainer", "--train-config conf/train.yaml")] = ""
    """Hydra config, which Hydra composes with the overrides before a launch. Another script needs
    none: then its overrides are only parsed."""

    snapshot: Annotated[
        bool, Flag("The trainer", "--no-snapshot"), Field(title="Keep the sources")
    ] = True
    """Start every scene from the trainer's sources as they are now; without, a scene that would
    start after an edit ends as config."""

    cold_start: Annotated[
        bool, Flag("The trainer", "--cold-start"), Field(title="Fresh interpreters")
    ] = False
    """Start a fresh interpreter for each scene. Without, scenes that follow each other in one place
    are forked from a process that has already imported the script's libraries."""

    expect: Annotated[
        Globs,
        Flag("The trainer", "--expect model.pt 'renders/*.png'"),
        Field(title="Expected outputs"),
    ] = ()
    """Outputs (globs) that another script must have written when it is done; when not given, its
    exit status alone decides."""

    results_root: Annotated[str, Flag("Folders", "--results-root /scratch/me/results")] = ""
    """Where results go; when not given TS_RESULTS_ROOT, or outputs/results."""

    scene_data_root: Annotated[str, Flag("Folders", "--scene-data-root /scratch/me/scenes")] = ""
    """Where scene data lies, one folder a scene; when not given TS_SCENE_DATA_ROOT, or
    outputs/scenes."""

    state_root: Annotated[str, Flag("Folders", "--state-root /scratch/me/state")] = ""
    """Where plans and logs of the launcher go; when not given TS_STATE_ROOT, or outputs/state."""

    submit: Annotated[bool, Flag("Slurm", "--submit")] = False
    """Submit through Slurm (array mode) instead of running here."""

    slurm_job_name: Annotated[
        JobName,
        Flag("Slurm", "--slurm.job-name my_job", "--slurm.job-name"),
    ] = ""
    """Slurm job name, whatever the Slurm script says; the experiment's name when not given."""

    slurm_script: Annotated[
        str, Flag("Slurm", "--slurm.slurm-script site.slurm", "--slurm.slurm-script")
    ] = "training/submit.slurm"
    """Slurm script: the one place for resources, time, account and environment."""

    slurm_array_parallelism: Annotated[
        int,
        Flag("Slurm", "--slurm.array-parallelism 2", "--slurm.array-parallelism"),
        Field(title="Scenes at once", ge=1, le=MAX_JOBS),
    ] = MAX_JOBS
    """At most this many scenes at once."""

    slurm_time: Annotated[
        TimeOrNone,
        Flag("Slurm", "--slurm.time 3:00:00", "--slurm.time"),
        Field(title="A scene's time"),
    ] = ""
    """A scene's time in its job, in Slurm's formats; the Slurm script's when not given."""

    slurm_partition: Annotated[
        SlurmName,
        Flag("Slurm", "--slurm.partition gpu", "--slurm.partition"),
    ] = ""
    """Partition of all jobs, or several with commas; the Slurm script's when not given."""

    slurm_account: Annotated[
        SlurmName,
        Flag("Slurm", "--slurm.account my_account", "--slurm.account"),
    ] = ""
    """Account that all jobs are charged to; the Slurm script's when not given."""

    slurm_qos: Annotated[
        SlurmName,
        Flag("Slurm", "--slurm.qos normal", "--slurm.qos"),
        Field(title="Quality of service (QOS)"),
    ] = ""
    """Quality of service of all jobs; the Slurm script's when not given."""

    slurm_mem: Annotated[
        Memory,
        Flag("Slurm", "--slurm.mem 96G", "--slurm.mem"),
        Field(title="Memory"),
    ] = ""
    """Memory of a scene's job, as 96G; the Slurm script's when not given."""

    slurm_gpus: Annotated[
        int,
        Flag("Slurm", "--slurm.gpus 2", "--slurm.gpus"),
        Field(title="GPUs", ge=0, le=64),
    ] = 0
    """GPUs of a scene's job, of the kind that the Slurm script names; 0: as many as it says."""

    slurm_scenes_per_job: Annotated[
        int,
        Flag("Slurm", "--slurm.scenes-per-job 4", "--slurm.scenes-per-job"),
        Field(ge=1, le=1000),
    ] = 1
    """Scenes that one job of the flow trains; its time is multiplied by those that follow each
    other: all of them, unless some share its GPU."""

    slurm_scenes_per_gpu: Annotated[
        int,
        Flag("Slurm", "--slurm.scenes-per-gpu 4", "--slurm.scenes-per-gpu"),
        Field(title="Scenes per GPU", ge=1, le=MAX_SCENES_PER_GPU),
    ] = 1
    """Scenes at once on the GPU of one job of the flow, for scenes too small to fill it. Where one
    runs out of memory it is tried again alone, and what is left runs half as many at once."""

    slurm_interface: Annotated[str, Flag("Slurm", "--slurm.interface ib0", "--slurm.interface")] = (
        ""
    )
    """Network interface by which nodes reach this machine; found automatically when not given."""

    slurm_probe: Annotated[ProbePolicy, Flag("Slurm", "--slurm.probe always", "--slurm.probe")] = (
        "auto"
    )
    """Whether a short job probes a node before the flow's first GPU job; auto: unless one passed
    within a day."""

    slurm_forget_bad_nodes: Annotated[
        bool,
        Flag("Slurm", "--slurm.forget-bad-nodes", "--slurm.forget-bad-nodes"),
        Field(title="Forget bad nodes"),
    ] = False
    """Use bad nodes again, which are avoided for a day since jobs ended there before they began."""

    orphan_grace: Annotated[
        OrphanGrace,
        Flag("Slurm", "--orphan-grace scene"),
        Field(title="Goes on without the flow for"),
    ] = ""
    """How long a scene trains on when its flow on Slurm has died: a time, or `scene`, as long as it
    takes. The next flow of the experiment takes it over. Not at all when not given."""

    yes: Annotated[bool, Flag("Slurm", "--yes")] = False
    """Submit without asking, on a terminal too; the answer no gives exit status 130."""

    auto_schedule_aggregate: Annotated[
        bool,
        Flag("Aggregate", "--no-auto-schedule-aggregate"),
        Field(title="After the scenes"),
    ] = True
    """Chain the aggregate stage: the summary, and after DiFix generation the trainer's own."""

    aggregate_job_name: Annotated[
        JobName,
        Flag("Aggregate", "--aggregate-job-name my_agg"),
    ] = ""
    """Slurm job name of the aggregate stage; the job's name with _aggregate when not given."""

    aggregate_time: Annotated[
        Time,
        Flag("Aggregate", "--aggregate-time 0:30:00"),
        Field(title="Time limit"),
    ] = "1:00:00"
    """Slurm time limit of the aggregate stage."""

    status: Annotated[bool, Flag("Watching", "--status --exp-name my_exp")] = False
    """Show the state of an experiment's scenes; exit status 0: all done, 3: some queued or running,
    1: not all done and none queued or running."""

    watch: Annotated[bool, Flag("Watching", "--watch --exp-name my_exp")] = False
    """Like --status, refreshed until everything has ended; Ctrl-C stops watching."""

    logs: Annotated[str, Flag("Watching", "--logs hi4d_pair17_dance --exp-name my_exp")] = ""
    """Follow a scene's log until its attempt ends: its name, or a part that no other's has."""

    cancel: Annotated[bool, Flag("Watching", "--cancel --exp-name my_exp")] = False
    """End everything of an experiment that is queued or running: array, flow, aggregate, local
    run."""

    @property
    def on_slurm(self) -> bool:
        """Whether scenes run in Slurm jobs."""
        return self.submit

    @property
    def in_own_job(self) -> bool:
        """Whether the flow itself runs in a Slurm job; an array has no flow."""
        return False

    @property
    def only_looks(self) -> bool:
        """Whether the command looks at an experiment, or cancels it, and starts nothing."""
        return bool(self.status or self.watch or self.logs or self.cancel)

    @property
    def time_limit_s(self) -> int:
        """The time limit of one scene in seconds."""
        return seconds_of(self.time_limit)


T = TypeVar("T", bound=BaseModel)


def flag_name(field: str, model: type[BaseModel] = LaunchOptions) -> str:
    """Return an option's name on the command line: `exp_name` is `--exp-name`."""
    return flag_of(field, model).name or "--" + field.replace("_", "-")


def flag_of(field: str, model: type[BaseModel] = LaunchOptions) -> Flag:
    """Return the `Flag` that a field is annotated with."""
    return next(item for item in model.model_fields[field].metadata if isinstance(item, Flag))


def checked_options(model: type[T], values: dict[str, Any]) -> T:
    """Return validated options; raises FaultsError naming each wrong one as the user typed it."""
    faults = [
        Fault(f"{_named(field, model)} is not valid", repr(text), reason)
        for field, value in values.items()
        for text in (value if isinstance(value, list | tuple) else [value])
        if isinstance(text, str) and (reason := unusable_text(text))
    ]
    if faults:
        raise FaultsError(faults)
    try:
        return model(**values)
    except ValidationError as error:
        raise FaultsError(
            Fault(
                f"{_named(str(item['loc'][0]), model)} is not valid",
                repr(item["input"]),
                item["msg"].removeprefix("Value error, "),
            )
            for item in error.errors()
        ) from error


def _named(field: str, model: type[BaseModel]) -> str:
    """Return an option's name on the command line; a form may send what is no option."""
    return flag_name(field, model) if field in model.model_fields else field
