"""The capture studio of a synthetic scene: pose, dress and render people, write both folders.

World: y up, floor at y = 0, metres, people around the origin; white background; frames from 1.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocess.body.body_model import BodyModel, load_body, skin
from preprocess.layout import SceneFolder
from preprocess.scene import Scene
from preprocess.synthetic.camera_ring import Camera, make_camera_ring
from preprocess.synthetic.clothing import add_garments, find_landmarks
from preprocess.synthetic.estimates import estimated_depth, estimated_motion
from preprocess.synthetic.motion import ACTIONS, solve_pose
from preprocess.synthetic.people_renderer import DressedPeople, render_people
from preprocess.synthetic.recipe import Recipe, recipe_of
from preprocess.synthetic.scene_writer import (
    View,
    write_body_parameters,
    write_skip_frames,
    write_view,
)
from preprocess.synthetic.wardrobe import PEOPLE

Array = NDArray[Any]

TARGET = np.array([0.0, 1.0, 0.0])
RADIUS = 3.6  # metres from the target to every camera
FAILURE = 6.0  # times the usual error where the estimator failed (skip frames)


class Motion(NamedTuple):
    """P people over F frames: betas (P,B), pose (F,P,22,3) axis-angle, trans (F,P,3) metres."""

    betas: Tensor
    pose: Tensor
    trans: Tensor


@dataclass(frozen=True)
class RenderedScene:
    """The truth of a scene: how everyone moved, and what every camera saw."""

    recipe: Recipe
    source: int
    seed: tuple[int, int]
    motion: Motion
    views: list[View]


def render_scene(scene: Scene) -> RenderedScene:
    """Render a synthetic scene with all its cameras."""
    recipe = recipe_of(scene)
    body = load_body()
    motion = _make_motion(recipe, body)
    rig = make_camera_ring(len(recipe.cameras), TARGET, RADIUS, recipe.image_size)
    cameras = dict(zip(recipe.cameras, rig, strict=True))
    views = _render_views(recipe, body, motion, cameras)
    seed = (recipe.seed, zlib.crc32(scene.seq_name.encode()))
    return RenderedScene(recipe, scene.cam_id, seed, motion, views)


def write_truth_folder(rendered: RenderedScene, folder: SceneFolder) -> None:
    """Write all cameras' images, masks and depth, and the true body parameters."""
    for view in rendered.views:
        write_view(folder, view, len(rendered.recipe.people))
    _write_motion(folder, rendered.motion)


def write_training_folder(rendered: RenderedScene, folder: SceneFolder) -> None:
    """Write the source camera's images, and estimates: noisy body parameters and depth."""
    rng = np.random.default_rng(rendered.seed)
    views = [view for view in rendered.views if view.camera_id == rendered.source]
    _write_motion(folder, _estimate_motion(rng, rendered, views[0].camera))
    for view in views:
        depth = estimated_depth(rng, view.depth)
        write_view(folder, view._replace(depth=depth), len(rendered.recipe.people))
    write_skip_frames(folder, rendered.recipe.skip_frames)


def _estimate_motion(rng: np.random.Generator, rendered: RenderedScene, camera: Camera) -> Motion:
    betas, true_pose, true_trans = rendered.motion
    pose, trans = estimated_motion(
        rng, true_pose.numpy(), true_trans.numpy(), camera.extrinsics[:, :3]
    )
    failed = [frame - 1 for frame in rendered.recipe.skip_frames]
    truth = true_pose.numpy()[failed]
    pose[failed] = truth + FAILURE * (pose[failed] - truth)
    return Motion(betas, torch.from_numpy(pose), torch.from_numpy(trans))


def _make_motion(recipe: Recipe, body: BodyModel) -> Motion:
    betas = torch.tensor([PEOPLE[name].betas for name in recipe.people])
    act = ACTIONS[recipe.action]
    times = [frame / recipe.frames for frame in range(recipe.frames)]
    moments = [
        solve_pose(body, betas[person], act(person, time))
        for time in times
        for person in range(len(betas))
    ]
    poses, places = (torch.stack(part) for part in zip(*moments, strict=True))
    shape = (len(times), len(betas))
    return Motion(betas, poses.view(*shape, -1, 3), places.view(*shape, 3))


def _render_views(
    recipe: Recipe, body: BodyModel, motion: Motion, cameras: dict[int, Camera]
) -> list[View]:
    dressed, resting = _dress_people(recipe, body, motion.betas)
    views = []
    for index, (pose, trans) in enumerate(zip(motion.pose, motion.trans, strict=True)):
        transforms, _ = body.joint_transforms(motion.betas, pose, trans)
        vertices = skin(resting, body.weights, transforms).numpy()
        for number, camera in cameras.items():
            rendered = render_people(dressed, vertices, camera, recipe.image_size)
            views.append(
                View(number, index + 1, camera, rendered.image, rendered.person, rendered.depth)
            )
    return views


def _dress_people(recipe: Recipe, body: BodyModel, betas: Tensor) -> tuple[DressedPeople, Tensor]:
    """Return everyone's outfit on the body, and the dressed resting vertices (P,V,3)."""
    people = tuple(PEOPLE[name] for name in recipe.people)
    faces = body.faces.numpy()
    shapes = body.shaped(betas)
    landmarks = tuple(
        find_landmarks(shape.numpy(), (body.regressor @ shape).numpy(), body.weights.numpy())
        for shape in shapes
    )
    resting = [
        add_garments(person, shape.numpy(), faces, each)
        for person, shape, each in zip(people, shapes, landmarks, strict=True)
    ]
    return DressedPeople(faces, people, landmarks), torch.from_numpy(np.stack(resting)).float()


def _write_motion(folder: SceneFolder, motion: Motion) -> None:
    for index, (pose, trans) in enumerate(zip(motion.pose, motion.trans, strict=True)):
        write_body_parameters(folder, index + 1, motion.betas.numpy(), pose.numpy(), trans.numpy())
