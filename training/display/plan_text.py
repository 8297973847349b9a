"""A plan as text: what a dry run prints, and what a launch prints before it begins."""

from __future__ import annotations

from datetime import timedelta

from preprocess.faults import MOST_NAMES
from training.plan.model import Action, AggregatePlan, Plan, ScenePlan


def render(plan: Plan) -> str:
    """Return the plan for a person: for each scene its command, or why it does not run."""
    words: dict[Action, str] = {"run": "to run", "skip": "skipped", "held": "held by others"}
    counts = ", ".join(f"{len(plan.of(action))} {word}" for action, word in words.items())
    head = [f"experiment {plan.exp_name}: {len(plan.scenes)} scenes chosen, {counts}"]
    head += [f"results: {plan.roots.results_root}", _where(plan), _sources(plan)]
    warnings = [f"warning: {warning}" for warning in plan.warnings]
    scenes = [_render_scene(scene) for scene in plan.scenes]
    return "\n".join([*head, *warnings, "", *scenes, *_render_aggregate(plan.aggregate)])


def _where(plan: Plan) -> str:
    if plan.slurm is None:
        return f"workers: {plan.workers}"
    slurm = plan.slurm
    time = timedelta(seconds=slurm.time_s)
    return f"Slurm: {slurm.script}, {time} a scene, at most {slurm.parallelism} scenes at once"


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
    return f"# {scene.name}: run ({scene.reason})\n{scene.command_line}"


NOT_RUN: dict[Action, str] = {"run": "", "skip": "skipped, ", "held": "not run, "}


def header(plan: Plan) -> str:
    """Return what is about to happen: a line for each scene, a count where many share a reason."""
    scenes: dict[str, list[str]] = {}
    for scene in plan.scenes:
        scenes.setdefault(NOT_RUN[scene.action] + scene.reason, []).append(scene.name)
    lines = [f"warning: {warning}" for warning in plan.warnings]
    for reason, names in scenes.items():
        shown = names if len(names) <= MOST_NAMES else [f"{len(names)} scenes"]
        lines += [f"{name}: {reason}" for name in shown]
    return "\n".join(lines)
