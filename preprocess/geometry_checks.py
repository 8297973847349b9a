"""Check that cameras, bodies, masks and depth of a scene belong together, before training.

Bodies are drawn as the source camera would see them, small, and compared with masks and depth: that
finds poses of another body model, cameras that are turned the wrong way, and other units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from preprocess.body.body_model import TRANSLATION_KEYS, BodyModel, pose_vector
from preprocess.body.joints import BODY_JOINTS
from preprocess.content_checks import Shot, evenly_spread
from preprocess.faults import Fault
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import CameraData, Space, load_known_joints
from preprocess.synthetic.mesh_renderer import project, rasterize

Array = NDArray[Any]

LEFT_SHOULDER, RIGHT_SHOULDER = map(BODY_JOINTS.index, ("left_shoulder", "right_shoulder"))
LONGER_SIDE = 128
"""Bodies are drawn so large, pixels."""
SHOTS = 4
"""So many frames are drawn."""
LEAST_OVERLAP = 0.25
"""Intersection over union of bodies and masks, below which they are not of the same people."""
DOUBTFUL_OVERLAP = 0.45
"""Estimates of the bundled scenes, which are as good as those of video, have 0.58 to 0.7."""
ARM_TURNS = (-0.8, 0.8)
"""Between the resting arms of SMPL, held out, and of other models, held down, rad."""
ARM_GAIN = 0.02
"""Bodies with turned arms that overlap by so much more are of another model: the bundled scenes
lose 0.016 to 0.07 by it, and gain 0.04 to 0.07 when their body's arms rest held out."""
JOINT_TOLERANCE = 0.02
"""Of a body's joints from those that the file of its parameters has, metres."""
UNITS = {1000.0: "millimetres", 100.0: "centimetres", 0.001: "kilometres", 39.37: "inches"}
UNIT_TOLERANCE = 2.0
"""Depth that is so many times too large or small is of another unit."""
FAR = 100.0
"""Nobody stands so far from the camera, metres."""
BODY_MODEL = "set model.body_file, or in SMPL's space model.smpl_body_file, to the fitted model's"


@dataclass(frozen=True)
class Findings:
    """What is wrong, and in one line each what is probably not meant."""

    faults: list[Fault]
    doubts: list[str]


@dataclass(frozen=True)
class _Drawn:
    """What the source camera would see of the bodies in one frame, in small.

    `person` (h,w) is who is seen or -1, `depth` (h,w) metres, `masks` (P,h,w) and `everyone` (h,w)
    those of the data in the same size, `known` (h,w) the data's depth or None.
    """

    person: Array
    depth: Array
    masks: Array
    everyone: Array
    known: Array | None


def check_geometry(
    folder: SceneFolder,
    camera: int,
    shots: Sequence[Shot],
    body: BodyModel,
    space: Space,
    *,
    other_cameras: Mapping[int, Array],
) -> Findings:
    """Return what does not fit together in a few of the frames that were read whole.

    `other_cameras` are the centres (3,) of further cameras by id.
    """
    chosen = evenly_spread(shots, SHOTS)
    faces = body.faces.numpy()
    vertices = posed_vertices(chosen, body, space)
    drawn = _draw_all(chosen, vertices, faces)
    centers = [{camera: shot.camera.center, **other_cameras} for shot in chosen]
    faults = _cameras_inside(folder, chosen, centers, vertices, faces)
    faults += _depth_faults(folder, camera, drawn)
    apart = _overlap_faults(f"{folder.root}: camera {camera}", chosen, vertices, drawn)
    if apart:
        return Findings(faults + apart, [])
    faults += _empty_masks(folder, camera, chosen, drawn)
    turned = {
        angle: _mean_overlap(_draw_all(chosen, posed_vertices(chosen, body, space, angle), faces))
        for angle in ARM_TURNS
    }
    faults += _other_model(folder, _mean_overlap(drawn), turned)
    return Findings(faults, [] if faults else _doubts(folder, chosen, body, space, drawn))


def posed_vertices(
    shots: Sequence[Shot], body: BodyModel, space: Space, arms: float = 0.0
) -> Array:
    """Return everyone's vertices (S,P,V,3), metres, where arms rest turned by `arms` rad."""
    pose = torch.stack([pose_vector(shot.parameters, space) for shot in shots])
    if arms:
        for joint, angle in ((LEFT_SHOULDER, arms), (RIGHT_SHOULDER, -arms)):
            turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
            turned = roma.rotvec_to_rotmat(pose[..., joint, :]) @ turn
            pose[..., joint, :] = roma.rotmat_to_rotvec(turned)
    betas, trans = (_stacked(shots, key) for key in ("betas", TRANSLATION_KEYS[space]))
    expression = _stacked(shots, "expression") if space == "smplx" else None
    return np.asarray(body.vertices(betas, pose, trans, expression).numpy())


def _stacked(shots: Sequence[Shot], key: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([shot.parameters[key] for shot in shots]))


