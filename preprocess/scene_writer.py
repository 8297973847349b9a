"""Writing scene data in the layout of preprocess/layout.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.camera_ring import Camera
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.pictures import Picture
from preprocess.scene_data import PARAMETER_SHAPES

Array = NDArray[Any]


def write_view(
    folder: SceneFolder, camera_id: int, frame: int, camera: Camera, picture: Picture, people: int
) -> None:
    """Image, camera, masks and depth of one frame and camera."""
    image = Image.fromarray(picture.image)
    image.save(_made(folder.image(camera_id, frame)), quality=95, subsampling=0)
    np.savez(
        _made(folder.camera(camera_id, frame)),
        intrinsics=camera.intrinsics[None],
        extrinsics=camera.extrinsics[None],
    )
    _write_mask(folder.mask(camera_id, EVERYONE, frame), picture.person >= 0)
    for person in range(people):
        _write_mask(folder.mask(camera_id, person, frame), picture.person == person)
    np.save(_made(folder.depth(camera_id, frame)), picture.depth)


def write_bodies(folder: SceneFolder, frame: int, betas: Array, pose: Array, trans: Array) -> None:
    """Body parameters of P people in both layouts: betas (P,B), pose (P,22,3), trans (P,3)."""
    people = len(betas)
    smplx = _zeros("smplx", people)
    smplx["root_pose"], smplx["body_pose"], smplx["trans"] = pose[:, 0], pose[:, 1:], trans
    smpl = _zeros("smpl", people)
    smpl["global_orient"], smpl["transl"] = pose[:, 0], trans
    smpl["body_pose"][:, :21] = pose[:, 1:]
    for path, parameters in ((folder.smplx(frame), smplx), (folder.smpl(frame), smpl)):
        parameters["betas"][:, : betas.shape[1]] = betas
        np.savez(
            _made(path), **{key: value.astype(np.float32) for key, value in parameters.items()}
        )


def write_skip_frames(folder: SceneFolder, frames: tuple[int, ...]) -> None:
    """The one-line list of frames to leave out."""
    line = ",".join(map(str, frames))
    (folder.root / "skip_frames.csv").write_text(line + "\n" if line else "", encoding="utf-8")


def _zeros(space: Any, people: int) -> dict[str, Any]:
    return {key: np.zeros((people, *shape)) for key, shape in PARAMETER_SHAPES[space].items()}


def _write_mask(path: Path, mask: Array) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(_made(path))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
