"""Build the data of synthetic scenes: clothed, moving people in front of a ring of cameras.

    python -m preprocess.synthetic [--scenes-dir DIR] [--scene-data-root DIR] [SEQ_NAME ...]

Deterministic: a scene file and this version of the code decide every byte. A folder that exists is
complete: it is built under another name beside it, then renamed, so several builders may run at
once.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from preprocess.json_file import read_json
from preprocess.layout import SceneFolder
from preprocess.scene import Scene
from preprocess.scene_data import training_folder, truth_folder
from preprocess.synthetic.recipe import recipe_faults

STAMP = "recipe.json"
VERSION = 2
"""Part of every built folder's stamp: raise it when the same recipe would give other data."""
LEFTOVER_AGE = 24 * 3600  # seconds; building a long scene of large images may take an hour


def ensure_scene_data(
    scenes: Iterable[Scene],
    scene_data_root: Path,
    tell: Callable[[str], object] = lambda _: None,
) -> list[Path]:
    """Build what is missing of the synthetic scenes among `scenes`; return the folders made.

    `tell` is given a line when a scene is begun and when a folder is complete.

    Raises FaultsError for recipes that are wrong, folders built from another recipe, and a root
    that can't be written or is full; no half folder is left.
    """
    synthetic = [scene for scene in scenes if scene.synthetic is not None]
    faults = [fault for scene in synthetic for fault in recipe_faults(scene)]
    faults += [fault for scene in synthetic for fault in _stale_faults(scene, scene_data_root)]
    if faults:
        raise FaultsError(faults)
    return [path for scene in synthetic for path in _build_missing(scene, scene_data_root, tell)]


def _build_missing(scene: Scene, root: Path, tell: Callable[[str], object]) -> Iterator[Path]:
    missing = [folder for folder in _scene_folders(scene, root) if not folder.root.exists()]
    if not missing:
        return
    tell(f"building {scene.seq_name}")
    try:
        from preprocess.synthetic.studio import (
            open_studio,
            write_training_folder,
            write_truth_folder,
        )
    except ImportError as error:
        remedy = "pip install -e '.[trainer]'"
        raise FaultsError(
            [Fault("building scenes needs more packages", str(error), remedy)]
        ) from error
    studio = open_studio(scene)
    # The truth first: a training folder is then never without the truth that it names.
    writers: dict[Path, Callable[[SceneFolder], None]] = {
        training_folder(scene, root).root: lambda folder: write_training_folder(studio, folder),
    }
    for folder in missing:
        write = writers.get(folder.root, lambda folder: write_truth_folder(studio, folder))
        with _reporting_disk_faults(scene, folder.root):
            if _write_folder(folder.root, scene, write):
                tell(f"built {folder.root}")
                yield folder.root


def _scene_folders(scene: Scene, root: Path) -> list[SceneFolder]:
    truth = truth_folder(scene, root)
    return ([truth] if truth else []) + [training_folder(scene, root)]


def _stamp(scene: Scene) -> dict[str, object]:
    return {"version": VERSION, "cam_id": scene.cam_id, "synthetic": scene.synthetic}


def _stale_faults(scene: Scene, root: Path) -> list[Fault]:
    """Return a fault for each folder with another stamp; without any, it is the user's own data."""
    faults = []
    for folder in _scene_folders(scene, root):
        try:
            stamp = read_json(folder.root / STAMP)
        except (OSError, ValueError):
            continue
        if stamp != _stamp(scene):
            what = f"{scene.seq_name}: the data was built from another recipe or version"
            remedy = "delete that folder; it is built again"
            faults.append(Fault(what, str(folder.root), remedy))
    return faults


def _write_folder(target: Path, scene: Scene, write: Callable[[SceneFolder], None]) -> bool:
    """Write a folder beside `target` and rename it; return False when another builder was first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir()
        write(SceneFolder(temporary))
        stamp = json.dumps(_stamp(scene), indent=1)
        (temporary / STAMP).write_text(stamp, encoding="utf-8")
        temporary.rename(target)
    except OSError:
        if target.is_dir() and any(target.iterdir()):
            return False
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _remove_leftovers(target: Path) -> None:
    """Remove what builders that were killed left beside `target`."""
    for leftover in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):  # another builder may be sweeping too
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                shutil.rmtree(leftover)


@contextmanager
def _reporting_disk_faults(scene: Scene, path: Path) -> Iterator[None]:
    """Convert an OSError into FaultsError with the scene, the path and the remedy."""
    try:
        yield
    except OSError as error:
        what = f"{scene.seq_name}: scene data can't be written: {error.strerror or error}"
        remedy = "free space or name another folder with TS_SCENE_DATA_ROOT"
        raise FaultsError([Fault(what, str(error.filename or path), remedy)]) from error