def posed_joints(shots: Sequence[Shot], body: BodyModel, space: Space) -> Array:
    """Return everyone's joints (S,P,J,3), metres."""
    betas, trans = (_stacked(shots, key) for key in ("betas", TRANSLATION_KEYS[space]))
    pose = torch.stack([pose_vector(shot.parameters, space) for shot in shots])
    return np.asarray(body.joint_transforms(betas, pose, trans)[1].numpy())


def sees_anybody(camera: CameraData, joints: Array) -> bool:
    """Return whether a joint of (…,3) lies before the camera and in its image.

    The image is taken to reach as far beyond the principal point as before it.
    """
    pixels, depth = project(
        joints.reshape(-1, 3).astype(np.float64), camera.intrinsics, camera.extrinsics
    )
    inside = (pixels > 0) & (pixels < 2 * camera.intrinsics[:2, 2])
    return bool((inside.all(axis=1) & (depth > 0)).any())


def is_inside(point: Array, vertices: Array, faces: Array) -> bool:
    """Return whether a point (3,) is inside a closed mesh: vertices (V,3), faces (F,3).

    By the winding number, the sum of the faces' solid angles (Van Oosterom and Strackee 1983).
    """
    a, b, c = np.moveaxis(vertices[faces] - point, 1, 0)
    lengths = [np.linalg.norm(each, axis=1) for each in (a, b, c)]
    volume = np.einsum("fi,fi->f", a, np.cross(b, c))
    below = (
        np.prod(lengths, axis=0)
        + (a * b).sum(1) * lengths[2]
        + (b * c).sum(1) * lengths[0]
        + (c * a).sum(1) * lengths[1]
    )
    return bool(abs(np.arctan2(volume, below).sum() / (2 * np.pi)) > 0.5)  # noqa: PLR2004 - half


def _draw_all(shots: Sequence[Shot], vertices: Array, faces: Array) -> list[_Drawn]:
    return [_draw(shot, each, faces) for shot, each in zip(shots, vertices, strict=True)]


def _draw(shot: Shot, vertices: Array, faces: Array) -> _Drawn:
    """Draw everyone's bodies (P,V,3) as the camera sees them, and scale masks and depth alike."""
    people, count, _ = vertices.shape
    full_height, full_width = shot.everyone.shape
    scale = min(1.0, LONGER_SIDE / max(full_height, full_width))
    height, width = (max(1, round(side * scale)) for side in (full_height, full_width))
    scaling = np.diag([width / full_width, height / full_height, 1.0])
    points = vertices.reshape(-1, 3).astype(np.float64)
    pixels, distance = project(points, scaling @ shot.camera.intrinsics, shot.camera.extrinsics)
    everyones = np.concatenate([faces + person * count for person in range(people)])
    seen = rasterize(pixels, distance, everyones, width, height)
    person, depth = np.full(height * width, -1), np.zeros(height * width)
    person[seen.pixel], depth[seen.pixel] = seen.face // len(faces), seen.depth
    rows = ((np.arange(height) + 0.5) * full_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * full_width / width).astype(int)
    at = np.ix_(rows, columns)
    return _Drawn(
        person.reshape(height, width),
        depth.reshape(height, width),
        np.stack([mask[at] for mask in shot.masks]),
        shot.everyone[at],
        None if shot.depth is None else shot.depth[at],
    )


def _cameras_inside(
    folder: SceneFolder,
    shots: Sequence[Shot],
    centers: Sequence[Mapping[int, Array]],
    vertices: Array,
    faces: Array,
) -> list[Fault]:
    """Return a fault for each camera that is inside a body in one of the frames."""
    faults: dict[int, Fault] = {}
    for shot, places, bodies in zip(shots, centers, vertices, strict=True):
        for camera, center in places.items():
            inside = [
                person for person, body in enumerate(bodies) if is_inside(center, body, faces)
            ]
            if inside and camera not in faults:
                what = f"{folder.root}: camera {camera} is inside the body of person {inside[0]}"
                value = f"frame {shot.frame}, at {np.round(center, 2).tolist()} m"
                remedy = "extrinsics are world-to-camera [R|t] in metres, in the bodies' world"
                faults[camera] = Fault(what, value, remedy)
    return list(faults.values())


def _overlap_faults(
    where: str, shots: Sequence[Shot], vertices: Array, drawn: Sequence[_Drawn]
) -> list[Fault]:
    """Return a fault where bodies are not where the masks say, with the likeliest reason."""
    if not any(each.everyone.any() for each in drawn):
        return []
    overlap = _mean_overlap(drawn)
    if overlap < LEAST_OVERLAP:
        what = f"{where}: bodies and masks hardly overlap"
        return [Fault(what, f"{overlap:.0%} of their union", _reason(shots, vertices))]
    swapped = _mean_person_overlap(drawn, reverse=True) - _mean_person_overlap(drawn)
    if len(drawn[0].masks) == 2 and swapped > LEAST_OVERLAP:  # noqa: PLR2004 - a pair
        what = f"{where}: person 0's body is where person 1's mask is, and the other way round"
        return [Fault(what, remedy="number people in masks as in the body parameters")]
    return []


