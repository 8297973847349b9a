"""Write scene data in the layout of preprocess/layout.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import PARAMETER_SHAPES, Space
from preprocess.synthetic.camera_ring import Camera

Array = NDArray[Any]


class View(NamedTuple):
    """One frame of one camera, as it is stored.

    `image` (H,W,3) 8-bit RGB, `person` (H,W) index of who is seen or -1, `depth` (H,W) metres.
    """

    camera_id: int
    frame: int
    camera: Camera
    image: Array
    person: Array
    depth: Array


def write_view(folder: SceneFolder, view: View, people: int) -> None:
    """Write image, camera, masks and depth of one frame and camera; `people` have a mask each."""
    number, frame = view.camera_id, view.frame
    image = Image.fromarray(view.image)
    # No chroma subsampling: at this size it would smear the clothes over the outlines.
    image.save(_with_parent(folder.image(number, frame)), quality=95, subsampling=0)
    np.savez(
        _with_parent(folder.camera(number, frame)),
        intrinsics=view.camera.intrinsics[None],
        extrinsics=view.camera.extrinsics[None],
    )
    _write_mask(folder.mask(number, EVERYONE, frame), view.person >= 0)
    for person in range(people):
        _write_mask(folder.mask(number, person, frame), view.person == person)
    np.save(_with_parent(folder.depth(number, frame)), view.depth)


def write_body_parameters(
    folder: SceneFolder, frame: int, betas: Array, pose: Array, trans: Array
) -> None:
    """Write P people's parameters in both layouts: betas (P,B), pose (P,22,3), trans (P,3).

    The hands of the SMPL layout, which `pose` doesn't have, are at rest.
    """
    smplx, smpl = _zeros("smplx", len(betas)), _zeros("smpl", len(betas))
    smplx["root_pose"], smplx["body_pose"], smplx["trans"] = pose[:, 0], pose[:, 1:], trans
    smpl["global_orient"], smpl["body_pose"][:, :21], smpl["transl"] = (
        pose[:, 0],
        pose[:, 1:],
        trans,
    )
    for path, parameters in ((folder.smplx(frame), smplx), (folder.smpl(frame), smpl)):
        parameters["betas"][:, : betas.shape[1]] = betas
        np.savez(
            _with_parent(path),
            **{key: value.astype(np.float32) for key, value in parameters.items()},
        )


def write_skip_frames(folder: SceneFolder, frames: tuple[int, ...]) -> None:
    """Write the one-line list of frames to leave out."""
    line = ",".join(map(str, frames))
    (folder.root / "skip_frames.csv").write_text(line + "\n" if line else "", encoding="utf-8")


def _zeros(space: Space, people: int) -> dict[str, Any]:
    return {key: np.zeros((people, *shape)) for key, shape in PARAMETER_SHAPES[space].items()}


def _write_mask(path: Path, mask: Array) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(_with_parent(path))


def _with_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
