"""From options to the plan: everything is read and checked, nothing is created.

`make_plan` is the whole story: check everything, then plan scene by scene.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.faults import MOST_NAMES, Fault, FaultsError, grouped
from preprocess.registry import left_out_warning, load_scenes, named_scenes, select_scenes
from preprocess.roots import CHECKOUT, variables_of_installed_copy
from preprocess.scene import Scene
from training.configuration.code_version import with_commit
from training.configuration.fingerprint import fingerprint
from training.configuration.run_modes import GENERATE, REFINER_TRAIN, TRAIN
from training.plan import checks
from training.plan.file_checks import scene_file_faults
from training.plan.former_records import FormerRecords
from training.plan.gpu_checks import gpu_problems
from training.plan.model import AggregatePlan, Plan, ScenePlan, SlurmPlan, new_plan_id
from training.plan.options import LaunchOptions
from training.plan.scene_decision import decide, other_code_warning
from training.plan.slurm_plan import (
    job_name,
    plan_slurm,
    scene_time_s,
    split_argument_faults,
)
from training.plan.train_script import (
    OWN_CONFIG,
    OWN_SCRIPT,
    TrainScript,
    given_path,
    load_train_script,
)
from training.plan.trained_models import with_trained_models
from training.records.expected_outputs import has_checkpoint
from training.records.record import CodeVersion, RecordError, RunRecord, now, read_record
from training.slurm.times import seconds_of
from training.snapshots.manifest import SNAPSHOTS, Sources, entry
from training.system.gpus import visible_gpus
from training.system.paths import REFINER, Roots, resolve_roots
from training.system.typed_command import spelled

if TYPE_CHECKING:
    from training.snapshots.sources import Reading

AGGREGATE_LOG = "aggregate.log"
DEPTH_WEIGHT = "train.optimization.loss.depth"
ONLY_REFINER = Scene(seq_name=REFINER, cam_id=0)
"""Stands in a plan for what run_mode=refiner_train does once for all scenes."""


def make_plan(
    options: LaunchOptions, only: Collection[str] | None = None, *, is_in_loop: bool = False
) -> Plan:
    """Check everything and return what will run; creates nothing.

    `only`: names that are left of the chosen scenes. `is_in_loop`: earlier stages are about to make
    models, data and a refiner, which are not judged then. Raises FaultsError with all faults at
    once. In a dry run, input that this machine lacks is a warning of the plan.
    """
    launch = _check(options, only, is_in_loop=is_in_loop)
    plan = _plan_without_scenes(launch)
    scenes = tuple(_plan_scene(launch, plan, scene) for scene in launch.planned)
    warnings = (*plan.warnings, *other_code_warning(scenes))
    aggregate = _plan_aggregate(launch, plan) if options.auto_schedule_aggregate else None
    update = {"scenes": scenes, "aggregate": aggregate, "warnings": warnings}
    plan = plan.model_copy(update=update)
    return plan.with_reading(launch.reading) if launch.reading else plan


@dataclass(frozen=True)
class _Launch:
    """The options and what they name, read and found to be right."""

    options: LaunchOptions
    roots: Roots
    scenes: Sequence[Scene]
    script: TrainScript
    slurm: SlurmPlan | None
    absent: Sequence[Fault]
    """Input that this machine lacks; only a dry run gets so far with it."""
    warnings: Sequence[str]
    """What is probably not meant."""
    reading: Reading | None
    """The sources of the script; None in a dry run."""

    def code_version(self, record: RunRecord | None) -> CodeVersion | None:
        """Return the version of the trainer's code.

        A dry run does without the Git commit, and where there is no record to compare with,
        without the version.
        """
        if not self.options.dry_run:
            return self._version_with_commit
        return self.script.code_version(record.code_version) if record else None

    @property
    def planned(self) -> Sequence[Scene]:
        """What has an attempt and a record of its own: each scene, or once for all the refiner."""
        return (ONLY_REFINER,) if self.script.mode is REFINER_TRAIN else self.scenes

    @cached_property
    def _version_with_commit(self) -> CodeVersion:
        return with_commit(self.script.code_version(), self.script.path.parent)

    @cached_property
    def sources(self) -> Sources | None:
        """What the trainer runs; of a dry run only where it lies."""
        if self.reading is not None:
            return self.reading.sources
        if not self.options.snapshot:
            return None
        from training.snapshots.sources import sources_root

        root = sources_root(self.script.path, CHECKOUT, is_own=self.script.is_own)
        return Sources(root=root, folder=self.roots.state_root / SNAPSHOTS)

    @cached_property
    def former_records(self) -> FormerRecords:
        """Judge of the records that the version before has written."""
        return FormerRecords(self.options, self.roots, self.script)


def _check(options: LaunchOptions, only: Collection[str] | None, *, is_in_loop: bool) -> _Launch:
    """Read and check everything that the options name; raises FaultsError with all faults."""
    faults = checks.FaultCollector(_misplaced_flags(options))
    roots = faults.collect(resolve_roots, options.model_dump())
    scenes = faults.collect(choose_scenes, options) or []
    reading = _read_sources(options, roots) if roots and not options.dry_run else None
    faults.add(_too_many_scenes(options, scenes))
    scenes = [scene for scene in scenes if only is None or scene.seq_name in only]
    script = faults.collect(load_train_script, options, roots)
    faults.add(script.faults if script else ())
    faults.add(_edited_meanwhile(options, reading))
    slurm = faults.collect(plan_slurm, options) if options.on_slurm else None
    absent, warnings = list[Fault](), list[str]()
    if roots:
        faults.add(checks.folder_faults(roots))
    if roots and slurm:
        faults.add(split_argument_faults(slurm, roots))
    if script:
        faults.add(checks.virtual_camera_faults(script.values, scenes))
    if script and script.schema and script.is_for_refiner and scenes:
        will_merge = options.auto_schedule_aggregate
        wrong, warnings = checks.split_problems(script.schema, scenes, will_merge=will_merge)
        faults.add(wrong)
    if script and script.is_own:
        wrong, of_gpus = gpu_problems(str(script.values.get("device")), visible_gpus(), slurm)
        faults.add(wrong)
        warnings = [*warnings, *of_gpus]
    if script and roots:
        absent = _absent_input(options, scenes, script, roots)
    if script and roots and not is_in_loop:
        script, untrained, more = with_trained_models(options, scenes, script, roots)
        absent = [*absent, *untrained, *_refiner_faults(options, scenes, script, roots)]
        warnings = [*warnings, *more]
    if not options.dry_run:
        faults.add(absent)
    if faults.found or roots is None or script is None:
        raise FaultsError(faults.found)
    return _Launch(options, roots, scenes, script, slurm, absent, warnings, reading)


def _read_sources(options: LaunchOptions, roots: Roots) -> Reading | None:
    """Read the trainer's sources before its configuration is; None where there are none."""
    from training.snapshots.sources import read_sources

    script = given_path(options, "train_script")
    with contextlib.suppress(OSError):  # then the script is a fault of its own
        return read_sources(
            script,
            _config_path(options),
            CHECKOUT if script == OWN_SCRIPT else None,
            tuple(roots.model_dump().values()),
            roots.state_root,
            keep=options.snapshot,
        )
    return None