def _reason(shots: Sequence[Shot], vertices: Array) -> str:
    """Return the likeliest reason why bodies are not where people are seen, as a remedy."""
    axes = [shot.camera.extrinsics[2] for shot in shots]
    distance = np.stack(
        [each @ axis[:3] + axis[3] for each, axis in zip(vertices, axes, strict=True)]
    )
    middle = float(np.median(distance))
    if middle < 0:
        return "people are behind the camera: are extrinsics camera-to-world? write world-to-camera"
    if middle > FAR:
        return f"people are {middle:.0f} m away: are translations in millimetres? write metres"
    return f"are poses, cameras and images of the same frames, world and body model? {BODY_MODEL}"


def _other_model(folder: SceneFolder, overlap: float, turned: Mapping[float, float]) -> list[Fault]:
    """Return a fault where other resting arms explain the masks better: models differ by these."""
    best = max(turned, key=lambda angle: turned[angle])
    if turned[best] - overlap < ARM_GAIN:
        return []
    what = f"{folder.root}: the poses are of another body model than the configured one"
    degrees = f"{abs(np.degrees(best)):.0f}° {'lower' if best < 0 else 'higher'}"
    value = f"masks are met by {overlap:.0%}, by {turned[best]:.0%} if arms rested {degrees}"
    return [Fault(what, value, BODY_MODEL)]


def _doubts(
    folder: SceneFolder,
    shots: Sequence[Shot],
    body: BodyModel,
    space: Space,
    drawn: Sequence[_Drawn],
) -> list[str]:
    """Return lines about bodies that meet masks badly, and joints that are not the file's own."""
    lines = []
    overlap = _mean_overlap(drawn)
    if overlap < DOUBTFUL_OVERLAP:
        lines.append(
            f"{folder.root}: bodies and masks overlap by {overlap:.0%} of their union only: are "
            f"poses, cameras and masks of one world, and of the configured body model? {BODY_MODEL}"
        )
    distance = _distance_of_joints(folder, shots, body) if space == "smpl" else 0.0
    if distance > JOINT_TOLERANCE:
        lines.append(
            f"{folder.root}: the body model's joints are {1000 * distance:.0f} mm from joints_3d "
            f"of the same files: is it the model, and the gender, that was fitted? {BODY_MODEL}"
        )
    return lines


def _distance_of_joints(folder: SceneFolder, shots: Sequence[Shot], body: BodyModel) -> float:
    """Return the mean distance to the joints (P,24,3) that Hi4D's files have, metres; else 0."""
    ours = posed_joints(shots, body, "smpl")
    theirs = [load_known_joints(folder, shot.frame) for shot in shots]
    distances = [
        np.linalg.norm(own - known, axis=-1).mean()
        for own, known in zip(ours, theirs, strict=True)
        if known is not None and known.shape == own.shape
    ]
    return float(np.mean(distances)) if distances else 0.0


def _mean_overlap(drawn: Sequence[_Drawn]) -> float:
    """Return the mean intersection over union of all bodies and all masks that are not empty."""
    found = [_overlap(each.person >= 0, each.everyone) for each in drawn if each.everyone.any()]
    return float(np.mean(found)) if found else 0.0


def _mean_person_overlap(drawn: Sequence[_Drawn], *, reverse: bool = False) -> float:
    """Return the mean over people of the overlap of each one's body and mask.

    With `reverse` the masks are in the other order.
    """
    found = [
        _overlap(each.person == person, mask)
        for each in drawn
        for person, mask in enumerate(each.masks[::-1] if reverse else each.masks)
        if mask.any()
    ]
    return float(np.mean(found)) if found else 0.0


def _overlap(first: Array, second: Array) -> float:
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 0.0


def _empty_masks(
    folder: SceneFolder, camera: int, shots: Sequence[Shot], drawn: Sequence[_Drawn]
) -> list[Fault]:
    """Return a fault for each empty mask of a frame in which bodies are in view."""
    remedy = "name the frame in skip_frames.csv, or segment its image again"
    return [
        Fault(
            f"{folder.mask(camera, EVERYONE, shot.frame)}: an empty mask, but people are in view",
            remedy=remedy,
        )
        for shot, each in zip(shots, drawn, strict=True)
        if not each.everyone.any() and (each.person >= 0).any()
    ]


def _depth_faults(folder: SceneFolder, camera: int, drawn: Sequence[_Drawn]) -> list[Fault]:
    """Return a fault where depth has another unit than the bodies' distance says."""
    ratios = [
        each.known[both] / each.depth[both]
        for each in drawn
        if each.known is not None
        and (both := (each.person >= 0) & each.everyone & (each.known > 0)).any()
    ]
    if not ratios:
        return []
    ratio = float(np.median(np.concatenate(ratios)))
    if 1 / UNIT_TOLERANCE < ratio < UNIT_TOLERANCE:
        return []
    near = [
        unit
        for factor, unit in UNITS.items()
        if 1 / UNIT_TOLERANCE < ratio / factor < UNIT_TOLERANCE
    ]
    what = f"{folder.depth(camera, 0).parent}: depth is {ratio:.3g} times the bodies' distance"
    remedy = "write metres along the camera's z axis, in the world that bodies and cameras share"
    return [Fault(what, f"is it in {near[0]}?" if near else "", remedy)]
