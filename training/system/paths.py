"""The root folders, and the output folders of scenes and experiments below them.

A scene of a sweep is named `epochs=30,seed=1/<scene>`: with its setting, whose folder is inside the
sweep's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from preprocess.roots import VARIABLES, resolve_root_folders
from preprocess.scene import FOLDER_NAME
from training.system.presence import may_exist, names_in

EXPERIMENTS = "_experiments"
"""Folder of the result root for what belongs to a whole experiment."""
REFINER = "refiner"
"""Output subfolder of the image refiner, of which an experiment has one: it is in the experiment's
folder, not in a scene's."""


SETTINGS = "*=*"
"""Matches the folders of a sweep's settings; no output subfolder has such a name."""


class Roots(BaseModel):
    """The three folders that contain everything else; absolute paths."""

    model_config = ConfigDict(frozen=True)

    results_root: Path
    scene_data_root: Path
    state_root: Path

    def output_folder(self, scene: str, exp_name: str, output_subdir: str = "") -> Path:
        """Return the output folder of a scene in an experiment; the refiner has one for all.

        `output_subdir`: the folder inside it that a run mode writes to.
        """
        setting, _, name = scene.rpartition("/")
        folder = EXPERIMENTS if output_subdir == REFINER else name
        return Path(self.results_root, folder, exp_name, setting, output_subdir)

    def outputs_with(self, file: str, exp_name: str, output_subdir: str = "") -> dict[str, Path]:
        """Return, by scene, an experiment's output folders that contain a file of that name.

        Those of a sweep's settings count too. The refiner's is under its own name. Lists the result
        root once, and of a scene's folders only those where settings may be. Where nobody can tell
        whether there is such a file it counts as there, except in scenes' folders that can't be
        entered (`closed_scenes`). Raises OSError where the result root can't be listed.
        """
        if output_subdir == REFINER:
            folder = self.output_folder(REFINER, exp_name, REFINER)
            return {REFINER: folder} if may_exist(folder / file, if_unknown=False) else {}
        inside = os.path.join(output_subdir, file)  # noqa: PTH118 - ten thousand of them
        is_training = output_subdir == ""
        found: dict[str, Path] = {}
        for scene in names_in(self.results_root):
            own = f"{self.results_root}/{scene}/{exp_name}"
            if not may_exist(own, if_unknown=False):
                continue
            is_scene = FOLDER_NAME.fullmatch(scene) is not None
            if may_exist(f"{own}/{inside}", if_unknown=is_training and is_scene):
                found[scene] = Path(own, output_subdir)
            elif is_training or not may_exist(f"{own}/{file}"):
                found |= _settings_with(inside, own, scene, output_subdir)
        return found

    def closed_scenes(self) -> list[Path]:
        """Return the folders of scenes that can't be entered: nobody knows what they contain.

        Raises OSError where the result root can't be listed.
        """
        names = filter(FOLDER_NAME.fullmatch, names_in(self.results_root))
        folders = (self.results_root / name for name in names)
        return [each for each in folders if each.is_dir() and not os.access(each, os.X_OK)]

    def experiment_folder(self, exp_name: str) -> Path:
        """Return the folder that the aggregate of an experiment writes to."""
        return self.results_root / EXPERIMENTS / exp_name

    def experiments_with(self, file: str) -> set[str]:
        """Return the names of the experiments, sweeps included, with such a file of any scene.

        Raises OSError where the result root can't be listed.
        """
        found = set[str]()
        for scene in names_in(self.results_root):
            for name in set(_names(f"{self.results_root}/{scene}")) - found:
                folder = f"{self.results_root}/{scene}/{name}"
                if may_exist(f"{folder}/{file}") or _settings_with(file, folder, scene, ""):
                    found.add(name)
        return found

    def environment(self) -> dict[str, str]:
        """Return the variables by which the trainer knows the roots."""
        return {name: str(getattr(self, key)) for key, name in VARIABLES.items()}


def _names(folder: str | Path) -> list[str]:
    """Return the sorted names in a folder of a scene; none where it can't be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except OSError:
        return []


def _settings_with(inside: str, folder: str, scene: str, output_subdir: str) -> dict[str, Path]:
    """Return the output folders of a scene's settings that contain a file, by name in a plan."""
    settings = [name for name in _names(folder) if fnmatch(name, SETTINGS)]
    return {
        f"{name}/{scene}": Path(folder, name, output_subdir)
        for name in settings
        if may_exist(f"{folder}/{name}/{inside}")
    }


def resolve_roots(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path | None = None,
) -> Roots:
    """Resolve the roots as `preprocess.roots.resolve_root_folders` does; raises the same errors."""
    return Roots(**resolve_root_folders(flags, environ, paths_file))