def _config_path(options: LaunchOptions) -> Path | None:
    if given_path(options, "train_script") == OWN_SCRIPT:
        return OWN_CONFIG
    return given_path(options, "train_config") if options.train_config else None


def _edited_meanwhile(options: LaunchOptions, reading: Reading | None) -> list[Fault]:
    """Return a fault for a configuration that was edited between the two readings of it."""
    config = _config_path(options)
    if reading is None or config is None:
        return []
    manifest = reading.manifest
    known = manifest.outside.get(str(config)) or manifest.files.get(
        os.path.relpath(config, manifest.root)
    )
    if known is None or known == entry(str(config)):
        return []
    return [Fault("edited while the plan was made", str(config), "run the same command again")]


def _misplaced_flags(options: LaunchOptions) -> list[Fault]:
    """Return a fault for a flag of the launcher's array given to the flow, or the other way."""
    if options.submit and type(options) is not LaunchOptions:
        remedy = "for the flow say --cluster slurm"
        return [Fault(f"--submit belongs to {spelled('launch')}", remedy=remedy)]
    if options.submit and options.slurm_scenes_per_job > 1:
        remedy = "leave it out: each job of an array trains one scene; or use the flow"
        return [Fault(f"--slurm.scenes-per-job belongs to {spelled('train')}", remedy=remedy)]
    return []


