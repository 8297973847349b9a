"""What can be known to be wrong before anything is created or started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import VARIABLES
from preprocess.scene import Scene
from preprocess.scene_data import truth_folder
from training.configuration.overrides import resolved, select
from training.system.paths import Roots

LEAST_FREE_BYTES = 100 * 2**20
NOVEL_VIEWS = "train.nv_generation.trn_nv_gen"


def folder_faults(roots: Roots) -> list[Fault]:
    """Result and state roots that can't be written, or have no room left."""
    return [
        fault
        for key in ("results_root", "state_root")
        if (fault := _writable_fault(getattr(roots, key), key))
    ]


def _writable_fault(root: Path, key: str) -> Fault | None:
    flag = "--" + key.replace("_", "-")
    remedy = f"name another folder with {flag} or {VARIABLES[key]}"
    existing = next(path for path in (root, *root.parents) if path.exists())
    if not existing.is_dir():
        return Fault(
            f"{flag} is, or is inside, something that is not a folder", str(existing), remedy
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        return Fault(f"{flag} can't be written", str(existing), remedy)
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        value = f"{root} has {free / 2**20:.0f} MB free"
        return Fault(f"{flag} has no room", value, f"make room, or {remedy}")
    return None


def script_faults(script: Path) -> list[Fault]:
    """A trainer script that is not there."""
    if script.is_file():
        return []
    near = [path.name for path in script.parent.glob("*.py")] if script.parent.is_dir() else []
    remedy = did_you_mean(script.name, near) if near else "check the path"
    return [Fault("--train-script is not a file", str(script), remedy)]


def schema_faults(config: dict[str, Any], exp_name: str) -> list[Fault]:
    """What the project's own trainer would refuse in a composed configuration."""
    from training.trainer.config.compose import validate_config

    return validate_config(_named(config, exp_name))[1]


def group_faults(config: dict[str, Any], exp_name: str, scenes: Sequence[Scene]) -> list[Fault]:
    """What keeps scenes from being divided into train and test of the refiner's training set."""
    from training.trainer.config.compose import validate_config
    from training.trainer.difix.sample_names import groups_of, held_out_groups

    schema, faults = validate_config(_named(config, exp_name))
    if schema is None or faults or not scenes:
        return []  # told by `schema_faults`
    settings = schema.difix_data_generation
    try:
        held_out_groups(
            groups_of([scene.seq_name for scene in scenes], settings).values(), settings
        )
    except FaultsError as error:
        return list(error.faults)
    return []


def generation_faults(
    config: dict[str, Any], exp_name: str, scenes: Sequence[Scene], roots: Roots
) -> list[Fault]:
    """What DiFix generation would miss: cameras that are named, models where they are required.

    Scene data that is still to be built is not judged.
    """
    from training.trainer.config.compose import validate_config
    from training.trainer.difix.generation_checks import checkpoint_faults, targets_of

    schema, faults = validate_config(_named(config, exp_name))
    if schema is None or faults:
        return []  # told by `schema_faults`
    settings, found = schema.difix_data_generation, list[Fault]()
    for scene in scenes:
        output = roots.output_folder(scene.seq_name, exp_name)
        found += checkpoint_faults(output, settings)
        truth = truth_folder(scene, roots.scene_data_root)
        if scene.synthetic is None or (truth and truth.root.is_dir()):
            try:
                targets_of(scene, truth, settings.target_cameras)
            except FaultsError as error:
                found += error.faults
    return found


def resolved_config(config: dict[str, Any], exp_name: str) -> dict[str, Any]:
    """The configuration with its interpolations resolved; raises FaultsError when one fails."""
    return resolved(_named(config, exp_name))


def _named(config: dict[str, Any], exp_name: str) -> dict[str, Any]:
    """With names in place of those that the launcher gives to each scene."""
    return {**config, "shared": {**config["shared"], "scene_name": "a", "exp_name": exp_name}}


def virtual_camera_faults(config: dict[str, Any], scenes: Sequence[Scene]) -> list[Fault]:
    """Virtual camera ids that meet a scene's source camera."""
    count = select(config, f"{NOVEL_VIEWS}.num_cameras", 0)
    start = select(config, f"{NOVEL_VIEWS}.start_camera_id", 0)
    if not isinstance(count, int) or not isinstance(start, int):
        return []
    ids = range(start, start + count)
    return [
        Fault(
            f"a virtual camera has the id of {scene.seq_name}'s source camera",
            f"{scene.cam_id} is in {ids.start}..{ids.stop - 1}",
            f"choose another {NOVEL_VIEWS}.start_camera_id, e.g. {scene.cam_id + 1}",
        )
        for scene in scenes
        if scene.cam_id in ids
    ]
