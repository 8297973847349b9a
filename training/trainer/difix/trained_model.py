"""Load the model whose renders are to be repaired: from the checkpoint, else untrained."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from preprocess.scene_data import body_space, load_genders
from training.trainer.config.schema import Config
from training.trainer.difix.generation_checks import GenerationInputs
from training.trainer.gaussians.body_files import load_people_bodies
from training.trainer.gaussians.body_parameters import read_body_parameters
from training.trainer.gaussians.model import SceneModel
from training.trainer.setup import gaussian_counts, make_model
from training.trainer.termination import TrainingError
from training.trainer.trained_model import read_trained, trained_model


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
    content = read_trained(config, inputs.scene)
    if content is None:
        at = (inputs.data, inputs.scene.cam_id, inputs.trained_frames)
        counts = gaussian_counts(config.model.gaussians_per_person, *at, len(estimated.betas))
        model = make_model(config.seed, body, estimated, counts, device, settings=config.model)
        return model, {"source": "initial"}
    model = trained_model(config, content, body, estimated, device)
    state = content["state"]
    source = {"source": "checkpoint", "epoch": state["position"]["epoch"]}
    return model, {**source, "digest": weights_digest(state["model"])}


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
    return model.with_bodies(model.body, true)


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names and values, which is the same whenever the model is saved."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
