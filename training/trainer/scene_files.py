"""Say what is wrong with the files of a scene that a run would read; nothing is decoded.

The launcher asks this of every scene before anything is queued. What has to be decoded for, the
trainer looks at first (`input_checks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import yaml

from preprocess.faults import Fault, FaultsError, counted, why_unreadable
from preprocess.header_checks import (
    check_bodies,
    check_headers,
    check_masked_images,
    check_true_bodies,
)
from preprocess.scene import Scene
from preprocess.scene_data import SceneDataError, body_space, training_folder, truth_folder
from training.configuration.configuration_file import CONFIGURATION
from training.configuration.overrides import flat
from training.configuration.run_modes import EVALUATE, GENERATE, TRAIN
from training.trainer.config.schema import Config
from training.trainer.difix.generation_checks import targets_of
from training.trainer.evaluation.evaluated_views import SAMPLE_EVERY, config_of_training
from training.trainer.input_checks import (
    DISK,
    chosen_views,
    collect_faults,
    training_frames,
    truth_faults,
)

READERS = 8
"""Scenes that are looked at at once: a shared disk answers slowly, but many questions at once."""
Found = TypeVar("Found")
FileCheck = Callable[[Config, Scene, Path], list[Fault]]


def file_faults_of_all(config: Config, scenes: Sequence[Scene], root: Path) -> list[Fault]:
    """Return what is wrong with the files of those scenes whose data lies below `root`."""
    return [fault for faults in _of_all(file_faults, config, scenes, root) for fault in faults]


def file_faults(config: Config, scene: Scene, root: Path) -> list[Fault]:
    """Return what headers say is wrong with what a run of a scene reads below `root`.

    Which files those are depends on the run mode; of one that reads no scene none.
    """
    check = CHECKS.get(config.run_mode)
    try:
        return check(config, scene, root) if check else []
    except FaultsError as error:
        return list(error.faults)
    except SceneDataError as error:  # the disk itself
        return [Fault(str(error), remedy=DISK)]
    except OSError as error:
        return [Fault(f"{error.filename} can't be read", *why_unreadable(error))]


def left_out_views(config: Config, scenes: Sequence[Scene], root: Path) -> list[str]:
    """Return a line for each scene of which DiFix data generation will leave out damaged views."""
    return [line for line in _of_all(_left_out, config, scenes, root) if line]


def _of_all(
    check: Callable[[Config, Scene, Path], Found],
    config: Config,
    scenes: Sequence[Scene],
    root: Path,
) -> list[Found]:
    there = [each for each in scenes if training_folder(each, root).root.is_dir()]
    with ThreadPoolExecutor(READERS, "headers") as pool:
        return list(pool.map(lambda scene: check(config, scene, root), there))


def _training_faults(config: Config, scene: Scene, root: Path) -> list[Fault]:
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    frames = training_frames(data, scene.cam_id, config.train.optimization.sample_every)
    faults = check_headers(data, scene.cam_id, frames, body_space(data))
    chosen = collect_faults(faults, lambda: chosen_views(config, scene, truth, frames))
    if truth and chosen and not faults:
        faults += truth_faults(config, data, truth, frames, chosen)
    return faults


def _generation_faults(config: Config, scene: Scene, root: Path) -> list[Fault]:
    """Check the bodies: a view that can't be used is left out, without them there is no model."""
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    frames = training_frames(data, scene.cam_id, config.train.optimization.sample_every)
    space = body_space(data)
    faults, _ = check_bodies(data, frames, space)
    if truth and config.difix_data_generation.poses == "truth":
        faults += check_true_bodies(truth, frames, [space])
    return faults


def _evaluation_faults(config: Config, scene: Scene, root: Path) -> list[Fault]:
    """Check the frames that the scene was trained on; of an unknown training nothing."""
    trained = _trained_with(config, scene)
    if trained is None:
        return []
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    frames = training_frames(data, scene.cam_id, trained.get(SAMPLE_EVERY, 1))
    faults, _ = check_bodies(data, frames, body_space(data))
    cameras_of = config_of_training(config, trained)
    chosen = collect_faults(faults, lambda: chosen_views(cameras_of, scene, truth, frames))
    if truth and chosen and not faults:
        faults += truth_faults(config, data, truth, frames, chosen)
    return faults


CHECKS: Mapping[str, FileCheck] = {
    TRAIN.name: _training_faults,
    GENERATE.name: _generation_faults,
    EVALUATE.name: _evaluation_faults,
}


def _trained_with(config: Config, scene: Scene) -> dict[str, Any] | None:
    """Return the values by dotted key that the scene's model was trained with, None if unknown."""
    shared = config.shared.model_copy(update={"scene_name": scene.seq_name})
    path = config.model_copy(update={"shared": shared}).output / CONFIGURATION
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return flat(content) if isinstance(content, dict) else None


def _left_out(config: Config, scene: Scene, root: Path) -> str:
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    if truth is None:
        return ""
    settings, every = config.difix_data_generation, config.train.optimization.sample_every
    try:
        trained = training_frames(data, scene.cam_id, every)
        sampled = data.frames(scene.cam_id)[::every][:: settings.frame_stride]
        frames = [frame for frame in sampled if frame in trained]
        faults = check_masked_images(data, scene.cam_id, frames)
        for camera in targets_of(scene, truth, settings.target_cameras):
            faults += check_masked_images(truth, camera, frames)
    except (FaultsError, SceneDataError, OSError):  # said as a fault, or by the run
        return ""
    damaged = f"{scene.seq_name}: views of {counted(len(faults), 'damaged file')} are left out"
    return f"{damaged}, e.g. {faults[0]}" if faults else ""
