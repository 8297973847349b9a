"""The stages of `--loop`, from training to novel views that a refiner of one's own has improved.

Each stage is an ordinary plan: a run mode, scenes, overrides and an experiment. The stages run in
sequence, each after those that it needs, whatever runs them; what is done is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import Fault, FaultsError, unusable_paths_refused
from training.configuration.launch_arguments import assigned, assignment, key_of
from training.configuration.run_modes import GENERATE, REFINER_TRAIN, TRAIN
from training.plan.checks import NOVEL_VIEWS, FaultCollector
from training.plan.launch import choose_scenes
from training.plan.make_plan import make_plan
from training.plan.model import LoopStage, Plan, ScenePlan
from training.plan.option_types import LONGEST_NAME
from training.plan.options import LaunchOptions
from training.plan.train_script import (
    CHECKPOINT_KEY,
    MODE_KEY,
    OWN_SCRIPT,
    REFINER_KEY,
    REFINER_SWITCH,
    given_path,
    load_train_script,
)
from training.system.paths import REFINER, Roots, resolve_roots

SOURCE, CAMERAS = f"{NOVEL_VIEWS}.source", f"{NOVEL_VIEWS}.num_cameras"
SET_BY_LOOP = (
    MODE_KEY,
    SOURCE,
    REFINER_SWITCH,
    REFINER_KEY,
    CHECKPOINT_KEY,  # stage train makes it
)
DEFAULT_CAMERAS = "4"
SOURCES = ("refined", "rendered", "captured")
"""Where the novel views of the test groups' scenes come from, each in an experiment of its own."""


@dataclass(frozen=True)
class _Stage:
    """A stage before it is planned."""

    name: str
    overrides: tuple[str, ...]
    after: tuple[str, ...] = ()
    is_comparison: bool = False
    """Whether it is of the test groups' scenes alone, in the experiment <loop>_<name>."""


def make_plans(options: LaunchOptions) -> tuple[Plan, ...]:
    """Return the plans of a launch in the order in which they run: one, with --loop its stages.

    Raises FaultsError with the faults of all of them; creates nothing.
    """
    with unusable_paths_refused():
        return _make_loop(options) if options.loop else (make_plan(options),)


def blockers(plan: Plan, not_done: Collection[str]) -> list[str]:
    """Return which of the stages that are not done keep a plan from being started."""
    return [name for name in plan.stage.after if name in not_done] if plan.stage else []


def stages_of(plans: Iterable[Plan]) -> dict[str, Plan]:
    """Return the plans of a loop by the names of their stages."""
    return {plan.stage.name: plan for plan in plans if plan.stage}


def _make_loop(options: LaunchOptions) -> tuple[Plan, ...]:
    faults = FaultCollector(_flag_faults(options))
    faults.raise_found()
    faults.add(_override_faults(options))
    options = options.model_copy(update={"overrides": _users_own(options)})
    test_scenes = faults.collect(_test_scenes, options)
    roots = faults.collect(resolve_roots, options.model_dump())
    plans = []
    for stage in _stages(options, roots):
        only = test_scenes if stage.is_comparison else None
        given = _options_of(stage, options)
        plan = faults.collect(make_plan, given, only, is_in_loop=True)
        if plan:
            plans.append(_with_stage(plan, stage, options))
    faults.raise_found()
    return _linked(with_remade(plans))


def _stages(options: LaunchOptions, roots: Roots | None) -> tuple[_Stage, ...]:
    """Return the stages in order; `roots` is None where they could not be resolved."""
    refiner = roots.output_folder(REFINER, options.exp_name, REFINER) if roots else REFINER
    cameras = f"{CAMERAS}={assigned(options.overrides, CAMERAS) or DEFAULT_CAMERAS}"
    use = {"refined": (f"{REFINER_SWITCH}=true", assignment(REFINER_KEY, str(refiner)))}
    before = (
        _Stage("train", (f"{MODE_KEY}={TRAIN.name}", f"{CAMERAS}=0")),
        _Stage("generate", (f"{MODE_KEY}={GENERATE.name}", f"{CAMERAS}=0"), ("train",)),
        _Stage(REFINER, (f"{MODE_KEY}={REFINER_TRAIN.name}", f"{CAMERAS}=0"), ("generate",)),
    )
    compared = [
        _Stage(
            name=source,
            overrides=(f"{SOURCE}={source}", cameras, *use.get(source, ())),
            after=(REFINER,) if source in use else (),
            is_comparison=True,
        )
        for source in SOURCES
    ]
    return (*before, *compared)


