"""A scene's files as small as they can be: sound by their headers, and without people in view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import PARAMETER_SHAPES

WIDTH, HEIGHT = 8, 6


def write_scene(
    root: Path, cameras: Sequence[int] = (28,), frames: Sequence[int] = (1, 2), people: int = 2
) -> SceneFolder:
    """Write images, masks, depth and cameras, and bodies in both layouts; return the folder."""
    folder = SceneFolder(root)
    for frame in frames:
        for space, path in (("smplx", folder.smplx(frame)), ("smpl", folder.smpl(frame))):
            shapes = PARAMETER_SHAPES[space].items()
            bodies = {key: np.zeros((people, *shape), np.float32) for key, shape in shapes}
            np.savez(placed(path), **bodies)
        for camera in cameras:
            write_view(folder, camera, frame, people)
    return folder


def write_view(folder: SceneFolder, camera: int, frame: int, people: int) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(placed(folder.image(camera, frame)))
    for person in (*range(people), EVERYONE):
        Image.new("L", (WIDTH, HEIGHT)).save(placed(folder.mask(camera, person, frame)))
    np.save(placed(folder.depth(camera, frame)), np.ones((HEIGHT, WIDTH), np.float32))
    intrinsics = np.array([[9.0, 0, WIDTH / 2], [0, 9, HEIGHT / 2], [0, 0, 1]])
    np.savez(
        placed(folder.camera(camera, frame)),
        intrinsics=intrinsics[None],
        extrinsics=np.eye(4)[None, :3],
    )


def share_cameras(folder: SceneFolder, frame: int) -> None:
    """Write the cameras of a frame into one file for all frames, as Hi4D has them."""
    ids = folder.cameras()
    cameras = [np.load(folder.camera(camera, frame)) for camera in ids]
    folder.shared_cameras.parent.mkdir()
    np.savez(
        folder.shared_cameras,
        ids=np.array(ids),
        intrinsics=np.stack([camera["intrinsics"][0] for camera in cameras]),
        extrinsics=np.stack([camera["extrinsics"][0] for camera in cameras]),
        dist_coeffs=np.zeros((len(ids), 5)),
    )


def placed(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
