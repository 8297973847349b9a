"""A plan as text: what a dry run prints, and what a launch prints before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from preprocess.faults import MOST_NAMES, counted
from training.display.durations import clock
from training.plan.model import Action, AggregatePlan, Plan, ScenePlan

WORDS: dict[Action, str] = {"run": "to run", "skip": "skipped", "held": "held by others"}


def render(plans: Sequence[Plan]) -> str:
    """Return plans for a person: for each scene its command, or why it does not run."""
    return "\n\n".join(map(render_plan, plans))


def render_plan(plan: Plan) -> str:
    """Return one plan for a person."""
    counts = ", ".join(f"{len(plan.of(action))} {word}" for action, word in WORDS.items())
    head = [*_stage(plan)]
    head += _settings(plan) or [
        f"experiment {plan.exp_name}: {counted(len(plan.scenes), 'scene')} chosen, {counts}"
    ]
    head += [f"results: {plan.roots.results_root}", _where(plan), *_order(plan), _sources(plan)]
    warnings = [f"warning: {warning}" for warning in plan.warnings]
    scenes = [_render_scene(scene) for scene in plan.scenes]
    return "\n".join([*head, *warnings, "", *scenes, *_render_aggregate(plan.aggregate)])


def _settings(plan: Plan) -> list[str]:
    """Return a sweep in numbers, and a line for each setting; nothing without a sweep."""
    settings = plan.settings
    if not settings:
        return []
    names = max(map(len, settings))
    lines = [f"  {name:<{names}}  {_counts(scenes)}" for name, scenes in settings.items()]
    return [_sweep(plan), *lines]


def _sweep(plan: Plan) -> str:
    settings = counted(len(plan.settings), "setting")
    scenes = counted(len({each.scene_name for each in plan.scenes}), "scene")
    trainings = counted(len(plan.scenes), "training")
    return f"sweep {plan.exp_name}: {settings} of {scenes}, {trainings}: {_counts(plan.scenes)}"


def _counts(scenes: Sequence[ScenePlan]) -> str:
    found = Counter(scene.action for scene in scenes)
    return ", ".join(f"{found[action]} {word}" for action, word in WORDS.items() if found[action])


def _stage(plan: Plan) -> list[str]:
    """Return a heading for a stage of a loop, and what of it can't be checked before it starts."""
    if plan.stage is None:
        return []
    after = " and ".join(plan.stage.after)
    unchecked = f", after stage {after}: what that makes is checked then" if after else ""
    return [f"=== stage {plan.stage.name}{unchecked}"]


def not_started(plan: Plan, blockers: Sequence[str]) -> str:
    """Return why a stage of a loop was not started, given the stages that it waited for."""
    name = plan.stage.name if plan.stage else plan.exp_name
    return f"=== stage {name}: not started, since stage {' and '.join(blockers)} is not done"


def overview(plans: Sequence[Plan]) -> str:
    """Return what is about to happen: of one plan its header, of a loop a line for each stage."""
    if len(plans) == 1:
        return header(plans[0])
    warnings = dict.fromkeys(f"warning: {each}" for plan in plans for each in plan.warnings)
    return "\n".join([*warnings, *map(_stage_line, plans)])


def _stage_line(plan: Plan) -> str:
    name = plan.stage.name if plan.stage else ""
    after = f", after {' and '.join(plan.stage.after)}" if plan.stage and plan.stage.after else ""
    counts = f"{len(plan.of('run'))} of {len(plan.scenes)} to run"
    return f"stage {name}: experiment {plan.exp_name}, {counts}{after}"


def _where(plan: Plan) -> str:
    if plan.slurm is None:
        longest = max((scene.time_limit_s for scene in plan.scenes), default=0)
        return f"workers: {plan.workers}{_on_gpu(plan)}, at most {clock(longest)} a scene"
    slurm = plan.slurm
    time = clock(slurm.time_s)
    at_once = counted(slurm.parallelism, "scene")
    return f"Slurm: {slurm.script}, {time} a scene, at most {at_once} at once{_on_gpu(plan)}"


def _on_gpu(plan: Plan) -> str:
    return f", {plan.scenes_per_gpu} on a GPU" if plan.scenes_per_gpu > 1 else ""


def _order(plan: Plan) -> list[str]:
    """Return in which order scenes start, where it is not that of their files."""
    known = sum(scene.expected_s is not None for scene in plan.of("run"))
    if not known:
        return []
    return [f"order: longest first, by earlier experiments (known of {counted(known, 'scene')})"]


def _sources(plan: Plan) -> str:
    if plan.sources is None:
        return "sources: as they are then; an attempt after an edit ends as config (--no-snapshot)"
    copies = f"{plan.sources.folder}/<digest>"
    return f"sources: {plan.sources.root}; a launch copies them, attempts run from {copies}"


def _render_aggregate(aggregate: AggregatePlan | None) -> list[str]:
    if aggregate is None or not aggregate.command:
        return []
    return [f"# aggregate: when all scenes are done\n{aggregate.command_line}"]


def _render_scene(scene: ScenePlan) -> str:
    if scene.action != "run":
        return f"# {scene.name}: {scene.action} ({scene.reason})"
    known = scene.expected_s
    took = "" if known is None else f"; {clock(known)} by an earlier experiment"
    return f"# {scene.name}: run ({scene.reason}){took}\n{scene.command_line}"


NOT_RUN: dict[Action, str] = {"run": "", "skip": "skipped, ", "held": "not run, "}


def header(plan: Plan) -> str:
    """Return what is about to happen: a line for each scene, a count where many share a reason."""
    scenes: dict[str, list[str]] = {}
    for scene in plan.scenes:
        scenes.setdefault(NOT_RUN[scene.action] + scene.reason, []).append(scene.name)
    # Those of a loop's stages are in its overview.
    lines = _stage(plan) or [f"warning: {warning}" for warning in plan.warnings]
    lines += [_sweep(plan)] if plan.settings else []
    for reason, names in scenes.items():
        shown = names if len(names) <= MOST_NAMES else [f"{len(names)} scenes"]
        lines += [f"{name}: {reason}" for name in shown]
    return "\n".join(lines)
