"""The root folders, and the output folders of scenes and experiments below them.

A scene of a sweep is named `epochs=30,seed=1/<scene>`: with its setting, whose folder is inside the
sweep's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from preprocess.roots import VARIABLES, resolve_root_folders

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
        return self.results_root / folder / exp_name / setting / output_subdir

    def outputs_with(self, file: str, exp_name: str, output_subdir: str = "") -> dict[str, Path]:
        """Return, by scene, an experiment's output folders that contain a file of that name.

        Those of a sweep's settings count too. The refiner's is under its own name.
        """
        if output_subdir == REFINER:
            folder = self.output_folder(REFINER, exp_name, REFINER)
            return {REFINER: folder} if (folder / file).exists() else {}
        inside, root = Path(output_subdir, file), self.results_root
        found = [*root.glob(str(Path("*", exp_name, inside)))]
        found += root.glob(str(Path("*", exp_name, SETTINGS, inside)))
        folders = sorted(path.parents[len(inside.parts) - 1] for path in found)
        return {
            _scene_of(each.relative_to(root), exp_name): each / output_subdir for each in folders
        }

    def experiment_folder(self, exp_name: str) -> Path:
        """Return the folder that the aggregate of an experiment writes to."""
        return self.results_root / EXPERIMENTS / exp_name

    def swept_experiments(self, file: str) -> set[str]:
        """Return the names of the sweeps that have an output folder with a file of that name."""
        return {path.parts[-3] for path in self.results_root.glob(f"*/*/{SETTINGS}/{file}")}

    def environment(self) -> dict[str, str]:
        """Return the variables by which the trainer knows the roots."""
        return {name: str(getattr(self, key)) for key, name in VARIABLES.items()}


def _scene_of(folder: Path, exp_name: str) -> str:
    """Return a scene's name, given its output folder below the result root."""
    scene, setting = folder.parts[0], folder.parts[1 + len(Path(exp_name).parts) :]
    return "/".join([*setting, scene])


def resolve_roots(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path | None = None,
) -> Roots:
    """Resolve the roots as `preprocess.roots.resolve_root_folders` does; raises the same errors."""
    return Roots(**resolve_root_folders(flags, environ, paths_file))
