"""The scenes of the registry, and whether their data is there: `training-scheduler scenes`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from preprocess.data_checks import missing_data
from preprocess.faults import counted
from preprocess.registry import left_out_warning, load_scenes, select_scenes
from preprocess.roots import absolute, resolve_root_folders, shipped
from preprocess.scene import Scene
from preprocess.scene_data import training_folder
from training.cli.parser import parse_options, reporting_faults
from training.plan.options import LaunchOptions, flag_of
from training.system.console import say
from training.system.exit_status import DONE
from training.system.text_table import TextColumn, fit, terminal_width
from training.system.typed_command import spelled

DESCRIPTION = "List the scenes of the registry, with camera and whether their data is there."
SCENES = "preprocess/scenes"


class SceneListOptions(BaseModel):
    """Which scenes to list."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scene_name_includes: Annotated[str, flag_of("scene_name_includes", LaunchOptions)] = ""
    """Only scenes whose seq_name contains this text."""

    scenes_dir: Annotated[str, flag_of("scenes_dir", LaunchOptions)] = ""
    """Folder of scene files; the shipped registry when not given."""

    scene_data_root: Annotated[str, flag_of("scene_data_root", LaunchOptions)] = ""
    """Where scene data lies (TS_SCENE_DATA_ROOT)."""


def command(argv: Sequence[str]) -> int:
    """List the scenes; return the exit status, 2 for scene files that can't be read."""
    return reporting_faults(lambda: list_scenes(argv))


def list_scenes(argv: Sequence[str]) -> int:
    """Print a line for each scene and return 0; raises FaultsError."""
    options = parse_options(argv, SceneListOptions, spelled("scenes"), DESCRIPTION)
    folder = absolute(options.scenes_dir) if options.scenes_dir else shipped(SCENES)
    scenes = select_scenes(load_scenes(folder), options.scene_name_includes)
    root = resolve_root_folders(options.model_dump())["scene_data_root"]
    columns = [
        TextColumn("scene", [each.seq_name for each in scenes]),
        TextColumn("camera", [str(each.cam_id) for each in scenes], 1),
        TextColumn("data", [data_state(each, root) for each in scenes]),
    ]
    table = fit(columns, terminal_width())
    below = [f"{counted(len(scenes), 'scene')} of {folder}, data in {root}"]
    below += filter(None, [left_out_warning(folder)])
    say("\n".join([*table.lines, *table.note, "", *below]))
    return DONE


def data_state(scene: Scene, scene_data_root: Path) -> str:
    """Return whether a scene's data is there, in words; folders are looked at, no file is opened.

    Of a synthetic scene that is not built yet, that a launch builds it.
    """
    faults = missing_data(scene, scene_data_root)
    if faults:
        texts = (f"{fault.what}: {fault.value}" if fault.value else fault.what for fault in faults)
        return "; ".join(text.removeprefix(f"{scene.seq_name}: ") for text in texts)
    if not training_folder(scene, scene_data_root).root.is_dir():
        return "built by the first launch"
    return "there"
