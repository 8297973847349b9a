"""Find what is wrong before anything is created or started."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import VARIABLES, expanded, start_folder
from preprocess.scene import Scene
from preprocess.scene_data import training_folder, truth_folder
from training.configuration.run_modes import AGGREGATE, GENERATE
from training.plan.model import ScenePlan
from training.records.record import RECORD
from training.system.paths import Roots
from training.system.presence import nearest_existing
from training.system.typed_command import spelled

if TYPE_CHECKING:
    from training.plan.options import LaunchOptions
    from training.trainer.config.schema import Config

Found = TypeVar("Found")
Given = ParamSpec("Given")
NAME_ANOTHER = "name another folder with --state-root or TS_STATE_ROOT"
LEAST_FREE_BYTES = 100 * 2**20
NOVEL_VIEWS = "train.nv_generation.trn_nv_gen"


class FaultCollector:
    """Collects the faults of several checks, so that all are shown at once."""

    def __init__(self, found: Iterable[Fault] = ()) -> None:
        self._found = list(found)

    @property
    def found(self) -> list[Fault]:
        """All faults so far, each once."""
        return list(dict.fromkeys(self._found))

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults that a check has returned."""
        self._found += faults

    def collect(
        self, find: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Found | None:
        """Return what `find` returns; None if it raises FaultsError, whose faults are added."""
        try:
            return find(*args, **kwargs)
        except FaultsError as error:
            self._found += error.faults
            return None

    def raise_found(self) -> None:
        """Raise FaultsError with all faults if there are any."""
        if self._found:
            raise FaultsError(self.found)


def folder_faults(roots: Roots) -> list[Fault]:
    """Return the result and state roots that can't be used, have no room or no hard links."""
    found = (
        _usable_fault(roots.results_root, "results_root") or _link_fault(roots.results_root),
        _usable_fault(roots.state_root / "plans", "state_root") or _open_fault(roots.state_root),
    )
    return [fault for fault in found if fault]


def _open_fault(state_root: Path) -> Fault | None:
    """Return a fault where every user of the machine can exchange what our processes start.

    Or where nobody can tell. Plans, snapshots and keys lie there. In a folder with the sticky bit,
    such as /tmp, others can't touch what is ours; a file system without permissions, which shows
    the same for all, passes.
    """
    if not state_root.is_dir():
        return None
    if not os.access(state_root, os.R_OK):
        return Fault("--state-root can't be listed", str(state_root), NAME_ANOTHER)
    inside = [each for each in state_root.iterdir() if each.is_dir()]
    modes = {folder: folder.stat().st_mode for folder in (state_root, *inside) if folder.exists()}
    of_all = [
        folder
        for folder, mode in modes.items()
        if mode & stat.S_IWOTH and not (folder == state_root and mode & stat.S_ISVTX)
    ]
    if not of_all or not _keeps_permissions(state_root):
        return None
    what = "--state-root can be written by every user, who could change what your runs start"
    return Fault(
        what, str(of_all[0]), f"chmod o-w {shlex.quote(str(of_all[0]))}, or {NAME_ANOTHER}"
    )


def _keeps_permissions(folder: Path) -> bool:
    """Return whether a new folder for this user alone shows as such."""
    try:
        with tempfile.TemporaryDirectory(prefix=".permissions-", dir=folder) as made:
            return not Path(made).stat().st_mode & stat.S_IWOTH
    except OSError:
        return True


def _usable_fault(root: Path, key: str) -> Fault | None:
    """Return a fault where a folder is none, or can't be listed, entered, written or made."""
    flag = "--" + key.replace("_", "-")
    remedy = f"name another folder with {flag} or {VARIABLES[key]}"
    existing = Path(nearest_existing(root))
    if not existing.is_dir():
        return Fault(
            f"{flag} is, or is inside, something that is not a folder", str(existing), remedy
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        return Fault(f"{flag} can't be written", str(existing), remedy)
    if existing == root and not os.access(root, os.R_OK):
        return Fault(f"{flag} can't be listed", str(root), remedy)
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        value = f"{root} has {free / 2**20:.0f} MB free"
        return Fault(f"{flag} has no room", value, f"make room, or {remedy}")
    return None


def output_faults(scenes: Iterable[ScenePlan]) -> list[Fault]:
    """Return a fault for each scene to run whose output folder can't be listed and written."""
    mode = os.R_OK | os.W_OK | os.X_OK
    to_run = (each for each in scenes if each.action == "run")
    nearest = ((each.name, nearest_existing(each.output)) for each in to_run)
    remedy = "repair its permissions, or name another folder with --results-root"
    return [
        Fault(f"{scene}: its output folder can't be listed and written", folder, remedy)
        for scene, folder in nearest
        if not os.access(folder, mode)
    ]


def _link_fault(root: Path) -> Fault | None:
    """Return a fault where the disk makes no hard links, as some FUSE and SMB mounts do not.

    Tries one in the nearest folder that exists, and removes what it has made.
    """
    existing = Path(nearest_existing(root))
    file = existing / f".hard-link-{uuid.uuid4().hex}"
    link = file.with_suffix(".link")
    try:
        file.touch(exist_ok=False)
        os.link(file, link)
    except OSError as error:
        value = f"{existing}: {error.strerror}"
        remedy = "claims of scenes need them: name a folder on another disk with --results-root"
        return Fault("--results-root is on a disk without hard links", value, remedy)
    finally:
        for path in (link, file):
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def sweep_name_faults(options: LaunchOptions, roots: Roots) -> list[Fault]:
    """Return a fault where a sweep and another experiment would share a name, so their folders.

    What it is known by are records, and before there are any the newest plan that is not cancelled.
    Folders that can't be listed are faults of their own (`folder_faults`).
    """
    try:
        recorded = _recorded_as_sweep(options.exp_name, roots)
        is_sweep = _planned_as_sweep(options.exp_name, roots) if recorded is None else recorded
    except OSError:
        return []
    if is_sweep is None or is_sweep == bool(options.sweep):
        return []
    end = f", or end it: {spelled('cancel')} --exp-name {options.exp_name}"
    if is_sweep:
        what, remedy = "--exp-name is the name of a sweep", "choose another, or give --sweep"
    else:
        what = "--exp-name is the name of an experiment that is no sweep"
        remedy = "give the sweep another name"
    return [Fault(what, options.exp_name, remedy + end * (recorded is None))]


def _recorded_as_sweep(exp_name: str, roots: Roots) -> bool | None:
    """Return whether the records of an experiment are a sweep's; None where there are none."""
    names = roots.outputs_with(RECORD, exp_name)
    return all("/" in name for name in names) if names else None


def _planned_as_sweep(exp_name: str, roots: Roots) -> bool | None:
    """Return whether the newest plan that is not cancelled is a sweep's; None without one."""
    from training.plan.experiments import MOST_PLANS, PlanFileError, experiment_named
    from training.plan.plan_file import read_scene_to_run

    for path in experiment_named(exp_name, roots).plan_files[:MOST_PLANS]:
        with contextlib.suppress(PlanFileError, IndexError):
            plan = read_scene_to_run(path, 0)  # by one scene it is known
            if plan.roots.results_root == roots.results_root and not plan.cancelled.exists():
                return plan.is_sweep
    return None


def script_faults(script: Path) -> list[Fault]:
    """Return a fault for a trainer script that is not there, naming similar ones."""
    if script.is_file():
        return []
    near = [path.name for path in script.parent.glob("*.py")] if script.parent.is_dir() else []
    remedy = did_you_mean(script.name, near) if near else "check the path"
    return [Fault("--train-script is not a file", str(script), remedy)]


def input_file_faults(files: Mapping[str, Path]) -> list[Fault]:
    """Return a fault for each input file of the configuration, by key, that is not there."""
    return [
        Fault(f"{key} is not a file", str(path), f"set {key}, or correct its default in train.yaml")
        for key, path in files.items()
        if not path.is_file()
    ]


def split_problems(
    schema: Config, scenes: Sequence[Scene], *, will_merge: bool
) -> tuple[list[Fault], list[str]]:
    """Return the faults and warnings of the split into train and test of the refiner's data set.

    With `will_merge` nothing to train with is one of them: a fault with `strict`.
    """
    from training.trainer.scene_groups import empty_train_fault, groups_of, held_out_groups

    settings = schema.difix_data_generation
    names = [scene.seq_name for scene in scenes]
    try:
        groups = groups_of(names, settings).values()
        held_out = held_out_groups(groups, settings)
    except FaultsError as error:
        return list(error.faults), []
    fault = empty_train_fault(groups, held_out) if will_merge and scenes else None
    if fault is None:
        return [], []
    return ([fault], []) if settings.strict else ([], [f"{fault.what}: {fault.value}"])


def generation_faults(schema: Config, scenes: Sequence[Scene], roots: Roots) -> list[Fault]:
    """Return the cameras and true poses that DiFix generation would miss.

    Scene data that is still to be built is not judged.
    """
    from training.trainer.difix.generation_checks import targets_of, true_pose_faults

    settings, found = schema.difix_data_generation, list[Fault]()
    for scene in scenes:
        truth = truth_folder(scene, roots.scene_data_root)
        if scene.synthetic is None or (truth and truth.root.is_dir()):
            data = training_folder(scene, roots.scene_data_root)
            found += true_pose_faults(data, truth, settings)
            try:
                targets_of(scene, truth, settings.target_cameras)
            except FaultsError as error:
                found += error.faults
    return found


def refiner_faults(schema: Config, scenes: Sequence[Scene]) -> list[Fault]:
    """Return the scenes whose group the image refiner was tuned on, where that is refused.

    A refiner that is not there yet is not judged: it may be made before the scenes start.
    """
    from training.trainer.refiner.tuned_on import relation_to

    found = list[Fault]()
    for scene in scenes if schema.difix.trn_enable else ():
        try:
            relation_to(scene.seq_name, schema)
        except FaultsError as error:
            found += error.faults
    return found


def evaluation_faults(
    schema: Config, exp_name: str, scenes: Sequence[Scene], roots: Roots
) -> list[Fault]:
    """Return the truths, trained models and cameras that a standalone evaluation would miss.

    Scene data that is still to be built is not judged.
    """
    from training.trainer import input_checks
    from training.trainer.cameras.camera_ids import unknown_camera_faults
    from training.trainer.evaluation.evaluated_views import CAMERAS

    wanted, found = schema.train.evaluation.eval_cameras, list[Fault]()
    for scene in scenes:
        output = roots.output_folder(scene.seq_name, exp_name)
        found += input_checks.evaluation_faults(scene, roots.scene_data_root, output)
        truth = truth_folder(scene, roots.scene_data_root)
        if truth and truth.root.is_dir() and isinstance(wanted, list):
            found += unknown_camera_faults(wanted, truth.cameras(), CAMERAS)
    return found


def refiner_data_faults(schema: Config, exp_name: str, roots: Roots) -> list[Fault]:
    """Return what of the training set of run_mode=refiner_train is not there, or damaged."""
    from training.trainer.refiner.pair_files import pair_file_faults

    folder = roots.experiment_folder(exp_name) / AGGREGATE.output_subdir
    given = schema.refiner_train.dataset
    file = start_folder() / expanded(given) if given else folder / AGGREGATE.expected_outputs[0]
    if file.is_file():
        return pair_file_faults(file)
    remedy = f"make it first with run_mode={GENERATE.name}, or set refiner_train.dataset"
    return [Fault("the refiner's training set is not there", str(file), remedy)]


def virtual_camera_faults(values: Mapping[str, Any], scenes: Sequence[Scene]) -> list[Fault]:
    """Return the scenes whose source camera has a virtual camera's id, by the resolved values."""
    count = values.get(f"{NOVEL_VIEWS}.num_cameras", 0)
    start = values.get(f"{NOVEL_VIEWS}.start_camera_id", 0)
    if not isinstance(count, int) or not isinstance(start, int):
        return []
    ids = range(start, start + count)
    return [
        Fault(
            f"a virtual camera has the id of {scene.seq_name}'s source camera",
            f"{scene.cam_id} is in {ids.start}..{ids.stop - 1}",
            f"choose another {NOVEL_VIEWS}.start_camera_id, e.g. {scene.cam_id + 1}",
        )
        for scene in scenes
        if scene.cam_id in ids
    ]
