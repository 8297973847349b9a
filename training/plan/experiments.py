"""Find an experiment by name: the plans that were started, and the scenes that have records."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.plan.model import PLAN_VERSION, LoopStage, Plan, setting_of
from training.records.record import RECORD, RecordError, reason_of, versioned_json
from training.system.memory import garbage_collection_paused
from training.system.paths import Roots
from training.system.presence import names_in

PLAN_ID = re.compile(r"(?P<exp_name>.+)-\d{8}T\d{6}\.\d{6}")
"""As `training.plan.make_plan.new_plan_id` makes it."""
LOST = "until then its jobs are neither shown nor cancelled (squeue --me lists them)"
"""What it means for an experiment that a plan can't be read."""
CLOSED = "whether it has a record of this experiment is not known; repair its permissions"
MOST_PLANS = 20
"""This many of the newest plans are read, and `Experiment.at_work`; scenes of older ones are known
by their records."""
MOST_BYTES = 30_000_000
"""No further plan is read after so many bytes of them: those of ten thousand scenes have 8 MB."""


class PlanFileError(Exception):
    """A plan's file can't be read; the message names the file, the reason and the remedy."""


@dataclass(frozen=True)
class Experiment:
    """An experiment in one result root; a sweep's setting is one too, `<sweep>/<setting>`."""

    name: str
    roots: Roots
    plan_files: tuple[Path, ...]
    """Files of all its plans, newest first."""
    at_work: frozenset[Path] = frozenset()
    """Those of plans that are known to be at work: they are read, however old."""

    @property
    def setting(self) -> str:
        """Of a sweep's setting the setting, `epochs=30,seed=1`; else empty."""
        return self.name.partition("/")[2]

    @property
    def _launched(self) -> str:
        """The experiment that was launched: the sweep, where this is a setting of one."""
        return self.name.partition("/")[0]

    @cached_property
    def _read_files(self) -> tuple[Path, ...]:
        sizes = accumulate(map(_size, self.plan_files[:MOST_PLANS]))
        before = zip(self.plan_files, [0, *sizes], strict=False)
        newest = [path for path, size in before if size < MOST_BYTES][:MOST_PLANS]
        older = (path for path in self.plan_files[len(newest) :] if path in self.at_work)
        return (*newest, *older)

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """Its newest plans for this result root, newest first; `warnings` names unreadable ones."""
        plans = []
        for path in self._read_files:
            with contextlib.suppress(PlanFileError):
                plans.append(read_plan(path))
        root = self.roots.results_root
        return tuple(plan for plan in plans if plan.roots.results_root == root)

    @cached_property
    def current_plans(self) -> tuple[Plan, ...]:
        """Those of its plans that write to the folders that its newest plan writes to.

        Of a name that a cancelled sweep had before, or the other way, those of its own kind.
        """
        plans = self.plans
        kinds = [(each.output_subdir, each.is_sweep) for each in plans]
        return tuple(each for each, kind in zip(plans, kinds, strict=True) if kind == kinds[0])

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each of its newest plans that can't be read: why, and what to do.

        Where it has no plan, also one for each scene's folder that can't be entered.
        """
        found = []
        for path in self._read_files:
            try:
                read_plan(path)
            except PlanFileError as error:
                found.append(f"{error}; {LOST}")
        if not self.plan_files:  # whose scenes are known by their records alone
            found += [f"{folder} can't be entered: {CLOSED}" for folder in self._closed_scenes]
        return tuple(found)

    @cached_property
    def _closed_scenes(self) -> list[Path]:
        return self.roots.closed_scenes()

    @cached_property
    def scenes(self) -> list[str]:
        """The names of its scenes: chosen in a plan, or with a record, below `output_subdir`.

        Those of a sweep and of its settings are as a plan names them: `epochs=30,seed=1/<scene>`.
        """
        found = {scene.name for plan in self.current_plans for scene in plan.scenes}
        found |= self._recorded.keys()
        return sorted(found if not self.setting else filter(self._has, found))

    @cached_property
    def _recorded(self) -> dict[str, Path]:
        """The output folders of its scenes that have a record."""
        return self.roots.outputs_with(RECORD, self._launched, self.output_subdir)

    def _has(self, scene: str) -> bool:
        return setting_of(scene) == self.setting

    @cached_property
    def output_subdir(self) -> str:
        """Where its newest plan writes inside a scene's folder (`Plan.output_subdir`)."""
        return self.plans[0].output_subdir if self.plans else ""

    @property
    def stage(self) -> LoopStage | None:
        """The stage of a loop that its plans are of, by the newest that is; None without a loop."""
        return next((plan.stage for plan in self.plans if plan.stage), None)

    @property
    def stages(self) -> tuple[Experiment, ...]:
        """The stages of the loop that was last started by this name, in order; else none.

        Each has the plans of its experiment that write what it writes.
        """
        of_loop = (plan.stage for plan in self.plans if plan.stage)
        newest = next((stage for stage in of_loop if stage.loop == self.name), None)
        if newest is None:
            return ()
        files = {path.stem: path for path in _plan_files(self.roots)}
        found = []
        for plan_id in newest.plans:
            with contextlib.suppress(PlanFileError, KeyError):
                plan = read_plan(files[plan_id])
                named = experiment_named(plan.exp_name, self.roots).plans
                same = (each for each in named if each.output_subdir == plan.output_subdir)
                found.append(
                    Experiment(plan.exp_name, self.roots, tuple(each.file for each in same))
                )
        return tuple(found)

    @property
    def kinds(self) -> tuple[Experiment, ...]:
        """The training, data generation and evaluation that it has, each with its own plans."""
        files: dict[str, list[Path]] = {}
        for plan in self.plans:
            files.setdefault(plan.output_subdir, []).append(plan.file)
        if "" not in files and self.roots.outputs_with(RECORD, self.name):
            files[""] = []
        if len(files) <= 1:
            return (self,)
        return tuple(
            Experiment(self.name, self.roots, tuple(files[output_subdir]))
            for output_subdir in sorted(files)
        )

    @property
    def parts(self) -> tuple[Experiment, ...]:
        """What commands end by its name: the stages of its loop, or itself.

        Behind the stages what else it was used for, such as an evaluation.
        """
        stages = self.stages
        of_loop = {each.output_subdir for each in stages if each.name == self.name}
        others = (each for each in self.kinds if each.output_subdir not in of_loop)
        return (*stages, *others) if stages else (self,)

    def output(self, scene: str) -> Path:
        """Return the output folder of one of `scenes`."""
        known = self._recorded.get(scene)
        return known or self.roots.output_folder(scene, self._launched, self.output_subdir)


