"""The capture studio of a synthetic scene: pose and dress people, film them, write both folders.

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
from preprocess.synthetic.camera_ring import Camera, ring
from preprocess.synthetic.clothing import dressed, landmarks
from preprocess.synthetic.estimates import estimated_depth, estimated_motion
from preprocess.synthetic.motion import ACTIONS, posed
from preprocess.synthetic.recipe import Recipe, recipe_of
from preprocess.synthetic.scene_writer import View, write_bodies, write_skip_frames, write_view
from preprocess.synthetic.views import Cast, take_picture
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
class Footage:
    """All that is true about a scene: who moved how, and what every camera saw."""

    recipe: Recipe
    source: int
    seed: tuple[int, int]
    motion: Motion
    views: list[View]


def record(scene: Scene) -> Footage:
    """Film a synthetic scene with all its cameras."""
    recipe = recipe_of(scene)
    body = load_body()
    motion = _motion(recipe, body)
    rig = ring(len(recipe.cameras), TARGET, RADIUS, recipe.image_size)
    cameras = dict(zip(recipe.cameras, rig, strict=True))
    views = _film(recipe, body, motion, cameras)
    seed = (recipe.seed, zlib.crc32(scene.seq_name.encode()))
    return Footage(recipe, scene.cam_id, seed, motion, views)


def write_truth(footage: Footage, folder: SceneFolder) -> None:
    """All cameras' images, masks and depth, and the true body parameters."""
    for view in footage.views:
        write_view(folder, view, len(footage.recipe.people))
    _write_motion(folder, footage.motion)


def write_training(footage: Footage, folder: SceneFolder) -> None:
    """The source camera's images, and estimates: noisy body parameters and depth."""
    rng = np.random.default_rng(footage.seed)
    views = [view for view in footage.views if view.camera_id == footage.source]
    _write_motion(folder, _estimated(rng, footage, views[0].camera))
    for view in views:
        depth = estimated_depth(rng, view.depth)
        write_view(folder, view._replace(depth=depth), len(footage.recipe.people))
    write_skip_frames(folder, footage.recipe.skip_frames)


def _estimated(rng: np.random.Generator, footage: Footage, camera: Camera) -> Motion:
    betas, true_pose, true_trans = footage.motion
    pose, trans = estimated_motion(
        rng, true_pose.numpy(), true_trans.numpy(), camera.extrinsics[:, :3]
    )
    failed = [frame - 1 for frame in footage.recipe.skip_frames]
    truth = true_pose.numpy()[failed]
    pose[failed] = truth + FAILURE * (pose[failed] - truth)
    return Motion(betas, torch.from_numpy(pose), torch.from_numpy(trans))


def _motion(recipe: Recipe, body: BodyModel) -> Motion:
    betas = torch.tensor([PEOPLE[name].betas for name in recipe.people])
    act = ACTIONS[recipe.action]
    times = [frame / recipe.frames for frame in range(recipe.frames)]
    moments = [
        posed(body, betas[person], act(person, time))
        for time in times
        for person in range(len(betas))
    ]
    poses, places = (torch.stack(part) for part in zip(*moments, strict=True))
    shape = (len(times), len(betas))
    return Motion(betas, poses.view(*shape, -1, 3), places.view(*shape, 3))


def _film(
    recipe: Recipe, body: BodyModel, motion: Motion, cameras: dict[int, Camera]
) -> list[View]:
    cast, clothed = _dress(recipe, body, motion.betas)
    views = []
    for index, (pose, trans) in enumerate(zip(motion.pose, motion.trans, strict=True)):
        transforms, _ = body.joint_transforms(motion.betas, pose, trans)
        vertices = skin(clothed, body.weights, transforms).numpy()
        for number, camera in cameras.items():
            picture = take_picture(cast, vertices, camera, recipe.image_size)
            views.append(
                View(number, index + 1, camera, picture.image, picture.person, picture.depth)
            )
    return views


def _dress(recipe: Recipe, body: BodyModel, betas: Tensor) -> tuple[Cast, Tensor]:
    """Everyone's clothes, and their dressed resting vertices (P,V,3)."""
    people = tuple(PEOPLE[name] for name in recipe.people)
    faces = body.faces.numpy()
    shapes = body.shaped(betas)
    where = tuple(
        landmarks(shape.numpy(), (body.regressor @ shape).numpy(), body.weights.numpy())
        for shape in shapes
    )
    clothed = [
        dressed(person, shape.numpy(), faces, each)
        for person, shape, each in zip(people, shapes, where, strict=True)
    ]
    return Cast(faces, people, where), torch.from_numpy(np.stack(clothed)).float()


def _write_motion(folder: SceneFolder, motion: Motion) -> None:
    for index, (pose, trans) in enumerate(zip(motion.pose, motion.trans, strict=True)):
        write_bodies(folder, index + 1, motion.betas.numpy(), pose.numpy(), trans.numpy())
