"""Which parts an experiment has, and which scenes each has: from records, and from plans."""

from __future__ import annotations

from preprocess.faults import FaultsError
from training.plan.experiments import Experiment, find_experiment
from training.plan.model import Plan
from training.records.expected_outputs import OUTPUT_SUBDIRS
from training.records.record import RECORD
from training.system.paths import Roots


def scenes_by_part(exp_name: str, roots: Roots) -> dict[str, list[str]]:
    """The scenes of each part (`Plan.output_subdir`) that was planned or has records.

    Raises FaultsError with the nearest names when there is no such experiment.
    """
    recorded = {
        output_subdir: set(roots.outputs_with(RECORD, exp_name, output_subdir))
        for output_subdir in _every_output_subdir()
    }
    scenes = {output_subdir: names for output_subdir, names in recorded.items() if names}
    plans = _experiment(exp_name, roots, is_known=bool(scenes)).plans
    for plan in plans:
        scenes.setdefault(plan.output_subdir, set()).update(scene.name for scene in plan.scenes)
    return {output_subdir: sorted(names) for output_subdir, names in sorted(scenes.items())}


def plans_of(roots: Roots, exp_name: str, output_subdir: str) -> list[Plan]:
    """The plans of an experiment that are known here; records may have come from elsewhere."""
    plans = _experiment(exp_name, roots, is_known=True).plans
    return [plan for plan in plans if plan.output_subdir == output_subdir]


def _every_output_subdir() -> list[str]:
    return ["", *OUTPUT_SUBDIRS.values()]


def _experiment(exp_name: str, roots: Roots, *, is_known: bool) -> Experiment:
    try:
        return find_experiment(exp_name, roots)
    except FaultsError:
        if not is_known:
            raise
        return Experiment(exp_name, roots, ())
