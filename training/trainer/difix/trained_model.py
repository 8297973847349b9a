"""Load the model whose renders are to be repaired: from the checkpoint, else untrained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preprocess.faults import Fault, FaultsError
from preprocess.scene_data import body_space, load_genders
from training.trainer.checkpoints import read_checkpoint, refuse_different, run_identity
from training.trainer.config.schema import Config
from training.trainer.difix.generation_checks import GenerationInputs
from training.trainer.gaussians.body_files import load_people_bodies
from training.trainer.gaussians.body_parameters import BodyParameters, read_body_parameters
from training.trainer.gaussians.model import Poses, SceneModel
from training.trainer.output_files import OutputFolder
from training.trainer.setup import gaussian_counts, make_model
from training.trainer.termination import TrainingError

RENDER_KEYS = ("model.", "scene.cam_id", "scene.seq_name")
"""Prefixes of the keys in a checkpoint's identity that a render depends on."""
INITIAL_POSES = {"poses.first_pose": "pose", "poses.first_trans": "trans"}


def load_model(
    config: Config, inputs: GenerationInputs, device: torch.device
) -> tuple[SceneModel, dict[str, Any]]:
    """Return the model and where it comes from, as in `Configuration.model` of the shard.

    Raises FaultsError when the checkpoint is of another model or data, TrainingError when it is
    damaged, SceneDataError, OSError.
    """
    space = body_space(inputs.data)
    estimated = read_body_parameters(inputs.data, inputs.trained_frames, space)
    genders = load_genders(inputs.data, inputs.scene, len(estimated.betas))
    body = load_people_bodies(config.model, space, genders)
    path = OutputFolder(config.output).checkpoint
    state = _read_trained(path, config, inputs) if path.exists() else None
    if state is None:
        at = (inputs.data, inputs.scene.cam_id, inputs.trained_frames)
        counts = gaussian_counts(config.model.gaussians_per_person, *at, len(estimated.betas))
        return make_model(config.seed, body, estimated, counts, device), {"source": "initial"}
    weights = state["model"]
    _refuse_other_data(path, weights, estimated)
    counts = torch.bincount(weights["gaussians.person"]).tolist()
    model = make_model(config.seed, body, estimated, counts, device)
    model.load_state_dict(weights)
    source = {"source": "checkpoint", "epoch": state["position"]["epoch"]}
    return model, {**source, "digest": weights_digest(weights)}


def in_true_poses(model: SceneModel, inputs: GenerationInputs) -> SceneModel:
    """Return the model's people with the true body parameters of the frames it was trained on.

    Render and target then show the same pose. Raises SceneDataError, TrainingError when the truth
    is of another number of people.
    """
    space = body_space(inputs.data)
    true = read_body_parameters(inputs.truth, inputs.trained_frames, space)
    if len(true.betas) != model.people:
        people = f"{len(true.betas)} people, the scene's data {model.people}"
        raise TrainingError(f"{inputs.truth.root / space} is of {people}")
    device = model.poses.betas.device
    return SceneModel(model.body, Poses(true), model.gaussians).to(device)


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names and values, which is the same whenever the model is saved."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def _read_trained(path: Path, config: Config, inputs: GenerationInputs) -> dict[str, Any]:
    content = read_checkpoint(path)
    if content is None:
        raise TrainingError(f"{path} is damaged: train the scene again, or delete the checkpoint")
    now = run_identity(config, inputs.scene.raw)
    refuse_different(path, _render_keys(content["identity"]), _render_keys(now))
    return dict(content["state"])


def _render_keys(identity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key.startswith(RENDER_KEYS)}


def _refuse_other_data(path: Path, weights: dict[str, Tensor], estimated: BodyParameters) -> None:
    """Raise FaultsError when frames or estimated poses are not those of the training.

    The people would be rendered in the wrong places.
    """
    for name, field in INITIAL_POSES.items():
        then, now = weights[name], getattr(estimated, field)
        if not torch.equal(then, now):
            value = f"{field} {tuple(then.shape)} then, {tuple(now.shape)} now"
            remedy = "train the scene again with the data as it is, or put the old data back"
            what = f"{path} was trained on other frames or body parameters"
            raise FaultsError([Fault(what, value, remedy)])
