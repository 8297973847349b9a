"""Find everything that is wrong with a run's inputs before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from preprocess.data_checks import missing_data
from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.json_file import read_json
from preprocess.layout import SceneFolder
from preprocess.roots import under_checkout
from preprocess.scene import Scene
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    Space,
    body_space,
    load_body_parameters,
    load_camera,
    load_genders,
    training_folder,
    truth_folder,
)
from training.trainer.cameras.camera_ids import CameraIds, choose_cameras
from training.trainer.config.schema import Config
from training.trainer.evaluation.evaluated_views import (
    EvaluatedViews,
    choose_exported,
    choose_views,
)
from training.trainer.evaluation.experiment_loggers import missing_logger_packages
from training.trainer.output_files import OutputFolder
from training.trainer.refiner.tuned_on import Relation, relation_to
from training.trainer.refiner.weights import missing_refiner

if TYPE_CHECKING:
    from preprocess.body.body_model import BodyModel
    from preprocess.content_checks import Shot

Found = TypeVar("Found")
MIN_FRAMES = 2
DISK = "is the disk well? run the same command again"
"""The remedy where the disk itself fails."""


@dataclass(frozen=True)
class TrainingInputs:
    """What a training run reads.

    The scene, its training data, the truth folder if any, the cameras by use, the numbers of the
    frames that are trained on, what is evaluated, the body space that poses are fitted in, how the
    scene relates to those that its image refiner was tuned on, where it has one, and the indices of
    the frames whose poses are exported.
    """

    scene: Scene
    data: SceneFolder
    truth: SceneFolder | None
    cameras: CameraIds
    frames: tuple[int, ...]
    evaluated: EvaluatedViews
    space: Space
    refiner: Relation | None = None
    exported: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What was found wrong and what is doubtful, the frames that were read, and the body model.

    `body` is None where it can't be loaded or no frame could be read.
    """

    faults: list[Fault]
    doubts: list[str]
    shots: list[Shot]
    body: BodyModel | None = None


@dataclass(frozen=True)
class EvaluationInputs:
    """What the evaluation of a trained model reads."""

    scene: Scene
    data: SceneFolder
    truth: SceneFolder


def check_inputs(config: Config) -> TrainingInputs:
    """Find the scene and its data; raises FaultsError with everything that is missing."""
    faults = [*missing_logger_packages(config), *missing_refiner(config.difix)]
    inputs = collect_faults(faults, lambda: _inputs(config))
    if inputs is None or faults:
        raise FaultsError(faults)
    return inputs


def check_evaluation(config: Config) -> EvaluationInputs:
    """Find what a standalone evaluation reads; raises FaultsError with everything missing."""
    scene = read_scene(under_checkout(config.shared.scene_file), config.shared.scene_name)
    root = under_checkout(config.shared.scene_data_root)
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    faults = [*data_faults(scene, data, root), *evaluation_faults(scene, root, config.output)]
    if faults or truth is None:
        raise FaultsError(faults)
    return EvaluationInputs(scene, data, truth)


def evaluation_faults(scene: Scene, root: Path, output: Path) -> list[Fault]:
    """Return a fault for a scene without truth below `root`, and one without a trained model."""
    faults = []
    if truth_folder(scene, root) is None:
        remedy = "name a folder with true images of other cameras with raw_gt_dir_path"
        faults.append(Fault("the scene has no truth to evaluate with", scene.seq_name, remedy))
    checkpoint = OutputFolder(output).checkpoint
    if not checkpoint.exists():
        remedy = "train it first, with the same experiment's name: run_mode=train"
        faults.append(Fault("the scene has no trained model", str(checkpoint), remedy))
    return faults