def _options_of(stage: _Stage, options: LaunchOptions) -> LaunchOptions:
    kept = [text for text in options.overrides if key_of(text) != CAMERAS]
    base = options.slurm_job_name or options.exp_name
    update: dict[str, object] = {
        "loop": False,
        "overrides": (*kept, *stage.overrides),
        "slurm_job_name": f"{base}_{stage.name}",
    }
    if stage.is_comparison:
        update["exp_name"] = experiment_of(options.exp_name, stage.name)
    return options.model_copy(update=update)


def experiment_of(loop: str, source: str) -> str:
    """Return the experiment that trains the test groups' scenes with novel views from `source`."""
    return f"{loop}_{source}"


def _with_stage(plan: Plan, stage: _Stage, options: LaunchOptions) -> Plan:
    return plan.model_copy(
        update={"stage": LoopStage(name=stage.name, after=stage.after, loop=options.exp_name)}
    )


def with_remade(plans: Sequence[Plan]) -> Sequence[Plan]:
    """Return the plans of a loop with what is done run where something it is made from is to run.

    Its attempt finds by its record whether that has changed anything. Data is merged only where
    the refiner is to be trained with it. Any other plan is returned as it is.
    """
    if not stages_of(plans):
        return plans
    found: list[Plan] = []
    running: set[Path] = set()
    for plan in plans:
        scenes = tuple(_remade(scene, running) for scene in plan.scenes)
        running |= {scene.output for scene in scenes if scene.action == "run"}
        found.append(plan.model_copy(update={"scenes": scenes}))
    if not stages_of(found)[REFINER].of("run"):
        found = [
            plan.model_copy(update={"aggregate": None}) if _merges(plan) else plan for plan in found
        ]
    return found


def _merges(plan: Plan) -> bool:
    return plan.aggregate is not None and bool(plan.aggregate.command)


def _remade(scene: ScenePlan, running: Collection[Path]) -> ScenePlan:
    if scene.action != "skip" or not any(folder in running for folder in scene.made_from):
        return scene
    reason = "what it is made from is made again"
    return scene.model_copy(update={"action": "run", "reason": reason})


def _linked(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return the plans, each knowing all of them by id."""
    ids = tuple(plan.plan_id for plan in plans)
    return tuple(
        plan.model_copy(
            update={"stage": plan.stage and plan.stage.model_copy(update={"plans": ids})}
        )
        for plan in plans
    )


def _test_scenes(options: LaunchOptions) -> list[str]:
    """Return the chosen scenes of test groups, on which the refiner is tried.

    Raises FaultsError where there are none; that none are left to train with is a fault of the
    stage that makes the data.
    """
    from training.trainer.scene_groups import CONFIG_KEY, groups_of, held_out_groups

    mode = options.model_copy(
        update={"overrides": (*options.overrides, f"{MODE_KEY}={GENERATE.name}")}
    )
    schema = load_train_script(mode, None).schema
    names = [scene.seq_name for scene in choose_scenes(options)]
    if schema is None:  # the stages say why
        return names
    groups = groups_of(names, schema.difix_data_generation)
    held_out = held_out_groups(groups.values(), schema.difix_data_generation)
    chosen = [name for name, group in groups.items() if group in held_out]
    if not chosen and names:
        found = ", ".join(sorted(set(map(str, groups.values()))))
        remedy = f"choose scenes of a test group too, or set {CONFIG_KEY}.test_groups"
        raise FaultsError([Fault("--loop: no chosen scene is of a test group", found, remedy)])
    return chosen


def _flag_faults(options: LaunchOptions) -> list[Fault]:
    found = []
    if given_path(options, "train_script") != OWN_SCRIPT:
        remedy = "leave --train-script out, or launch the stages one by one"
        found.append(Fault("--loop needs the project's own trainer", options.train_script, remedy))
    if not options.auto_schedule_aggregate:
        remedy = "leave it out: the refiner needs the data that the aggregate merges"
        found.append(Fault("--loop excludes --no-auto-schedule-aggregate", remedy=remedy))
    if options.sweep:
        remedy = "sweep over the training, or start a loop for each setting"
        found.append(Fault("--loop excludes --sweep", " ".join(options.sweep), remedy))
    longest = max((experiment_of(options.exp_name, source) for source in SOURCES), key=len)
    if len(longest) > LONGEST_NAME:
        remedy = f"use at most {LONGEST_NAME - len(longest) + len(options.exp_name)} characters"
        found.append(Fault("--loop: the experiment's name is too long", options.exp_name, remedy))
    return found


def _users_own(options: LaunchOptions) -> tuple[str, ...]:
    return tuple(text for text in options.overrides if key_of(text) not in SET_BY_LOOP)


def _override_faults(options: LaunchOptions) -> list[Fault]:
    remedy = "leave it out"
    return [
        Fault(f"--loop sets {key_of(text)} itself", text, remedy)
        for text in options.overrides
        if key_of(text) in SET_BY_LOOP
    ]
