"""From options to the plan: `make_plan` is the whole story. It creates nothing.

`launch.py` has read and checked everything by then; here it is planned scene by scene.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from preprocess.faults import Fault, FaultsError, grouped
from preprocess.registry import left_out_warning
from preprocess.roots import variables_of_installed_copy
from preprocess.scene import Scene
from training.configuration.fingerprint import fingerprint
from training.configuration.run_modes import GENERATE, REFINER_TRAIN
from training.plan.checks import output_faults
from training.plan.expected_times import former_times, with_expected_times
from training.plan.gpu_checks import sharing_warnings
from training.plan.launch import ONLY_REFINER, Launch, Variant, check_launch
from training.plan.model import AggregatePlan, Plan, ScenePlan
from training.plan.options import LaunchOptions
from training.plan.scene_decision import decide_by, other_code_warning
from training.plan.slurm_model import SlurmPlan
from training.plan.slurm_plan import job_name, scene_time_s
from training.plan.train_script import given_path
from training.records.expected_outputs import has_checkpoint
from training.records.record import RecordError, RunRecord, now, read_record
from training.slurm.times import seconds_of
from training.system.gpus import visible_gpus
from training.system.memory import garbage_collection_paused

AGGREGATE_LOG = "aggregate.log"


def make_plan(
    options: LaunchOptions, only: Collection[str] | None = None, *, is_in_loop: bool = False
) -> Plan:
    """Check everything and return what will run; creates nothing.

    `only`: names that are left of the chosen scenes. `is_in_loop`: earlier stages are about to make
    models, data and a refiner, which are not judged then. Raises FaultsError with all faults at
    once. In a dry run, input that this machine lacks is a warning of the plan.
    """
    launch = check_launch(options, only, is_in_loop=is_in_loop)
    plan = _plan_without_scenes(launch)
    with garbage_collection_paused():
        former = former_times(plan.roots, plan.output_subdir)
        in_registry = (each for own in launch.variants for each in _scenes(launch, plan, own))
        scenes = with_expected_times(in_registry, former)
    if closed := output_faults(scenes):
        raise FaultsError(closed)
    warnings = (*plan.warnings, *other_code_warning(scenes))
    aggregate = _plan_aggregate(launch, plan) if options.auto_schedule_aggregate else None
    update = {"scenes": scenes, "aggregate": aggregate, "warnings": warnings}
    plan = _with_warm_starts(plan.model_copy(update=update), options)
    return plan.with_reading(launch.reading) if launch.reading else plan


def new_plan_id(exp_name: str) -> str:
    """Return a plan's name: experiment and current time, sortable, unique to the microsecond."""
    return f"{exp_name}-{now().strftime('%Y%m%dT%H%M%S.%f')}"


def _with_warm_starts(plan: Plan, options: LaunchOptions) -> Plan:
    """Return the plan with warm starts where scenes follow each other in one process."""
    at_once, in_one_place = plan.workers, len(plan.of("run"))
    if plan.slurm:
        at_once, in_one_place = plan.scenes_per_gpu, plan.slurm.scenes_per_job
    if options.cold_start or in_one_place <= at_once:
        return plan
    scenes = tuple(each.model_copy(update={"warm_start": True}) for each in plan.scenes)
    return plan.model_copy(update={"scenes": scenes})


def _plan_without_scenes(launch: Launch) -> Plan:
    options = launch.options
    gpus = () if launch.slurm else visible_gpus()  # in a job, Slurm says which
    left_out = left_out_warning(given_path(options, "scenes_dir"))
    warnings = tuple(filter(None, [left_out, *map(str, grouped(launch.absent))]))
    warnings += tuple(launch.warnings)
    warnings += launch.slurm.warnings if launch.slurm else ()
    warnings += (launch.reading.warning,) if launch.reading and launch.reading.warning else ()
    warnings += tuple(sharing_warnings(options, gpus, len(launch.scenes) * len(launch.variants)))
    return Plan(
        plan_id=new_plan_id(options.exp_name),
        created=now(),
        exp_name=options.exp_name,
        output_subdir=launch.script.output_subdir,
        roots=launch.roots,
        scenes=(),
        sources=launch.sources,
        workers=_workers(options, len(gpus)),
        gpus=gpus,
        scenes_per_gpu=options.slurm_scenes_per_gpu if launch.slurm else options.scenes_per_gpu,
        max_retries=options.max_retries,
        max_failures=options.max_failures,
        slurm=launch.slurm,
        warnings=warnings,
    )