def _inputs(config: Config) -> TrainingInputs:
    scene = read_scene(under_checkout(config.shared.scene_file), config.shared.scene_name)
    root = under_checkout(config.shared.scene_data_root)
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    with_depth = config.train.optimization.loss.depth > 0
    faults = data_faults(scene, data, root, with_depth=with_depth)
    frames = None if faults else _sound_frames(config, scene, data, truth, faults)
    if frames is None:
        true_cameras = truth.cameras() if truth else []
        collect_faults(faults, lambda: choose_cameras(config, scene.cam_id, true_cameras))
        raise FaultsError(faults)
    chosen = collect_faults(faults, lambda: chosen_views(config, scene, truth, frames))
    if truth and chosen and not faults:
        faults += truth_faults(config, data, truth, frames, chosen)
    exported = collect_faults(faults, lambda: choose_exported(config.train.export, frames))
    refiner = collect_faults(faults, lambda: _relation(scene, config))
    if faults or chosen is None:
        raise FaultsError(faults)
    space = body_space(data)
    return TrainingInputs(
        scene, data, truth, chosen[0], frames, chosen[1], space, refiner, exported or ()
    )


def _sound_frames(
    config: Config,
    scene: Scene,
    data: SceneFolder,
    truth: SceneFolder | None,
    faults: list[Fault],
) -> tuple[int, ...] | None:
    """Return the frames that are trained on, some of them read whole; None where there are none.

    Adds what is wrong with them to `faults`, and prints what is doubtful.
    """
    every = config.train.optimization.sample_every
    frames = collect_faults(faults, lambda: training_frames(data, scene.cam_id, every))
    if frames is None:
        return None
    others = other_true_cameras(truth, scene.cam_id, frames[0])
    found = inspect_contents(config, scene, data, frames, others)
    faults += found.faults
    for line in found.doubts:
        print(f"warning: {line}", file=sys.stderr)
    return frames


def chosen_views(
    config: Config, scene: Scene, truth: SceneFolder | None, frames: Sequence[int]
) -> tuple[CameraIds, EvaluatedViews]:
    """Return every camera's use, and what is evaluated of a model that is trained on `frames`.

    Raises FaultsError.
    """
    true_cameras = truth.cameras() if truth else []
    cameras = choose_cameras(config, scene.cam_id, true_cameras)
    return cameras, choose_views(config.train.evaluation, cameras, true_cameras, frames)


def true_views_read(
    config: Config, frames: Sequence[int], chosen: tuple[CameraIds, EvaluatedViews]
) -> dict[int, Sequence[int]]:
    """Return which frames a training run reads of which of the truth's cameras."""
    cameras, evaluated = chosen
    shown = [frames[index] for index in evaluated.indices]
    views: dict[int, Sequence[int]] = dict.fromkeys(evaluated.cameras, shown)
    if config.train.nv_generation.trn_nv_gen.source == "captured":
        views |= dict.fromkeys(cameras.novel, frames)
    return views


def spaces_evaluated(config: Config, fitted: Space) -> list[Space]:
    """Return the body spaces that poses are evaluated in, first the one of the fit."""
    wants_smpl = config.train.evaluation.pose_eval.eval_smpl and fitted != "smpl"
    return [fitted, "smpl"] if wants_smpl else [fitted]


def truth_faults(
    config: Config,
    data: SceneFolder,
    truth: SceneFolder,
    frames: Sequence[int],
    chosen: tuple[CameraIds, EvaluatedViews],
) -> list[Fault]:
    """Return what headers say is wrong with the truth that a training run reads.

    Raises SceneDataError.
    """
    from preprocess.header_checks import check_true_bodies, check_true_views

    space = body_space(data)
    people = len(load_body_parameters(data, frames[0], space)["betas"])
    return [
        *check_true_views(truth, true_views_read(config, frames, chosen), people),
        *check_true_bodies(truth, frames, spaces_evaluated(config, space)),
    ]


def _relation(scene: Scene, config: Config) -> Relation | None:
    return relation_to(scene.seq_name, config) if config.difix.trn_enable else None


