"""Load the trained model of a scene from its checkpoint, for run modes that use one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from preprocess.body.body_model import BodyModel
from preprocess.scene import Scene
from training.trainer.checkpoints import (
    read_checkpoint,
    refuse_different,
    refuse_other_data,
    run_identity,
)
from training.trainer.config.schema import Config
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.model import SceneModel
from training.trainer.output_files import OutputFolder
from training.trainer.setup import make_model
from training.trainer.termination import TrainingError

RENDER_KEYS = ("model.", "scene.cam_id", "scene.seq_name")
"""Prefixes of the keys in a checkpoint's identity that a render depends on."""


def read_trained(config: Config, scene: Scene) -> dict[str, Any] | None:
    """Return the `identity` and `state` of the scene's checkpoint; None where there is none.

    Raises FaultsError when it is of another model, TrainingError when it is damaged, OSError.
    """
    content = read_existing(config, "train the scene again, or delete the checkpoint")
    if content is not None:
        now, path = run_identity(config, scene.raw), OutputFolder(config.output).checkpoint
        refuse_different(path, _render_keys(content["identity"]), _render_keys(now))
    return content


def read_existing(config: Config, remedy: str) -> dict[str, Any] | None:
    """Return the content of the scene's checkpoint; None where there is none.

    Raises TrainingError with the remedy when it is damaged, OSError.
    """
    path = OutputFolder(config.output).checkpoint
    if not path.exists():
        return None
    content = read_checkpoint(path)
    if content is None:
        raise TrainingError(f"{path} is damaged: {remedy}")
    return content


def trained_model(
    config: Config,
    content: Mapping[str, Any],
    body: BodyModel,
    estimated: BodyParameters,
    device: torch.device,
) -> SceneModel:
    """Return the model of a checkpoint that was trained on these estimated poses.

    Raises FaultsError when it was trained on others.
    """
    weights = content["state"]["model"]
    now = {"poses.first_pose": estimated.pose, "poses.first_trans": estimated.trans}
    refuse_other_data(OutputFolder(config.output).checkpoint, weights, now)
    counts = torch.bincount(weights["gaussians.person"]).tolist()
    model = make_model(config.seed, body, estimated, counts, device, settings=config.model)
    model.load_state_dict(weights)
    return model


def _render_keys(identity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key.startswith(RENDER_KEYS)}
