"""Check one scene's data as thoroughly as it is asked for, and draw a picture of it.

`training-scheduler check` is made of this. The rules are those of launches and of the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from preprocess.content_checks import check_arrays, check_pixels
from preprocess.faults import Fault, why_unreadable
from preprocess.header_checks import check_true_bodies, check_true_views
from preprocess.layout import SceneFolder
from preprocess.scene import Scene
from preprocess.scene_data import (
    CameraData,
    SceneDataError,
    body_space,
    load_image,
    training_folder,
    truth_folder,
)
from training.trainer.config.schema import Config
from training.trainer.input_checks import (
    DISK,
    Inspection,
    chosen_views,
    collect_faults,
    data_faults,
    inspect_contents,
    other_true_cameras,
    spaces_evaluated,
    training_frames,
    true_views_read,
)

Read = Literal["headers", "frames", "pixels"]


@dataclass(frozen=True)
class How:
    """How thoroughly to check, and the folder for pictures.

    `read`: "headers" of all files, and all small arrays; "frames": a few frames whole, too;
    "pixels": every frame.
    """

    read: Read
    pictures: Path


@dataclass
class SceneCheck:
    """What was found of one scene: in words what there is, faults, doubts, and the picture."""

    name: str
    folder: Path
    summary: str = ""
    is_built: bool = True
    """Whether a synthetic scene has its data, which a launch builds; nothing was read else."""
    faults: list[Fault] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    picture: Path | None = None


def check_scene(config: Config, scene: Scene, data_root: Path, how: How) -> SceneCheck:
    """Return what is wrong with a scene's data below `data_root`; raises nothing of the data's."""
    found = SceneCheck(scene.seq_name, training_folder(scene, data_root).root)
    try:
        _check(found, config, scene, data_root, how)
    except SceneDataError as error:
        found.faults.append(Fault(str(error), remedy=DISK))
    except OSError as error:
        found.faults.append(Fault(f"{error.filename} can't be read", *why_unreadable(error)))
    found.faults = sorted(dict.fromkeys(found.faults), key=lambda fault: fault.what)
    return found


def _check(found: SceneCheck, config: Config, scene: Scene, data_root: Path, how: How) -> None:
    if scene.synthetic is not None and not found.folder.is_dir():
        found.is_built = False
        found.summary = f"not built yet: python -m preprocess.synthetic {found.name}"
        return
    data, truth = SceneFolder(found.folder), truth_folder(scene, data_root)
    with_depth = config.train.optimization.loss.depth > 0
    found.faults += data_faults(scene, data, data_root, with_depth=with_depth)
    if found.faults:
        return
    every = config.train.optimization.sample_every
    frames = collect_faults(found.faults, lambda: training_frames(data, scene.cam_id, every))
    if frames is None:
        return
    arrays = check_arrays(data, scene.cam_id, frames, body_space(data))
    found.faults += arrays.faults
    found.summary = _summary(data, scene, frames, arrays.people)
    if truth and arrays.people:
        _check_truth(found, config, scene, (truth, frames, arrays.people), how)
    if how.read != "headers":
        others = other_true_cameras(truth, scene.cam_id, frames[0])
        inspection = inspect_contents(config, scene, data, frames, others)
        found.faults += inspection.faults
        found.doubts += inspection.doubts
        _look(found, scene, inspection, others, how.pictures)
    if how.read == "pixels":
        found.faults += check_pixels(data, scene.cam_id, frames, arrays.people)


def _summary(data: SceneFolder, scene: Scene, frames: Sequence[int], people: int) -> str:
    skipped = len(data.frames(scene.cam_id)) - len(frames)
    left_out = f" ({skipped} left out)" if skipped else ""
    return f"camera {scene.cam_id}, {len(frames)} frames{left_out}, {people} people"


def _check_truth(
    found: SceneCheck,
    config: Config,
    scene: Scene,
    given: tuple[SceneFolder, Sequence[int], int],
    how: How,
) -> None:
    """Check the true views: what this configuration reads are faults, the others are doubts."""
    truth, frames, people = given
    chosen = collect_faults(found.faults, lambda: chosen_views(config, scene, truth, frames))
    views = true_views_read(config, frames, chosen) if chosen else {}
    found.faults += check_true_views(truth, views, people)
    spaces = spaces_evaluated(config, body_space(SceneFolder(found.folder)))
    found.faults += check_true_bodies(truth, frames, spaces)
    others = {
        camera: [each for each in frames if each not in views.get(camera, ())]
        for camera in truth.cameras()
    }
    if truth.root == found.folder:
        del others[scene.cam_id]
    unused = check_true_views(truth, others, people)
    if how.read == "pixels":
        found.faults += _pixel_faults(truth, views, people)
        unused += _pixel_faults(truth, others, people)
    if unused:
        found.doubts.append(
            f"{len(unused)} files of the truth that are not read with this configuration, "
            f"e.g. {unused[0]}"
        )
    found.summary += f"; truth: {len(truth.cameras())} cameras, {len(views)} evaluated with"


def _pixel_faults(
    truth: SceneFolder, views: Mapping[int, Sequence[int]], people: int
) -> list[Fault]:
    found = [check_pixels(truth, camera, frames, people) for camera, frames in views.items()]
    return [fault for faults in found for fault in faults]


def _look(
    found: SceneCheck,
    scene: Scene,
    inspection: Inspection,
    others: Mapping[int, CameraData],
    folder: Path,
) -> None:
    """Draw the middle one of the frames that were read; doubt cameras that see nobody in it."""
    if not inspection.shots:
        return
    from preprocess.geometry_checks import posed_joints, posed_vertices, sees_anybody
    from preprocess.scene_picture import Moment, draw_scene

    shot = inspection.shots[len(inspection.shots) // 2]
    data, body = SceneFolder(found.folder), inspection.body
    image = load_image(data, scene.cam_id, shot.frame)
    moment = Moment(shot.frame, shot.camera, image, shot.masks)
    if body:
        space = body_space(data)
        vertices, joints = (each([shot], body, space)[0] for each in (posed_vertices, posed_joints))
        moment = replace(moment, vertices=vertices, joints=joints, faces=body.faces.numpy())
        blind = [number for number, each in others.items() if not sees_anybody(each, joints)]
        found.doubts += [f"camera {number} of the truth sees nobody" for number in blind]
    picture = draw_scene(scene.seq_name, scene.cam_id, moment, others)
    path = folder / f"{scene.seq_name}.jpg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)
        found.picture = path
    except OSError as error:
        found.doubts.append(f"the picture can't be written: {path}: {error.strerror or error}")
