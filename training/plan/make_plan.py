"""From options to the plan: everything is read and checked, nothing is created."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.faults import MOST_NAMES, Fault, FaultsError
from preprocess.registry import load_scenes, select_scenes
from preprocess.roots import CHECKOUT
from preprocess.scene import Scene
from training.configuration import overrides
from training.configuration.fingerprint import fingerprint, source_version, trainer_digest
from training.plan import checks
from training.plan.model import AggregatePlan, Plan, ScenePlan, SlurmPlan, new_plan_id
from training.plan.options import LaunchOptions
from training.plan.scene_decision import decide
from training.plan.slurm_plan import job_name, plan_slurm, scene_time_s
from training.records.expected_outputs import EXPECTED_OUTPUTS, OUTPUT_SUBDIRS, has_checkpoint
from training.records.record import now, read_record
from training.slurm.times import seconds_of
from training.system.gpus import visible_gpus
from training.system.paths import Roots, resolve_roots

OWN_SCRIPT = CHECKOUT / "training" / "simple_multi_human_trainer.py"
OWN_CONFIG = CHECKOUT / "training" / "configs" / "train.yaml"
GENERATE = "difix_data_generation_generate"
AGGREGATE_LOG = "aggregate.log"
AGGREGATE = "difix_data_generation_aggregate"
ONCE = Fault(
    "runs once for all scenes, not for each",
    f"run_mode={AGGREGATE}",
    f"give run_mode={GENERATE}: what is generated is left out, and the aggregate runs",
)
OWN_SOURCES = (
    "training/simple_multi_human_trainer.py",
    "training/trainer/**/*.py",
    "preprocess/body/body_model.py",
    "preprocess/body/joints.py",
    "preprocess/scene_data.py",
    "preprocess/layout.py",
    "preprocess/assets/*.npz",
)


@dataclass(frozen=True)
class Trainer:
    """The script that trains, and what is known of it."""

    script: Path
    config: dict[str, Any]
    """Composed with the overrides; empty where no Hydra configuration is named."""
    overrides: tuple[str, ...]
    expected_outputs: tuple[str, ...]
    output_subdir: str
    """As in `Plan.output_subdir`."""
    digest: str
    """Of the configuration and the trainer's source: a part of every scene's fingerprint."""

    @property
    def is_own(self) -> bool:
        """Whether it is the project's own; what data another one reads is its own affair."""
        return self.script == OWN_SCRIPT

    def command(self, scene: str, exp_name: str) -> tuple[str, ...]:
        """What the interpreter is given to train one scene."""
        return (
            str(self.script),
            overrides.assignment(overrides.SCENE_KEY, scene),
            overrides.assignment(overrides.EXPERIMENT_KEY, exp_name),
            *self.overrides,
        )

    def aggregate_command(self, exp_name: str) -> tuple[str, ...]:
        """What it is given to merge what all scenes wrote; empty when nothing is to be merged."""
        mode = overrides.select(self.config, "run_mode") or overrides.assigned(
            self.overrides, "run_mode"
        )
        if mode != GENERATE:
            return ()
        others = (text for text in self.overrides if not text.startswith("run_mode="))
        experiment = overrides.assignment(overrides.EXPERIMENT_KEY, exp_name)
        return (str(self.script), f"run_mode={AGGREGATE}", experiment, *others)


