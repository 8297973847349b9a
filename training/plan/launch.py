"""A launch: everything that the options name, read and checked, before anything is created."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.faults import MOST_NAMES, Fault, FaultsError
from preprocess.registry import load_scenes, named_scenes, select_scenes
from preprocess.roots import CHECKOUT
from preprocess.scene import Scene
from training.configuration.code_version import with_commit
from training.configuration.run_modes import REFINER_TRAIN, TRAIN
from training.plan import checks
from training.plan.file_checks import file_faults_of_settings, left_out_warnings
from training.plan.former_records import FormerRecords
from training.plan.gpu_checks import gpu_problems, sharing_faults
from training.plan.options import LaunchOptions
from training.plan.slurm_model import SlurmPlan
from training.plan.slurm_plan import plan_slurm, split_argument_faults
from training.plan.sweep import Setting, in_settings, settings_of, too_many_trainings
from training.plan.train_script import (
    OWN_CONFIG,
    OWN_SCRIPT,
    TrainScript,
    given_path,
    load_train_scripts,
)
from training.plan.trained_models import with_trained_models
from training.records.record import CodeVersion, RunRecord
from training.snapshots.manifest import SNAPSHOTS, Sources, entry
from training.system.gpus import visible_gpus
from training.system.paths import REFINER, Roots, resolve_roots
from training.system.typed_command import spelled

if TYPE_CHECKING:
    from training.snapshots.sources import Reading

DEPTH_WEIGHT = "train.optimization.loss.depth"
ONLY_REFINER = Scene(seq_name=REFINER, cam_id=0)
"""Stands in a plan for what run_mode=refiner_train does once for all scenes."""


@dataclass(frozen=True)
class Variant:
    """A setting of a sweep with its trainer; of a launch without a sweep its only one."""

    setting: Setting
    options: LaunchOptions
    """With the experiment and the overrides of the setting."""
    script: TrainScript
    former_records: FormerRecords
    """Judge of the records that the version before has written."""


@dataclass(frozen=True)
class Launch:
    """The options and what they name, read and found to be right."""

    options: LaunchOptions
    roots: Roots
    scenes: Sequence[Scene]
    variants: Sequence[Variant]
    slurm: SlurmPlan | None
    absent: Sequence[Fault]
    """Input that this machine lacks; only a dry run gets so far with it."""
    warnings: Sequence[str]
    """What is probably not meant."""
    reading: Reading | None
    """The sources of the script; None in a dry run."""

    @property
    def script(self) -> TrainScript:
        """The trainer of the first variant: all have the same code, run mode and outputs."""
        return self.variants[0].script

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


@dataclass
class _Found:
    """What was found in the configuration of one variant."""

    script: TrainScript
    """As it will run."""
    faults: list[Fault] = field(default_factory=list)
    absent: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_launch(
    options: LaunchOptions, only: Collection[str] | None, *, is_in_loop: bool
) -> Launch:
    """Read and check everything that the options name; raises FaultsError with all faults.

    For `only` and `is_in_loop` see `make_plan`.
    """
    faults = checks.FaultCollector(misplaced_flags(options))
    roots = faults.collect(resolve_roots, options.model_dump())
    scenes = _collect_scenes(faults, options, only)
    reading = _read_sources(options, roots) if roots and not options.dry_run else None
    settings = faults.collect(_settings, options, len(scenes)) or (Setting(),)
    scripts = faults.collect(load_train_scripts, options, roots, settings) or []
    faults.add(_edited_meanwhile(options, reading))
    state_root = roots.state_root if roots else None
    slurm = faults.collect(plan_slurm, options, state_root) if options.on_slurm else None
    faults.add(sharing_faults(options, visible_gpus() if options.scenes_per_gpu > 1 else (), slurm))
    faults.add(_root_faults(options, roots, slurm) if roots else [])
    found = [
        _check_script(setting.of(options), script, scenes, roots, slurm, is_in_loop=is_in_loop)
        for setting, script in zip(settings, scripts, strict=False)
    ]
    faults.add(in_settings(settings, [each.faults for each in found]))
    absent = _absent_data(scenes, scripts, roots) if roots else []
    absent += in_settings(settings, [each.absent for each in found])
    faults.add([] if options.dry_run else absent)
    if faults.found or roots is None:
        raise FaultsError(faults.found)
    variants = _variants(options, settings, found, roots)
    warnings = dict.fromkeys(line for each in found for line in each.warnings)
    absent = list(dict.fromkeys(absent))
    return Launch(options, roots, scenes, variants, slurm, absent, tuple(warnings), reading)


def _collect_scenes(
    faults: checks.FaultCollector, options: LaunchOptions, only: Collection[str] | None
) -> list[Scene]:
    """Return those of the chosen scenes that are among `only`, if given; collect their faults."""
    scenes = faults.collect(choose_scenes, options) or []
    faults.add(_too_many_scenes(options, scenes))
    return [scene for scene in scenes if only is None or scene.seq_name in only]


def _root_faults(options: LaunchOptions, roots: Roots, slurm: SlurmPlan | None) -> list[Fault]:
    """Return what is wrong with the folders, and with names inside them."""
    return [
        *checks.folder_faults(roots),
        *checks.sweep_name_faults(options, roots),
        *(split_argument_faults(slurm, roots) if slurm else ()),
    ]


def _variants(
    options: LaunchOptions, settings: Sequence[Setting], found: Sequence[_Found], roots: Roots
) -> list[Variant]:
    return [
        Variant(setting, own, each.script, FormerRecords(own, roots, each.script))
        for setting, each in zip(settings, found, strict=True)
        for own in [setting.of(options)]
    ]


def _settings(options: LaunchOptions, scenes: int) -> tuple[Setting, ...]:
    config = OWN_CONFIG if _trains_own(options) else _config_path(options)
    settings = settings_of(options.sweep, options.overrides, config)
    if faults := too_many_trainings(len(settings), scenes):
        raise FaultsError(faults)
    return settings


def _check_script(
    options: LaunchOptions,
    script: TrainScript,
    scenes: Sequence[Scene],
    roots: Roots | None,
    slurm: SlurmPlan | None,
    *,
    is_in_loop: bool,
) -> _Found:
    """Check the configuration of one variant."""
    found = _Found(script, [*script.faults], warnings=[*script.warnings])
    found.faults += checks.virtual_camera_faults(script.values, scenes)
    if options.sweep and script.aggregate_command(options.exp_name):
        what = "--sweep merges no data: each setting would need a merge of its own"
        remedy = "start an experiment for each setting"
        found.faults.append(Fault(what, f"run_mode={script.values.get('run_mode')}", remedy))
    if script.schema and script.is_for_refiner and scenes:
        will_merge = options.auto_schedule_aggregate
        wrong, warnings = checks.split_problems(script.schema, scenes, will_merge=will_merge)
        found.faults += wrong
        found.warnings += warnings
    if script.is_own:
        wrong, of_gpus = gpu_problems(str(script.values.get("device")), visible_gpus(), slurm)
        found.faults += wrong
        found.warnings += of_gpus
    if script.is_own and roots:
        found.absent += _absent_input(options, scenes, script, roots)
        found.warnings += left_out_warnings(script, scenes, roots)
    if roots and not is_in_loop:
        found.script, untrained, more = with_trained_models(options, scenes, script, roots)
        found.absent += [*untrained, *_refiner_faults(options, scenes, script, roots)]
        found.warnings += more
    return found


def _read_sources(options: LaunchOptions, roots: Roots) -> Reading | None:
    """Read the trainer's sources before its configuration is; None where there are none."""
    from training.snapshots.sources import read_sources

    with contextlib.suppress(OSError):  # then the script is a fault of its own
        return read_sources(
            given_path(options, "train_script"),
            _config_path(options),
            CHECKOUT if _trains_own(options) else None,
            tuple(roots.model_dump().values()),
            roots.state_root,
            keep=options.snapshot,
        )
    return None


