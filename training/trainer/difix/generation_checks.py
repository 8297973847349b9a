"""Find everything that DiFix data generation reads, and what is wrong with it; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from preprocess.layout import SceneFolder
from preprocess.roots import under_checkout
from preprocess.scene import Scene
from preprocess.scene_data import body_space, training_folder, truth_folder
from training.trainer.config.schema import (
    Config,
    DifixDataGeneration,
    TargetCameras,
)
from training.trainer.difix.shard import FOLDER, ShardFolder
from training.trainer.input_checks import collect_faults, data_faults, read_scene, training_frames
from training.trainer.output_files import OutputFolder
from training.trainer.scene_groups import CONFIG_KEY, Group, group_of

SHOWN_CAMERAS = 3


@dataclass(frozen=True)
class GenerationInputs:
    """What generation reads and is asked to make.

    `trained_frames` are those that the model has poses of; `frames` are those that samples are
    wanted of, skip frames included.
    """

    scene: Scene
    data: SceneFolder
    truth: SceneFolder
    group: Group
    targets: tuple[int, ...]
    trained_frames: tuple[int, ...]
    frames: tuple[int, ...]


def shard_folder(config: Config) -> ShardFolder:
    """Return the folder of the scene's shard."""
    return ShardFolder(config.output / FOLDER)


def check_generation(config: Config) -> GenerationInputs:
    """Find everything that generation reads; raises FaultsError with everything that is wrong."""
    settings, faults = config.difix_data_generation, list[Fault]()
    scene = read_scene(under_checkout(config.shared.scene_file), config.shared.scene_name)
    root = under_checkout(config.shared.scene_data_root)
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    every = config.train.optimization.sample_every
    faults += data_faults(scene, data, root)
    trained = (
        None
        if faults
        else collect_faults(faults, lambda: training_frames(data, scene.cam_id, every))
    )
    group = collect_faults(faults, lambda: group_of(scene.seq_name, settings))
    targets = collect_faults(faults, lambda: targets_of(scene, truth, settings.target_cameras))
    faults += checkpoint_faults(config.output) if settings.require_checkpoint else []
    faults += true_pose_faults(data, truth, settings)
    if faults or truth is None or trained is None or group is None or targets is None:
        raise FaultsError(faults)
    frames = tuple(data.frames(scene.cam_id)[::every][:: settings.frame_stride])
    return GenerationInputs(scene, data, truth, group, targets, trained, frames)


def targets_of(scene: Scene, truth: SceneFolder | None, wanted: TargetCameras) -> tuple[int, ...]:
    """Return the target cameras, ascending; raises FaultsError for those that the scene lacks."""
    there = [] if truth is None else truth.cameras()
    others = [camera for camera in there if camera != scene.cam_id]
    if not others:
        remedy = "name a folder with true images of other cameras with raw_gt_dir_path"
        what = "the scene has no camera to render towards, only its source camera"
        raise FaultsError([Fault(what, str(scene.cam_id), remedy)])
    if wanted.mode == "all_except_source":
        return tuple(others)
    faults = [_camera_fault(camera, scene, others) for camera in wanted.ids if camera not in others]
    if faults:
        raise FaultsError(faults)
    return tuple(sorted(set(wanted.ids)))


def true_pose_faults(
    data: SceneFolder, truth: SceneFolder | None, settings: DifixDataGeneration
) -> list[Fault]:
    """Return a fault when the model is to be rendered in true poses and the truth has none."""
    if truth is None or settings.poses == "fitted":
        return []
    folder = truth.root / body_space(data)
    if folder.is_dir():
        return []
    remedy = f"add it, or set {CONFIG_KEY}.poses=fitted: pairs are then as far apart as the poses"
    return [Fault("the truth has no body parameters", str(folder), remedy)]


def _camera_fault(camera: int, scene: Scene, others: Sequence[int]) -> Fault:
    key = f"{CONFIG_KEY}.target_cameras.ids"
    near = sorted(others, key=lambda other: abs(other - camera))[:SHOWN_CAMERAS]
    remedy = f"nearest: {', '.join(map(str, near))}"
    if camera == scene.cam_id:
        return Fault(f"{key} names the source camera of {scene.seq_name}", str(camera), remedy)
    return Fault(f"{key} names a camera that {scene.seq_name} lacks", str(camera), remedy)


def checkpoint_faults(output: Path) -> list[Fault]:
    """Return a fault when a scene's output folder has no trained model."""
    path = OutputFolder(output).checkpoint
    if path.exists():
        return []
    remedy = f"train the scene first (run_mode=train), or set {CONFIG_KEY}.require_checkpoint=false"
    return [Fault("the scene has no trained checkpoint", str(path), remedy)]