def inspect_contents(
    config: Config,
    scene: Scene,
    data: SceneFolder,
    frames: Sequence[int],
    true_cameras: Mapping[int, CameraData],
) -> Inspection:
    """Read a few frames of the source camera whole, and all its other data."""
    from preprocess.content_checks import check_contents, content_doubts
    from preprocess.header_checks import fault_of

    space = body_space(data)
    contents = check_contents(data, scene.cam_id, frames, space)
    found = Inspection(contents.faults, [], contents.shots)
    if not contents.shots:
        return found
    from preprocess.geometry_checks import check_geometry  # torch, which training needs too
    from training.trainer.gaussians.body_files import load_people_bodies

    try:
        genders = load_genders(data, scene, len(contents.shots[0].masks))
        body = load_people_bodies(config.model, space, genders)
    except SceneDataError as error:
        return replace(found, faults=[*found.faults, fault_of(error)])
    except FaultsError as error:
        return replace(found, faults=[*found.faults, *error.faults])
    centers = {number: camera.center for number, camera in true_cameras.items()}
    together = check_geometry(
        data, scene.cam_id, contents.shots, body, space, other_cameras=centers
    )
    with_depth = config.train.optimization.loss.depth > 0
    doubts = content_doubts(data, scene.cam_id, frames, with_depth=with_depth)
    faults = [*found.faults, *together.faults]
    return Inspection(faults, [*doubts, *together.doubts], contents.shots, body)


def other_true_cameras(truth: SceneFolder | None, source: int, frame: int) -> dict[int, CameraData]:
    """Return the truth's cameras at a frame but the source camera, those that can be read."""
    cameras = {}
    if truth is None:
        return {}
    for camera in truth.cameras():
        with suppress(SceneDataError):  # said where the camera is used
            cameras[camera] = load_camera(truth, camera, frame)
    cameras.pop(source, None)
    return cameras


def read_scene(path: Path, name: str) -> Scene:
    """Read the scene `name` from its JSON file; raises FaultsError."""
    try:
        scene = Scene.of(read_json(path), path)
    except OSError as error:
        remedy = did_you_mean(name, [file.stem for file in path.parent.glob("*.json")])
        raise FaultsError(
            [Fault(f"the scene's file can't be read: {error.strerror}", str(path), remedy)]
        ) from error
    except ValidationError as error:
        what = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise FaultsError(Fault(f"{path} is not a scene file", text) for text in what) from error
    except ValueError as error:
        raise FaultsError([Fault(f"{path} is not JSON", str(error))]) from error
    if scene.seq_name != name:
        remedy = f"set shared.scene_name={scene.seq_name}, or shared.scene_file"
        raise FaultsError([Fault(f"{path} belongs to another scene than", name, remedy)])
    return scene


def data_faults(
    scene: Scene, data: SceneFolder, root: Path, *, with_depth: bool = False
) -> list[Fault]:
    """Return faults for missing scene data; looks at folders only, and reads no file."""
    if scene.synthetic is not None and not data.root.is_dir():
        remedy = f"build it: python -m preprocess.synthetic {scene.seq_name}"
        return [Fault("the scene's data has not been built yet", str(data.root), remedy)]
    return missing_data(scene, root, with_depth=with_depth)


def training_frames(data: SceneFolder, source: int, every: int) -> tuple[int, ...]:
    """Return the frames that are trained on: every n-th of the source camera.

    Skip frames are left out. Raises FaultsError for fewer than two.
    """
    try:
        skipped = data.skip_frames()
    except ValueError as error:
        raise FaultsError([Fault(str(error))]) from error
    sampled = data.frames(source)[::every]
    frames = tuple(frame for frame in sampled if frame not in skipped)
    if len(frames) < MIN_FRAMES:
        cameras = ", ".join(map(str, data.cameras())) or "none"
        remedy = (
            f"cameras with images: {cameras}; skip_frames.csv leaves out {len(skipped)} frames, "
            f"train.optimization.sample_every={every} takes every n-th"
        )
        what = f"{data.root} has fewer than {MIN_FRAMES} frames to train on of the source camera"
        raise FaultsError([Fault(what, f"camera {source}: {len(frames)}", remedy)])
    return frames


def collect_faults(faults: list[Fault], find: Callable[[], Found]) -> Found | None:
    """Return the result of `find`, or None when it raises FaultsError: `faults` then has these."""
    try:
        return find()
    except FaultsError as error:
        faults += error.faults
        return None
