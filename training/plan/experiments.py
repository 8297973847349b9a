"""What is known of an experiment: the plans that were started, and the scenes that have records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.plan.model import Plan
from training.records.record import RECORD
from training.system.paths import Roots

PLAN_ID = re.compile(r"(?P<exp_name>.+)-\d{8}T\d{6}\.\d{6}")
"""`training.plan.model.new_plan_id`."""
MOST_PLANS = 20
"""So many of the newest plans are read; older scenes are known by their records."""


@dataclass(frozen=True)
class Experiment:
    """An experiment in one result root."""

    name: str
    roots: Roots
    plan_files: tuple[Path, ...]
    """Of all its plans, newest first."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """Its newest plans for this result root, newest first; unreadable ones are left out."""
        plans = filter(None, map(read_plan, self.plan_files[:MOST_PLANS]))
        root = self.roots.results_root
        return tuple(plan for plan in plans if plan.roots.results_root == root)

    @property
    def scenes(self) -> list[str]:
        """The names of all its scenes: chosen in a plan, or with a record."""
        planned = (scene.name for plan in self.plans for scene in plan.scenes)
        return sorted({*planned, *self.roots.outputs_with(RECORD, self.name, self.output_subdir)})

    @property
    def output_subdir(self) -> str:
        """What its newest plan makes (`Plan.output_subdir`)."""
        return self.plans[0].output_subdir if self.plans else ""

    def output(self, scene: str) -> Path:
        """A scene's output folder."""
        return self.roots.output_folder(scene, self.name, self.output_subdir)


def find_experiment(name: str, roots: Roots) -> Experiment:
    """The experiment of that name; raises FaultsError with the nearest names if there is none."""
    files = [path for path in _plan_files(roots) if _name_of(path) == name]
    if not files and not roots.outputs_with(RECORD, name):
        known = _known(roots)
        remedy = did_you_mean(name, known) if known else f"none is in {roots.results_root}"
        raise FaultsError([Fault("no such experiment", name, remedy)])
    return Experiment(name, roots, tuple(sorted(files, reverse=True)))


@cache
def read_plan(path: Path) -> Plan | None:
    """A plan's file, which never changes; None when it can't be read or is an older version's."""
    try:
        return Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _known(roots: Roots) -> list[str]:
    recorded = {path.parent.name for path in roots.results_root.glob(f"*/*/{RECORD}")}
    return sorted(recorded | {_name_of(path) for path in _plan_files(roots)})


def _plan_files(roots: Roots) -> list[Path]:
    files = (roots.state_root / "plans").glob("*.json")
    return [path for path in files if _name_of(path)]


def _name_of(plan_file: Path) -> str:
    match = PLAN_ID.fullmatch(plan_file.stem)
    return match["exp_name"] if match else ""
