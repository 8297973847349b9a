"""Records of the version before, whose fingerprints covered the trainer's sources.

They can't be recomputed. Such a record counts as of today's configuration, unless the plan that it
came from is still there and says otherwise: nobody wants a hundred done scenes trained again.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from preprocess.faults import FaultsError
from preprocess.scene import Scene
from training.configuration.fingerprint import is_comparable
from training.plan.experiments import experiment_named
from training.plan.model import Plan, ScenePlan
from training.plan.options import LaunchOptions
from training.plan.train_script import TrainScript, load_train_script
from training.records.record import RunRecord
from training.system.paths import Roots

WORDS_BEFORE_OVERRIDES = 4
"""Of a scene's command: interpreter, script, scene, experiment."""


class FormerRecords:
    """Judges the records of the version before for one launch."""

    def __init__(self, options: LaunchOptions, roots: Roots, script: TrainScript) -> None:
        self._options, self._roots, self._script = options, roots, script
        self._scripts: dict[tuple[str, ...], TrainScript | None] = {}

    def count_as_current(
        self, record: RunRecord, scene: Scene, model_made_by: RunRecord | None = None
    ) -> bool:
        """Return whether a record of the version before counts as of today's configuration.

        `model_made_by`: the record of the training whose model the outputs were made with.
        """
        if is_comparable(record.fingerprint) or _is_newer(model_made_by, record):
            return False
        planned = self._planned(record)
        if planned is None:
            return True
        return planned.scene == scene.raw and self._has_same_values(planned, scene)

    def _planned(self, record: RunRecord) -> ScenePlan | None:
        """Return the plan that the record came from, where it is among the newest of its kind."""
        scenes = (scene for plan in self._plans for scene in plan.scenes)
        return next((each for each in scenes if _is_of(each, record)), None)

    @cached_property
    def _plans(self) -> tuple[Plan, ...]:
        return experiment_named(self._options.exp_name, self._roots).plans

    def _has_same_values(self, planned: ScenePlan, scene: Scene) -> bool:
        """Return whether the overrides of then, composed today, decide the same as today's."""
        if Path(planned.command[1]).name != self._script.path.name:
            return False
        former = self._script_with(planned.command[WORDS_BEFORE_OVERRIDES:])
        if former is None:
            return False
        return former.deciding_values(scene) == self._script.deciding_values(scene)

    def _script_with(self, overrides: tuple[str, ...]) -> TrainScript | None:
        """Return the script with other overrides; None where they don't compose any more."""
        if overrides not in self._scripts:
            options = self._options.model_copy(update={"overrides": overrides})
            try:
                script = load_train_script(options, self._roots)
                self._scripts[overrides] = None if script.faults else script
            except FaultsError:
                self._scripts[overrides] = None
        return self._scripts[overrides]


def _is_of(planned: ScenePlan, record: RunRecord) -> bool:
    return planned.scene_name == record.scene and planned.fingerprint == record.fingerprint


def _is_newer(one: RunRecord | None, other: RunRecord) -> bool:
    """Return whether the last attempt of one record ended after the other's began."""
    if one is None or one.last is None or other.last is None:
        return False
    return (one.last.end or one.last.start) > other.last.start