def choose_scenes(options: LaunchOptions) -> list[Scene]:
    """Return the scenes that the options choose; raises FaultsError."""
    registry = load_scenes(given_path(options, "scenes_dir"))
    return select_scenes(named_scenes(registry, options.scenes), options.scene_name_includes)


def _too_many_scenes(options: LaunchOptions, scenes: Sequence[Scene]) -> list[Fault]:
    if len(scenes) <= 1 or options.run_all or options.scenes:
        return []
    names = [scene.seq_name for scene in scenes]
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    remedy = "name them with --scenes or --scene-name-includes, or train all of them with --run-all"
    return [Fault(f"{len(names)} scenes match", shown, remedy)]


def _absent_input(
    options: LaunchOptions, scenes: Sequence[Scene], script: TrainScript, roots: Roots
) -> list[Fault]:
    """Return what the project's own trainer would miss on the disk."""
    from preprocess.data_checks import missing_data_of_all

    if not script.is_own:
        return []
    with_depth = not script.is_for_refiner and bool(script.values.get(DEPTH_WEIGHT, 1))
    faults = missing_data_of_all(scenes, roots.scene_data_root, with_depth=with_depth)
    if not faults:
        faults = scene_file_faults(script, scenes, roots)
    for scene in scenes:
        faults += checks.input_file_faults(script.input_files(scene))
    if script.schema and script.is_for_refiner:
        faults += checks.generation_faults(script.schema, scenes, roots)
    if script.schema and script.is_evaluation:
        faults += checks.evaluation_faults(script.schema, options.exp_name, scenes, roots)
    return list(dict.fromkeys(faults))


def _refiner_faults(
    options: LaunchOptions, scenes: Sequence[Scene], script: TrainScript, roots: Roots
) -> list[Fault]:
    if script.schema and script.mode is TRAIN:
        return checks.refiner_faults(script.schema, scenes)
    if script.schema and script.mode is REFINER_TRAIN:
        return checks.refiner_data_faults(script.schema, options.exp_name, roots)
    return []


def _plan_without_scenes(launch: _Launch) -> Plan:
    options = launch.options
    gpus = () if launch.slurm else visible_gpus()  # in a job, Slurm says which
    left_out = left_out_warning(given_path(options, "scenes_dir"))
    warnings = tuple(filter(None, [left_out, *map(str, grouped(launch.absent))]))
    warnings += (*launch.script.warnings, *launch.warnings)
    warnings += launch.slurm.warnings if launch.slurm else ()
    warnings += (launch.reading.warning,) if launch.reading and launch.reading.warning else ()
    if gpus and options.workers > len(gpus):
        warnings += (f"--workers {options.workers}: only {len(gpus)} GPUs, one scene each",)
    return Plan(
        plan_id=new_plan_id(options.exp_name),
        created=now(),
        exp_name=options.exp_name,
        output_subdir=launch.script.output_subdir,
        roots=launch.roots,
        scenes=(),
        sources=launch.sources,
        workers=_workers(options.workers, len(gpus)),
        gpus=gpus,
        max_retries=options.max_retries,
        max_failures=options.max_failures,
        slurm=launch.slurm,
        warnings=warnings,
    )


def _workers(wanted: int, gpus: int) -> int:
    """Return how many scenes run at once: one per GPU at most, without GPUs as many as wanted."""
    return min(wanted or gpus, gpus) if gpus else wanted or 1


