"""The capture studio of a synthetic scene: pose, dress and render people, write both folders.

World: y up, floor at y = 0, metres, people around the origin; white background; frames from 1.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocess.body.body_model import BodyModel, load_body, skin
from preprocess.layout import SceneFolder
from preprocess.run_ahead import run_ahead
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

Array = NDArray[Any]

TARGET = np.array([0.0, 1.0, 0.0])
RADIUS = 3.6  # metres from the target to every camera
MAX_WORKERS = 8  # each renders one view, in 0.5 GB at 1000 x 1000 pixels
FAILURE = 6.0  # times the usual error where the estimator failed (skip frames)


class Motion(NamedTuple):
    """P people over F frames: betas (P,B), pose (F,P,22,3) axis-angle, trans (F,P,3) metres."""

    betas: Tensor
    pose: Tensor
    trans: Tensor


@dataclass(frozen=True)
class Studio:
    """A scene before it is captured: how everyone moves, their `resting` vertices (P,V,3), cameras.

    `source` is the id of the source camera, `seed` that of the estimates' errors.
    """

    recipe: Recipe
    source: int
    seed: tuple[int, int]
    cameras: dict[int, Camera]
    body: BodyModel
    motion: Motion
    dressed: DressedPeople
    resting: Tensor

    def views(self, cameras: Iterable[int]) -> Iterator[View]:
        """Yield what these cameras see, frame by frame.

        Views are rendered ahead in threads, a few at once: all of a scene may not fit into memory.
        """
        workers = min(len(os.sched_getaffinity(0)), MAX_WORKERS)
        chosen = list(cameras)
        tasks = (
            partial(self._view, frame, camera)
            for frame in range(1, self.recipe.frames + 1)
            for camera in chosen
        )
        with ThreadPoolExecutor(workers) as pool:
            yield from run_ahead(pool, tasks, workers)

    def _view(self, frame: int, number: int) -> View:
        pose, trans = self.motion.pose[frame - 1], self.motion.trans[frame - 1]
        transforms, _ = self.body.joint_transforms(self.motion.betas, pose, trans)
        vertices = skin(self.resting, self.body.weights, transforms).numpy()
        camera = self.cameras[number]
        seen = render_people(self.dressed, vertices, camera, self.recipe.image_size)
        return View(number, frame, camera, seen.image, seen.person, seen.depth)


def open_studio(scene: Scene) -> Studio:
    """Pose and dress a synthetic scene's people, and place its cameras; nothing is rendered yet."""
    recipe = recipe_of(scene)
    body = load_body()
    motion = _make_motion(recipe, body)
    rig = make_camera_ring(len(recipe.cameras), TARGET, RADIUS, recipe.image_size)
    cameras = dict(zip(recipe.cameras, rig, strict=True))
    seed = (recipe.seed, zlib.crc32(scene.seq_name.encode()))
    dressed, resting = _dress_people(recipe, body, motion.betas)
    return Studio(recipe, scene.cam_id, seed, cameras, body, motion, dressed, resting)


def write_truth_folder(studio: Studio, folder: SceneFolder) -> None:
    """Write all cameras' images, masks and depth, and the true body parameters."""
    for view in studio.views(studio.cameras):
        write_view(folder, view, len(studio.recipe.cast))
    _write_motion(folder, studio.motion)


def write_training_folder(studio: Studio, folder: SceneFolder) -> None:
    """Write the source camera's images, and estimates: noisy body parameters and depth."""
    rng = np.random.default_rng(studio.seed)
    _write_motion(folder, _estimate_motion(rng, studio, studio.cameras[studio.source]))
    for view in studio.views([studio.source]):
        depth = estimated_depth(rng, view.depth)
        write_view(folder, view._replace(depth=depth), len(studio.recipe.cast))
    write_skip_frames(folder, studio.recipe.skip_frames)


def _estimate_motion(rng: np.random.Generator, studio: Studio, camera: Camera) -> Motion:
    betas, true_pose, true_trans = studio.motion
    pose, trans = estimated_motion(
        rng, true_pose.numpy(), true_trans.numpy(), camera.extrinsics[:, :3]
    )
    failed = [frame - 1 for frame in studio.recipe.skip_frames]
    truth = true_pose.numpy()[failed]
    pose[failed] = truth + FAILURE * (pose[failed] - truth)
    return Motion(betas, torch.from_numpy(pose), torch.from_numpy(trans))


def _make_motion(recipe: Recipe, body: BodyModel) -> Motion:
    betas = torch.tensor([person.betas for person in recipe.cast])
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


def _dress_people(recipe: Recipe, body: BodyModel, betas: Tensor) -> tuple[DressedPeople, Tensor]:
    """Return everyone's outfit on the body, and the dressed resting vertices (P,V,3)."""
    people = recipe.cast
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
