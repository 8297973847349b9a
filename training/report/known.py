"""Which parts an experiment has, and which scenes each has: from records, and from plans."""

from __future__ import annotations

from preprocess.faults import FaultsError
from training.plan.experiments import Experiment, find_experiment
from training.plan.model import Plan
from training.records.expected_outputs import PARTS
from training.records.record import RECORD
from training.system.paths import Roots


def scenes_by_part(exp_name: str, roots: Roots) -> dict[str, list[str]]:
    """The scenes of each part (`Plan.part`) that was planned or has records.

    Raises FaultsError with the nearest names when there is no such experiment.
    """
    recorded = {part: set(roots.outputs_with(RECORD, exp_name, part)) for part in _every_part()}
    scenes = {part: names for part, names in recorded.items() if names}
    plans = _experiment(exp_name, roots, is_known=bool(scenes)).plans
    for plan in plans:
        scenes.setdefault(plan.part, set()).update(scene.name for scene in plan.scenes)
    return {part: sorted(names) for part, names in sorted(scenes.items())}


def plans_of(roots: Roots, exp_name: str, part: str) -> list[Plan]:
    """The plans of an experiment that are known here; records may have come from elsewhere."""
    plans = _experiment(exp_name, roots, is_known=True).plans
    return [plan for plan in plans if plan.part == part]


def _every_part() -> list[str]:
    return ["", *PARTS.values()]


def _experiment(exp_name: str, roots: Roots, *, is_known: bool) -> Experiment:
    try:
        return find_experiment(exp_name, roots)
    except FaultsError:
        if not is_known:
            raise
        return Experiment(exp_name, roots, ())