def _trains_own(options: LaunchOptions) -> bool:
    return given_path(options, "train_script") == OWN_SCRIPT


def _config_path(options: LaunchOptions) -> Path | None:
    if _trains_own(options):
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


def misplaced_flags(options: LaunchOptions) -> list[Fault]:
    """Return a fault for a flag of the launcher's array given to the flow, or the other way.

    And for the name of a sweep's setting, which only the sweep itself starts.
    """
    if "/" in options.exp_name:
        remedy = "name the sweep and give its --sweep again: what is done is left out"
        return [Fault("--exp-name names a setting of a sweep", options.exp_name, remedy)]
    if options.submit and type(options) is not LaunchOptions:
        remedy = "for the flow say --cluster slurm"
        return [Fault(f"--submit belongs to {spelled('launch')}", remedy=remedy)]
    if options.submit and options.slurm_probe != "auto":
        remedy = f"leave it out: an array has no probe; or use {spelled('train')}"
        return [Fault(f"--slurm.probe belongs to {spelled('train')}", remedy=remedy)]
    if options.orphan_grace and (options.submit or not options.on_slurm):
        flow = f"{spelled('train')} --cluster slurm"
        why = "an array needs no flow" if options.submit else "on this machine scenes end with it"
        what = f"--orphan-grace belongs to {flow}"
        return [Fault(what, options.orphan_grace, f"leave it out: {why}; or use that command")]
    several = {
        "--slurm.scenes-per-job": options.slurm_scenes_per_job,
        "--slurm.scenes-per-gpu": options.slurm_scenes_per_gpu,
    }
    remedy = "leave it out: each job of an array trains one scene; or use the flow"
    return [
        Fault(f"{flag} belongs to {spelled('train')}", str(count), remedy)
        for flag, count in several.items()
        if options.submit and count > 1
    ]


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


def _absent_data(
    scenes: Sequence[Scene], scripts: Sequence[TrainScript], roots: Roots
) -> list[Fault]:
    """Return what of the scenes' data the project's own trainer would miss in any variant."""
    from preprocess.data_checks import missing_data_of_all

    own = [script for script in scripts if script.mode and not script.mode.is_for_experiment]
    if not own:
        return []
    with_depth = any(_needs_depth(script) for script in own)
    missing = missing_data_of_all(scenes, roots.scene_data_root, with_depth=with_depth)
    return missing or file_faults_of_settings(own, scenes, roots)


def _needs_depth(script: TrainScript) -> bool:
    return script.mode is TRAIN and bool(script.values.get(DEPTH_WEIGHT, 1))


def _absent_input(
    options: LaunchOptions, scenes: Sequence[Scene], script: TrainScript, roots: Roots
) -> list[Fault]:
    """Return what else the project's own trainer would miss on the disk."""
    files = dict.fromkeys(tuple(script.input_files(scene).items()) for scene in scenes)
    faults = [fault for each in files for fault in checks.input_file_faults(dict(each))]
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
