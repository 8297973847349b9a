"""Load what the viewer shows of a scene: its views, and the people before and after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preprocess.faults import FaultsError
from preprocess.layout import SceneFolder
from preprocess.scene import Scene
from preprocess.scene_data import (
    body_space,
    load_genders,
    training_folder,
    truth_folder,
)
from training.configuration.launch_arguments import assignment
from training.trainer.cameras.camera_ids import choose_cameras
from training.trainer.cameras.strategies import PeopleBounds, people_bounds
from training.trainer.cameras.view import ViewCache
from training.trainer.cameras.views import ViewReader
from training.trainer.config.compose import load_config
from training.trainer.config.schema import Config, Model
from training.trainer.evaluation.evaluated_views import SAMPLE_EVERY, config_of_training
from training.trainer.gaussians.body_files import load_people_bodies
from training.trainer.gaussians.body_parameters import read_body_parameters
from training.trainer.gaussians.model import SceneModel
from training.trainer.input_checks import data_faults, training_frames
from training.trainer.setup import gaussian_counts, make_model
from training.trainer.trained_model import read_existing, trained_model

BEFORE, AFTER = "before", "after"
CACHE_BYTES = 2**28
CPU = torch.device("cpu")
IF_DAMAGED = "train the scene again, or leave out --exp-name"


@dataclass(frozen=True)
class ViewedScene:
    """A scene as the viewer shows it.

    `readers` has what reads each camera's views, `models` the people `before` training and, where
    there is a checkpoint, `after` it.
    """

    name: str
    config: Config
    frames: Sequence[int]
    source: int
    held_out: Sequence[int]
    readers: Mapping[int, ViewReader]
    models: Mapping[str, SceneModel]
    bounds: PeopleBounds
    epoch: int | None

    def use_of(self, camera: int) -> str:
        """Return what a camera is used for, for a label: `source`, `held out` or nothing."""
        return {self.source: "source", **dict.fromkeys(self.held_out, "held out")}.get(camera, "")


def load_scene(scene: Scene, exp_name: str, results_root: Path, data_root: Path) -> ViewedScene:
    """Load a scene, and its people as the experiment has trained them, where it has.

    Without an experiment's name nothing trained is looked for. Raises FaultsError,
    SceneDataError, TrainingError, OSError.
    """
    data, truth = training_folder(scene, data_root), truth_folder(scene, data_root)
    if faults := data_faults(scene, data, data_root):
        raise FaultsError(faults)
    config = _config(scene, exp_name, results_root, data_root)
    content = read_existing(config, IF_DAMAGED) if exp_name else None
    identity = content["identity"] if content else {}
    config = _as_trained(config, identity)
    frames = training_frames(data, scene.cam_id, identity.get(SAMPLE_EVERY, 1))
    models = _models(config, content, scene, data, frames)
    true_cameras = truth.cameras() if truth else []
    runtime = config.train.nv_generation.trn_nv_gen.runtime_camera
    with torch.no_grad():
        joints = models[BEFORE].joints(torch.arange(len(frames)))
    at = (data, frames, models[BEFORE].people, config.model.background, CPU)
    return ViewedScene(
        name=scene.seq_name,
        config=config,
        frames=frames,
        source=scene.cam_id,
        held_out=choose_cameras(config, scene.cam_id, true_cameras).held_out,
        readers=_readers(ViewReader(*at, cache=ViewCache(CACHE_BYTES)), scene.cam_id, truth),
        models=models,
        bounds=people_bounds(joints, runtime),
        epoch=content["state"]["position"]["epoch"] if content else None,
    )


def _models(
    config: Config,
    content: Mapping[str, Any] | None,
    scene: Scene,
    data: SceneFolder,
    frames: Sequence[int],
) -> dict[str, SceneModel]:
    """Return the people before training and, with the content of a checkpoint, after it."""
    space = body_space(data)
    estimated = read_body_parameters(data, frames, space)
    people = len(estimated.betas)
    body = load_people_bodies(config.model, space, load_genders(data, scene, people))
    counts = gaussian_counts(config.model.gaussians_per_person, data, scene.cam_id, frames, people)
    models = {BEFORE: make_model(config.seed, body, estimated, counts, CPU, settings=config.model)}
    if content:
        models[AFTER] = trained_model(config, content, body, estimated, CPU)
    return models


def _readers(
    source: ViewReader, source_id: int, truth: SceneFolder | None
) -> dict[int, ViewReader]:
    """Return by camera what reads its views: the true ones, but for the source camera."""
    readers = dict.fromkeys(truth.cameras(), source.for_folder(truth)) if truth else {}
    return dict(sorted({**readers, source_id: source}.items()))


def _config(scene: Scene, exp_name: str, results_root: Path, data_root: Path) -> Config:
    """Return the trainer's defaults for a scene and an experiment."""
    names = {"shared.scene_name": scene.seq_name, "shared.exp_name": exp_name or "none"}
    config = load_config([assignment(key, text) for key, text in names.items()])
    roots = {"results_root": str(results_root), "scene_data_root": str(data_root)}
    return config.model_copy(update={"shared": config.shared.model_copy(update=roots)})


def _as_trained(config: Config, identity: Mapping[str, Any]) -> Config:
    """Return the configuration with the model and the uses of cameras that a checkpoint names."""
    prefix = "model."
    given = {key.removeprefix(prefix): identity[key] for key in identity if key.startswith(prefix)}
    model = Model.model_validate(config.model.model_dump() | given)
    seed = identity.get("seed", config.seed)
    return config_of_training(config.model_copy(update={"model": model, "seed": seed}), identity)