def _plan_aggregate(launch: _Launch, plan: Plan) -> AggregatePlan:
    options = launch.options
    command = launch.script.aggregate_command(options.exp_name)
    return AggregatePlan(
        command=(plan.python, *command) if command else (),
        environment={
            **launch.script.environment,
            **plan.roots.environment(),
            **variables_of_installed_copy(),
            "TS_PLAN_FILE": str(plan.file),
            "TS_EXP_NAME": options.exp_name,
        },
        log=plan.roots.experiment_folder(options.exp_name) / AGGREGATE_LOG,
        job_name=options.aggregate_job_name or f"{job_name(options)}_aggregate",
        time_limit_s=seconds_of(options.aggregate_time),
    )


def _plan_scene(launch: _Launch, plan: Plan, scene: Scene) -> ScenePlan:
    trained = _training_record(plan, scene)
    planned = _undecided(launch, plan, scene)
    record = _recorded(planned.output)
    update: dict[str, object] = {"code_version": launch.code_version(record)}
    if record and launch.former_records.count_as_current(record, scene, trained):
        update["former_fingerprint"] = record.fingerprint
    planned = planned.model_copy(update=update)
    action, reason = decide(planned)
    return planned.model_copy(update={"action": action, "reason": reason})


def _undecided(launch: _Launch, plan: Plan, scene: Scene) -> ScenePlan:
    """Return a scene's plan before its record has been looked at."""
    options, script = launch.options, launch.script
    scene_file = os.path.abspath(scene.file or "")
    deciding = script.deciding_values(scene)
    variables = {
        **script.environment,
        **plan.roots.environment(),
        **variables_of_installed_copy(),
        "TS_SCENE_FILE": scene_file,
        "TS_SCENE_NAME": scene.seq_name,
        "TS_EXP_NAME": options.exp_name,
    }
    if scene is ONLY_REFINER:
        del variables["TS_SCENE_FILE"], variables["TS_SCENE_NAME"]
    return ScenePlan(
        name=scene.seq_name,
        exp_name=options.exp_name,
        scene={} if scene is ONLY_REFINER else scene.raw,
        scene_file=Path(scene_file),
        action="run",
        reason="new",
        command=(plan.python, *script.command(scene.seq_name, options.exp_name)),
        environment=variables,
        output=plan.roots.output_folder(scene.seq_name, options.exp_name, plan.output_subdir),
        fingerprint=fingerprint(deciding, scene.raw),
        made_from=_made_from(launch, plan.roots, scene),
        configuration=script.without_secrets(deciding),
        sources=plan.sources,
        retrain_other_code=options.rerun_triggers == "code",
        expected_outputs=script.expected_outputs,
        time_limit_s=_scene_time_s(options, plan.slurm),
        kill_grace_s=options.kill_grace,
        cancelled=plan.cancelled,
        retrain_done_before=plan.created if options.force else None,
    )


def _made_from(launch: _Launch, roots: Roots, scene: Scene) -> tuple[Path, ...]:
    """Return the output folders of other runs that a run uses, existing or not."""
    name, mode = launch.options.exp_name, launch.script.mode
    if mode is REFINER_TRAIN:
        shards = GENERATE.output_subdir
        return tuple(roots.output_folder(each.seq_name, name, shards) for each in launch.scenes)
    if mode and mode.output_subdir:  # with the model that the experiment has trained
        return (roots.output_folder(scene.seq_name, name),)
    refiner = launch.script.refiner_folder
    return (refiner,) if refiner else ()


def _training_record(plan: Plan, scene: Scene) -> RunRecord | None:
    """Return the record of the training whose model the run mode uses; None where none is used."""
    trained = plan.roots.output_folder(scene.seq_name, plan.exp_name)
    return _recorded(trained) if plan.output_subdir and has_checkpoint(trained) else None


def _recorded(output: Path) -> RunRecord | None:
    try:
        return read_record(output)
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error


def _scene_time_s(options: LaunchOptions, slurm: SlurmPlan | None) -> int:
    return scene_time_s(slurm.time_s, options) if slurm else options.time_limit_s
