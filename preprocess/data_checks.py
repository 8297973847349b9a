"""Find what of a scene's data is missing on this machine, by folders only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from preprocess.faults import Fault, counted, did_you_mean, why_unreadable
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene import Scene
from preprocess.scene_data import training_folder, truth_folder

WITHOUT_DEPTH = (
    "estimate it, or train without: train.optimization.loss.depth=0; people's distance from the "
    "camera then follows from their silhouettes alone, and poses come out worse"
)
FEW_SCENES = 3
"""Of so many and more, none with data means that the data root is wrong."""


def missing_data_of_all(
    scenes: Sequence[Scene], scene_data_root: Path, *, with_depth: bool = True
) -> list[Fault]:
    """Return faults for missing data of several scenes; a wrong data root is one fault."""
    missing = partial(missing_data, scene_data_root=scene_data_root, with_depth=with_depth)
    on_disk = [scene for scene in scenes if scene.synthetic is None]
    folders = [training_folder(scene, scene_data_root).root for scene in on_disk]
    if len(on_disk) < FEW_SCENES or any(folder.is_dir() for folder in folders):
        return [fault for scene in scenes for fault in missing(scene)]
    names = ", ".join(scene.seq_name for scene in on_disk[:FEW_SCENES])
    what = f"none of {counted(len(on_disk), 'scene')} has data in the scene data root"
    remedy = "put the scenes' data there, or name another root with TS_SCENE_DATA_ROOT"
    faults = [Fault(what, f"{scene_data_root} (no {names}, …)", remedy)]
    for scene in scenes:
        truth = truth_folder(scene, scene_data_root)
        if scene.synthetic is not None:
            faults += missing(scene)
        elif truth and not truth.root.is_relative_to(scene_data_root):
            faults += _missing_truth(scene, scene_data_root)
    return faults


def missing_data(scene: Scene, scene_data_root: Path, *, with_depth: bool = True) -> list[Fault]:
    """Return faults for missing scene data; the data of a synthetic scene can always be built.

    `with_depth` is whether depth is trained on. Looks at folders only: `content_checks.py` opens
    files.
    """
    if scene.synthetic is not None:
        from preprocess.synthetic.recipe import recipe_faults

        return recipe_faults(scene)
    try:
        found = _missing_training(scene, scene_data_root, with_depth=with_depth)
        return found + _missing_truth(scene, scene_data_root)
    except OSError as error:
        return [Fault(f"{scene.seq_name}: {error.filename} can't be read", *why_unreadable(error))]


def _missing_training(scene: Scene, scene_data_root: Path, *, with_depth: bool) -> list[Fault]:
    folder = training_folder(scene, scene_data_root)
    if not folder.root.is_dir():
        remedy = "put the scene's data there, or name its parent with TS_SCENE_DATA_ROOT"
        return [Fault(f"{scene.seq_name}: no scene data at", str(folder.root), remedy)]
    images = folder.image(scene.cam_id, 0).parent
    if not images.is_dir():
        remedy = did_you_mean(str(scene.cam_id), map(str, folder.cameras()))
        what = f"{scene.seq_name}: no images of the source camera (cam_id)"
        return [Fault(what, str(images), f"cameras with images: {remedy}")]
    return _missing_kinds(scene, folder, with_depth=with_depth)


def _missing_kinds(scene: Scene, folder: SceneFolder, *, with_depth: bool) -> list[Fault]:
    """Return a fault for each kind of data of the source camera that has no place."""
    kinds = {
        "cameras": (folder.camera(scene.cam_id, 0).parent, folder.shared_cameras),
        "masks": (folder.mask(scene.cam_id, EVERYONE, 0).parent,),
        "body parameters": (folder.smplx(0).parent, folder.smpl(0).parent),
    }
    faults = [
        Fault(
            f"{scene.seq_name}: no {kind} at",
            " or ".join(map(str, places)),
            "preprocess the scene to the end (docs/data.md says what is read)",
        )
        for kind, places in kinds.items()
        if not any(place.exists() for place in places)
    ]
    depths = folder.depth(scene.cam_id, 0).parent
    if with_depth and not depths.is_dir():
        faults.append(Fault(f"{scene.seq_name}: no depth at", str(depths), WITHOUT_DEPTH))
    return faults


def _missing_truth(scene: Scene, scene_data_root: Path) -> list[Fault]:
    truth = truth_folder(scene, scene_data_root)
    if truth is None or truth.cameras():
        return []
    remedy = "correct raw_gt_dir_path, or leave it out to train without evaluation"
    what = f"{scene.seq_name}: raw_gt_dir_path has no images of any camera"
    return [Fault(what, str(truth.root), remedy)]