def _workers(options: LaunchOptions, gpus: int) -> int:
    """Return how many scenes run at once: what GPUs take at most, without any what is wanted."""
    places = gpus * options.scenes_per_gpu
    return min(options.workers or places, places) if gpus else options.workers or 1


def _plan_aggregate(launch: Launch, plan: Plan) -> AggregatePlan:
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


def _scenes(launch: Launch, plan: Plan, variant: Variant) -> Iterator[ScenePlan]:
    """Yield the plans of all scenes with the configuration of a variant."""
    options, script = variant.options, variant.script
    variables = {
        **script.environment,
        **plan.roots.environment(),
        **variables_of_installed_copy(),
        "TS_EXP_NAME": options.exp_name,
    }
    of_all = ScenePlan(
        name="",
        exp_name=options.exp_name,
        scene={},
        scene_file=Path(),
        action="run",
        reason="new",
        command=(),
        environment=variables,
        output=Path(),
        fingerprint="",
        sources=plan.sources,
        retrain_other_code=options.rerun_triggers == "code",
        expected_outputs=script.expected_outputs,
        time_limit_s=_scene_time_s(options, plan.slurm),
        kill_grace_s=options.kill_grace,
        cancelled=plan.cancelled,
        retrain_done_before=plan.created if options.force else None,
    )
    for scene in launch.planned:
        yield _plan_scene(launch, plan, variant, of_all, scene)


def _plan_scene(
    launch: Launch, plan: Plan, variant: Variant, of_all: ScenePlan, scene: Scene
) -> ScenePlan:
    trained = _training_record(plan, variant, scene)
    planned = _undecided(launch, plan, variant, of_all, scene)
    record = _recorded(planned.output)
    update: dict[str, object] = {"code_version": launch.code_version(record)}
    if record and variant.former_records.count_as_current(record, scene, trained):
        update["former_fingerprint"] = record.fingerprint
    planned = planned.model_copy(update=update)
    action, reason = decide_by(planned, record)
    return planned.model_copy(update={"action": action, "reason": reason})


def _undecided(
    launch: Launch, plan: Plan, variant: Variant, of_all: ScenePlan, scene: Scene
) -> ScenePlan:
    """Return a scene's plan before its record has been looked at.

    `of_all`: what is the same for all scenes of the variant.
    """
    script, exp_name = variant.script, of_all.exp_name
    deciding = script.deciding_values(scene)
    update: dict[str, object] = {
        "name": variant.setting.label(scene.seq_name),
        "command": (plan.python, *script.command(scene.seq_name, exp_name)),
        "output": plan.roots.output_folder(scene.seq_name, exp_name, plan.output_subdir),
        "fingerprint": fingerprint(deciding, scene.raw),
        "made_from": _made_from(launch, variant, scene),
        "configuration": script.without_secrets(deciding),
        "scene_file": Path(os.path.abspath(scene.file or "")),
    }
    if scene is not ONLY_REFINER:
        own = {"TS_SCENE_FILE": str(update["scene_file"]), "TS_SCENE_NAME": scene.seq_name}
        update |= {"scene": scene.raw, "environment": {**of_all.environment, **own}}
    return of_all.model_copy(update=update)


def _made_from(launch: Launch, variant: Variant, scene: Scene) -> tuple[Path, ...]:
    """Return the output folders of other runs that a run uses, existing or not."""
    name, mode, roots = variant.options.exp_name, variant.script.mode, launch.roots
    if mode is REFINER_TRAIN:
        shards = GENERATE.output_subdir
        return tuple(roots.output_folder(each.seq_name, name, shards) for each in launch.scenes)
    if mode and mode.output_subdir:  # with the model that the experiment has trained
        return (roots.output_folder(scene.seq_name, name),)
    refiner = variant.script.refiner_folder
    return (refiner,) if refiner else ()


def _training_record(plan: Plan, variant: Variant, scene: Scene) -> RunRecord | None:
    """Return the record of the training whose model the run mode uses; None where none is used."""
    trained = plan.roots.output_folder(scene.seq_name, variant.options.exp_name)
    return _recorded(trained) if plan.output_subdir and has_checkpoint(trained) else None


def _recorded(output: Path) -> RunRecord | None:
    try:
        return read_record(output)
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error


def _scene_time_s(options: LaunchOptions, slurm: SlurmPlan | None) -> int:
    return scene_time_s(slurm.time_s, options) if slurm else options.time_limit_s
