"""How the Gaussians' optimizer is configured: batches, learning rate, decay, limit, parameters."""

from __future__ import annotations

import re

import pytest
import torch

from preprocess.body.body_model import load_body
from preprocess.faults import FaultsError
from training.trainer.config.compose import load_config
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.model import Gaussians, Poses, SceneModel
from training.trainer.gaussians.surface import spread_points
from training.trainer.optimizers import make_optimizers

FRAMES = 3


@pytest.fixture
def model():
    body, generator = load_body(), torch.Generator().manual_seed(0)
    betas = torch.zeros(2, 6)
    surfaces = [spread_points(body, each, 50, generator) for each in betas]
    pose, trans = torch.zeros(FRAMES, 2, 22, 3), torch.zeros(FRAMES, 2, 3)
    return SceneModel(body, Poses(BodyParameters(betas, pose, trans)), Gaussians(surfaces))


def optimizers(model, *overrides):
    keys = [f"train.optimization.{key}" for key in overrides]
    config = load_config(["shared.scene_name=s", "shared.exp_name=e", *keys])
    return make_optimizers(model, config.train.optimization)


def add_gradient(model, frame, scale=1.0):
    """Ask for other colours, offsets and a turn of one frame."""
    turns = model.poses.turns(torch.tensor([frame]))
    loss = (model.gaussians.colors * (frame + 1)).sum() + turns.sum()
    loss = loss + model.gaussians.offsets.sum() + model.gaussians.scales.sum()
    (loss * scale).backward()


def step(model, chosen, frame, scale=1.0):
    add_gradient(model, frame, scale)
    chosen.step(poses=True, gaussians=True, fraction=1.0)


def test_a_batch_takes_one_step_by_the_mean_of_its_frames(model):
    """Adam's first moment is a tenth of the mean gradient; both frames' poses have moved."""
    chosen = optimizers(model, "batch_size=2")
    before = model.gaussians.colors.clone()
    step(model, chosen, 0)
    assert torch.equal(model.gaussians.colors, before)
    step(model, chosen, 2)
    moment = chosen.gaussians.state[model.gaussians.colors]["exp_avg"]
    assert torch.allclose(moment, torch.full_like(moment, 0.1 * (1 + 3) / 2))
    assert (model.poses.turns.weight.abs().sum(1) > 0).tolist() == [True, False, True]
    assert model.gaussians.colors.grad is None


def test_the_last_batch_of_an_epoch_may_be_smaller(model):
    chosen = optimizers(model, "batch_size=2")
    step(model, chosen, 2)
    chosen.finish_batch()
    moment = chosen.gaussians.state[model.gaussians.colors]["exp_avg"]
    assert torch.allclose(moment, torch.full_like(moment, 0.3))
    assert chosen.frames == 0


def test_only_the_chosen_parameters_are_trained(model):
    before = {name: value.clone() for name, value in model.gaussians.named_parameters()}
    step(model, optimizers(model, "train_params=[color]"), 0)
    changed = {
        name
        for name, value in model.gaussians.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert changed == {"colors"}


def test_one_learning_rate_replaces_the_gaussians_own(model):
    chosen = optimizers(model, "lr=0.125")
    assert {group["lr"] for group in chosen.gaussians.param_groups} == {0.125}
    assert {group["lr"] for group in chosen.poses.param_groups} == {4e-3, 2e-3}


def test_offsets_and_colours_decay_and_sizes_do_not(model):
    """By weight_decay times the learning rate, beside Adam's step (decoupled, as in AdamW)."""
    with torch.no_grad():
        model.gaussians.offsets.fill_(0.5)
        model.gaussians.scales.fill_(-4.0)
    step(model, optimizers(model, "lr=0.01", "weight_decay=0.1"), 0, scale=1e3)
    assert torch.allclose(model.gaussians.offsets, torch.tensor(0.5 * (1 - 1e-3) - 0.01))
    assert torch.allclose(model.gaussians.scales, torch.tensor(-4.01))


def test_long_gradients_are_shortened_to_the_limit(model):
    chosen = optimizers(model, "grad_clip=0.5")
    step(model, chosen, 0)
    moments = [state["exp_avg"].flatten() for state in chosen.gaussians.state.values()]
    assert torch.cat(moments).norm() == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_without_these_keys_a_step_is_adams(model):
    """The defaults change no number: against torch's Adam on a copy."""
    chosen = optimizers(model)
    copy = model.gaussians.colors.detach().clone().requires_grad_()
    adam = torch.optim.Adam([copy], lr=5e-2, eps=1e-15)
    for frame in (0, 2, 1):
        step(model, chosen, frame)
        (copy * (frame + 1)).sum().backward()
        adam.step()
        adam.zero_grad()
    assert torch.equal(model.gaussians.colors, copy)


@pytest.mark.parametrize("key", ["batch_size=2", "train_params=[color]"])
def test_densification_goes_with_single_frames_and_all_parameters(key):
    with pytest.raises(FaultsError, match=re.escape(key)):
        load_config(
            [
                "shared.scene_name=s",
                "shared.exp_name=e",
                "model.densification=mcmc",
                f"train.optimization.{key}",
            ]
        )