def find_experiment(name: str, roots: Roots) -> Experiment:
    """Return the experiment of that name.

    Raises FaultsError with the nearest names if no plan and no record is of it.
    """
    experiment = experiment_named(name, roots)
    planned = experiment.scenes if experiment.setting else experiment.plan_files
    if not planned and not roots.outputs_with(RECORD, name):
        known = _settings_beside(experiment) or _known_names(roots)
        remedy = did_you_mean(name, known) if known else f"none is in {roots.results_root}"
        raise FaultsError([Fault("no such experiment", name, remedy)])
    return experiment


def all_experiments(roots: Roots) -> list[Experiment]:
    """Return all experiments that have a plan or a record, by name."""
    files: dict[str, list[Path]] = {name: [] for name in _recorded_names(roots)}
    for path in _plan_files(roots):
        files.setdefault(_experiment_of(path), []).append(path)
    return [
        Experiment(name, roots, tuple(sorted(files[name], reverse=True))) for name in sorted(files)
    ]


def experiment_named(name: str, roots: Roots) -> Experiment:
    """Return the experiment of that name, whether or not there is anything of it."""
    launched = name.partition("/")[0]
    files = [path for path in _plan_files(roots) if _experiment_of(path) == launched]
    return Experiment(name, roots, tuple(sorted(files, reverse=True)))


@cache
def read_plan(path: Path) -> Plan:
    """Return the plan in a file of this version or the one before; the file never changes.

    Raises PlanFileError for a file that can't be read or that a newer version has written.
    """
    return plan_in(path, path.read_bytes)


def plan_in(path: Path, read: Callable[[], bytes]) -> Plan:
    """Return the plan that `read` returns as JSON; raises PlanFileError as `read_plan` does."""
    try:
        with garbage_collection_paused():
            return Plan.model_validate(versioned_json(read(), path, PLAN_VERSION))
    except RecordError as error:  # of a newer version
        raise PlanFileError(str(error)) from error
    except (OSError, ValueError) as error:
        repair = "repair its permissions, or " if isinstance(error, PermissionError) else ""
        what = f"{path} can't be read ({reason_of(error)})"
        raise PlanFileError(f"{what}: {repair}move it away") from error


def noted_snapshots(roots: Roots) -> set[str]:
    """Return the digests of the sources that the plans of this state root need.

    Raises OSError where that is not known of all.
    """
    folder = roots.state_root / "plans"
    notes = (folder / name for name in names_in(folder) if name.endswith(".snapshot"))
    kept = [note for note in notes if note.with_suffix(".json").exists()]
    return {note.read_text(encoding="ascii") for note in kept}


def _settings_beside(experiment: Experiment) -> list[str]:
    """Return the settings of the sweep that an experiment is named after, as names."""
    if not experiment.setting:
        return []
    sweep = experiment_named(experiment.name.partition("/")[0], experiment.roots)
    settings = {setting_of(scene) for scene in sweep.scenes}
    return sorted(f"{sweep.name}/{setting}" for setting in settings if setting)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _known_names(roots: Roots) -> list[str]:
    return sorted(_recorded_names(roots) | {_experiment_of(path) for path in _plan_files(roots)})


def _recorded_names(roots: Roots) -> set[str]:
    return roots.experiments_with(RECORD)


def _plan_files(roots: Roots) -> list[Path]:
    """Return the files of all plans; raises OSError where their folder can't be listed."""
    folder = roots.state_root / "plans"
    files = (folder / name for name in names_in(folder) if name.endswith(".json"))
    return [path for path in files if _experiment_of(path)]


def _experiment_of(plan_file: Path) -> str:
    match = PLAN_ID.fullmatch(plan_file.stem)
    return match["exp_name"] if match else ""
