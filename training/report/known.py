"""Find the scenes of an experiment, by its records and its plans."""

from __future__ import annotations

from preprocess.faults import FaultsError
from training.configuration.run_modes import OUTPUT_SUBDIRS
from training.plan.experiments import Experiment, find_experiment
from training.plan.model import Plan
from training.records.record import RECORD
from training.system.paths import Roots


def scenes_by_subdir(exp_name: str, roots: Roots) -> dict[str, list[str]]:
    """Return the planned and recorded scenes by `Plan.output_subdir`: training is under "".

    Raises FaultsError with the nearest names when there is no such experiment.
    """
    recorded = {
        output_subdir: set(roots.outputs_with(RECORD, exp_name, output_subdir))
        for output_subdir in OUTPUT_SUBDIRS
    }
    scenes = {output_subdir: names for output_subdir, names in recorded.items() if names}
    plans = _plans(_experiment(exp_name, roots, is_known=bool(scenes)))
    for plan in plans:
        scenes.setdefault(plan.output_subdir, set()).update(scene.name for scene in plan.scenes)
    return {output_subdir: sorted(names) for output_subdir, names in sorted(scenes.items())}


def plans_of(roots: Roots, exp_name: str, output_subdir: str) -> list[Plan]:
    """Return the plans of an experiment that this state root has; records may lack theirs here."""
    plans = _plans(_experiment(exp_name, roots, is_known=True))
    return [plan for plan in plans if plan.output_subdir == output_subdir]


def unreadable_plans(roots: Roots, exp_name: str) -> tuple[str, ...]:
    """Return a line for each plan of an experiment that can't be read."""
    return _experiment(exp_name, roots, is_known=True).warnings


def _plans(experiment: Experiment) -> list[Plan]:
    """Return an experiment's plans, of a sweep's setting their part of it, newest first."""
    if not experiment.setting:
        return list(experiment.plans)
    parts = [plan.of_setting(experiment.setting) for plan in experiment.plans]
    return [part for part in parts if part.scenes]


def _experiment(exp_name: str, roots: Roots, *, is_known: bool) -> Experiment:
    try:
        return find_experiment(exp_name, roots)
    except FaultsError:
        if not is_known:
            raise
        return Experiment(exp_name, roots, ())
