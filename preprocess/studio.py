"""The capture studio of a synthetic scene: pose and dress the people, film them, write both folders.

World: y up, floor at y = 0, metres, people around the origin; white background; frames from 1.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preprocess.body import BodyModel, load_body, skin
from preprocess.camera_ring import Camera, ring
from preprocess.clothing import dressed, landmarks
from preprocess.estimates import estimated_depth, estimated_motion
from preprocess.layout import SceneFolder
from preprocess.motion import ACTIONS, posed
from preprocess.pictures import Dressed, Picture, take_picture
from preprocess.recipe import Recipe, recipe_of
from preprocess.scene import Scene
from preprocess.scene_writer import write_bodies, write_skip_frames, write_view
from preprocess.wardrobe import PEOPLE

Array = NDArray[Any]

TARGET = np.array([0.0, 1.0, 0.0])
RADIUS = 3.6  # metres from the target to every camera
FAILED = 6.0  # times the usual error where the estimator failed (skip frames)


@dataclass(frozen=True)
class Footage:
    """Everything true about a scene: F frames, P people, and what each camera saw."""

    recipe: Recipe
    source: int
    seed: tuple[int, ...]
    betas: Array
    pose: Array
    trans: Array
    cameras: dict[int, Camera]
    pictures: dict[tuple[int, int], Picture]

    @property
    def frames(self) -> range:
        """Frame numbers."""
        return range(1, self.recipe.frames + 1)


def record(scene: Scene) -> Footage:
    """Film a synthetic scene with all its cameras: betas (P,B), pose (F,P,22,3), trans (F,P,3)."""
    recipe = recipe_of(scene)
    body = load_body()
    betas = torch.tensor([PEOPLE[name].betas for name in recipe.people])
    pose, trans = _motion(recipe, body, betas)
    rig = ring(len(recipe.cameras), TARGET, RADIUS, recipe.image_size)
    cameras = dict(zip(recipe.cameras, rig, strict=True))
    return Footage(
        recipe=recipe,
        source=scene.cam_id,
        seed=(recipe.seed, zlib.crc32(scene.seq_name.encode())),
        betas=betas.numpy(),
        pose=pose.numpy(),
        trans=trans.numpy(),
        cameras=cameras,
        pictures=_film(recipe, body, betas, pose, trans, cameras),
    )


def write_truth(footage: Footage, folder: SceneFolder) -> None:
    """All cameras' images, masks and depth, and the true body parameters."""
    for (frame, camera), picture in footage.pictures.items():
        _write_view(footage, folder, frame, camera, picture)
    _write_motion(footage, folder, footage.pose, footage.trans)


def write_training(footage: Footage, folder: SceneFolder) -> None:
    """The source camera's images, and estimates: noisy body parameters and depth."""
    rng = np.random.default_rng(footage.seed)
    turn = footage.cameras[footage.source].extrinsics[:, :3]
    pose, trans = estimated_motion(rng, footage.pose, footage.trans, turn)
    failed = [frame - 1 for frame in footage.recipe.skip_frames]
    pose[failed] = footage.pose[failed] + FAILED * (pose - footage.pose)[failed]
    for frame in footage.frames:
        picture = footage.pictures[frame, footage.source]
        seen = replace(picture, depth=estimated_depth(rng, picture.depth))
        _write_view(footage, folder, frame, footage.source, seen)
    _write_motion(footage, folder, pose, trans)
    write_skip_frames(folder, footage.recipe.skip_frames)


def _motion(recipe: Recipe, body: BodyModel, betas: Any) -> tuple[Any, Any]:
    times = [frame / max(1, recipe.frames - 1) for frame in range(recipe.frames)]
    act = ACTIONS[recipe.action]
    moments = [
        [posed(body, betas[person], act(person, time)) for person in range(len(betas))]
        for time in times
    ]
    poses = [torch.stack([pose for pose, _ in moment]) for moment in moments]
    places = [torch.stack([trans for _, trans in moment]) for moment in moments]
    return torch.stack(poses), torch.stack(places)


def _film(
    recipe: Recipe, body: BodyModel, betas: Any, pose: Any, trans: Any, cameras: dict[int, Camera]
) -> dict[tuple[int, int], Picture]:
    people, clothed = _dress(recipe, body, betas)
    pictures = {}
    for frame in range(recipe.frames):
        transforms, _ = body.joint_transforms(betas, pose[frame], trans[frame])
        vertices = list(skin(clothed, body.weights, transforms).numpy())
        for number, camera in cameras.items():
            picture = take_picture(people, vertices, camera, recipe.image_size)
            pictures[frame + 1, number] = picture
    return pictures


def _dress(recipe: Recipe, body: BodyModel, betas: Any) -> tuple[list[Dressed], Any]:
    """Each person's clothes, and the dressed resting vertices (P,V,3)."""
    people, clothed = [], []
    faces = body.faces.numpy()
    for name, shape in zip(recipe.people, body.shaped(betas), strict=True):
        joints = (body.regressor @ shape).numpy()
        where = landmarks(shape.numpy(), joints, body.weights.numpy())
        people.append(Dressed(PEOPLE[name], faces, where))
        clothed.append(dressed(PEOPLE[name], shape.numpy(), faces, where))
    return people, torch.from_numpy(np.stack(clothed)).float()


def _write_view(
    footage: Footage, folder: SceneFolder, frame: int, camera: int, picture: Picture
) -> None:
    people = len(footage.betas)
    write_view(folder, camera, frame, footage.cameras[camera], picture, people)


def _write_motion(footage: Footage, folder: SceneFolder, pose: Array, trans: Array) -> None:
    for index, frame in enumerate(footage.frames):
        write_bodies(folder, frame, footage.betas, pose[index], trans[index])