class _Faults:
    """Collects faults over several checks, so that all are shown at once."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, FaultsError):
            return False
        self.found += error.faults
        return True


def make_plan(options: LaunchOptions) -> Plan:
    """Check everything and say what will run; creates nothing.

    Raises FaultsError with all faults at once. In a dry run, scene data that is not on this
    machine is a warning of the plan instead.
    """
    faults = _Faults()
    roots, scenes, trainer, slurm = None, [], None, None
    with faults:
        roots = resolve_roots(options.model_dump())
        faults.found += checks.folder_faults(roots)
    with faults:
        scenes = _chosen_scenes(options)
    with faults:
        trainer = _trainer(options)
        config = trainer.config
        if trainer.is_own and options.overrides:
            config = checks.resolved_config(config, options.exp_name)
        faults.found += checks.virtual_camera_faults(config, scenes)
        if trainer.output_subdir:
            faults.found += checks.group_faults(trainer.config, options.exp_name, scenes)
    with faults:
        slurm = plan_slurm(options) if options.on_slurm else None
    absent = _data_faults(options, scenes, roots, trainer) if roots and trainer else []
    if not options.dry_run:
        faults.found += absent
    faults.found += _misplaced(options)
    if faults.found or roots is None or trainer is None:
        raise FaultsError(faults.found)
    warnings = tuple(str(fault) for fault in absent)
    plan = _empty_plan(options, trainer.output_subdir, roots, slurm, warnings)
    planned = tuple(_scene_plan(options, plan, scene, trainer) for scene in scenes)
    aggregate = _aggregate_plan(options, plan, trainer)
    return plan.model_copy(update={"scenes": planned, "aggregate": aggregate})


def _empty_plan(
    options: LaunchOptions,
    output_subdir: str,
    roots: Roots,
    slurm: SlurmPlan | None,
    warnings: tuple[str, ...],
) -> Plan:
    gpus = () if slurm else visible_gpus()  # in a job, Slurm says which
    if gpus and options.workers > len(gpus):
        warnings += (f"--workers {options.workers}: only {len(gpus)} GPUs, one scene each",)
    return Plan(
        plan_id=new_plan_id(options.exp_name),
        created=now(),
        exp_name=options.exp_name,
        output_subdir=output_subdir,
        roots=roots,
        scenes=(),
        workers=_workers(options.workers, len(gpus)),
        gpus=gpus,
        max_retries=options.max_retries,
        max_failures=options.max_failures,
        slurm=slurm,
        warnings=warnings,
    )


def _aggregate_plan(options: LaunchOptions, plan: Plan, trainer: Trainer) -> AggregatePlan | None:
    if not options.auto_schedule_aggregate:
        return None
    command = trainer.aggregate_command(options.exp_name)
    return AggregatePlan(
        command=(plan.python, *command) if command else (),
        environment={**plan.roots.environment(), "TS_PLAN_FILE": str(plan.file)},
        log=plan.roots.experiment_folder(options.exp_name) / AGGREGATE_LOG,
        job_name=options.aggregate_job_name or f"{job_name(options)}_aggregate",
        time_limit_s=seconds_of(options.aggregate_time),
    )


def _workers(wanted: int, gpus: int) -> int:
    """One scene per GPU at most; on a machine without, as many as wanted."""
    return min(wanted or gpus, gpus) if gpus else wanted or 1


def _scene_plan(options: LaunchOptions, plan: Plan, scene: Scene, trainer: Trainer) -> ScenePlan:
    scene_file = os.path.abspath(scene.file or "")
    planned = ScenePlan(
        name=scene.seq_name,
        exp_name=options.exp_name,
        scene=scene.raw,
        scene_file=Path(scene_file),
        action="run",
        reason="new",
        command=(plan.python, *trainer.command(scene.seq_name, options.exp_name)),
        environment={**plan.roots.environment(), "TS_SCENE_FILE": scene_file},
        output=plan.roots.output_folder(scene.seq_name, options.exp_name, plan.output_subdir),
        fingerprint=fingerprint(_digest(plan, scene, trainer), scene.raw),
        expected_outputs=trainer.expected_outputs,
        time_limit_s=_scene_time_s(options, plan.slurm),
        kill_grace_s=options.kill_grace,
        cancelled=plan.cancelled,
        retrain_done_before=plan.created if options.force else None,
    )
    action, reason = decide(planned)
    return planned.model_copy(update={"action": action, "reason": reason})


def _digest(plan: Plan, scene: Scene, trainer: Trainer) -> str:
    """What decides a scene's result besides the scene: of a part, the trained model too."""
    if not plan.output_subdir:
        return trainer.digest
    trained = plan.roots.output_folder(scene.seq_name, plan.exp_name)
    record = read_record(trained) if has_checkpoint(trained) else None
    ends = [str(attempt.end) for attempt in record.attempts] if record else []
    return trainer_digest([trainer.digest, *ends], "")


def _scene_time_s(options: LaunchOptions, slurm: SlurmPlan | None) -> int:
    return scene_time_s(slurm.time_s, options) if slurm else options.time_limit_s


def _chosen_scenes(options: LaunchOptions) -> list[Scene]:
    scenes = select_scenes(load_scenes(_given(options, "scenes_dir")), options.scene_name_includes)
    if len(scenes) > 1 and not options.run_all:
        names = [scene.seq_name for scene in scenes]
        shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        remedy = "name one with --scene-name-includes, or train all of them with --run-all"
        raise FaultsError([Fault(f"{len(names)} scenes match", shown, remedy)])
    return scenes


def _given(options: LaunchOptions, field: str) -> Path:
    """A path option: relative to the caller's folder when given, to the checkout by default."""
    value, default = getattr(options, field), LaunchOptions.model_fields[field].default
    return CHECKOUT / default if value == default else Path(os.path.abspath(value))


def _trainer(options: LaunchOptions) -> Trainer:
    script = _given(options, "train_script")
    own = script == OWN_SCRIPT
    named = Path(os.path.abspath(options.train_config)) if options.train_config else None
    config_file = named or (OWN_CONFIG if own else None)
    faults = _Faults()
    config: dict[str, Any] = {}
    faults.found += checks.script_faults(script)
    if own and named not in (None, OWN_CONFIG):
        remedy = "change keys with --overrides, or edit that file"
        what = f"--train-config: the project's own trainer reads {OWN_CONFIG.name}"
        raise FaultsError([Fault(what, str(named), remedy)])
    with faults:
        if config_file is None:
            overrides.check_syntax(options.overrides)
        else:
            config, wrong = overrides.compose(config_file, options.overrides)
            faults.found += wrong
    if own and options.overrides and config:
        faults.found += checks.schema_faults(config, options.exp_name)
    if faults.found:
        raise FaultsError(faults.found)
    mode = overrides.select(config, "run_mode", "train") if own else ""
    if mode == AGGREGATE:
        raise FaultsError([ONCE])
    expected_outputs = EXPECTED_OUTPUTS[mode] if own else options.expect
    sources = _own_sources() if own else [script]
    digest = trainer_digest(config or list(options.overrides), source_version(sources))
    return Trainer(
        script, config, options.overrides, expected_outputs, OUTPUT_SUBDIRS.get(mode, ""), digest
    )


def _own_sources() -> list[Path]:
    return [path for pattern in OWN_SOURCES for path in CHECKOUT.glob(pattern)]


def _data_faults(
    options: LaunchOptions, scenes: Sequence[Scene], roots: Roots, trainer: Trainer
) -> list[Fault]:
    """What the project's own trainer would miss on the disk."""
    from preprocess.data_checks import missing_data

    if not trainer.is_own:
        return []
    faults = [f for scene in scenes for f in missing_data(scene, roots.scene_data_root)]
    if trainer.output_subdir:
        faults += checks.generation_faults(trainer.config, options.exp_name, scenes, roots)
    return faults


def _misplaced(options: LaunchOptions) -> list[Fault]:
    """Flags of the launcher's array given to the flow, and the other way round."""
    if options.submit and type(options) is not LaunchOptions:
        remedy = "for the flow say --cluster slurm"
        return [Fault("--submit belongs to training/run.py", remedy=remedy)]
    if options.submit and options.slurm_scenes_per_job > 1:
        remedy = "leave it out: each job of an array trains one scene; or use the flow"
        return [Fault("--slurm.scenes-per-job belongs to python -m flows.train", remedy=remedy)]
    return []
