"""The root folders, and the output folders of scenes and experiments below them."""

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
        folder = EXPERIMENTS if output_subdir == REFINER else scene
        return self.results_root / folder / exp_name / output_subdir

    def outputs_with(self, file: str, exp_name: str, output_subdir: str = "") -> dict[str, Path]:
        """Return, by scene, an experiment's output folders that contain a file of that name.

        The refiner's is under its own name.
        """
        if output_subdir == REFINER:
            folder = self.output_folder(REFINER, exp_name, REFINER)
            return {REFINER: folder} if (folder / file).exists() else {}
        found = self.results_root.glob(str(Path("*", exp_name, output_subdir, file)))
        root = self.results_root
        return {path.relative_to(root).parts[0]: path.parent for path in sorted(found)}

    def experiment_folder(self, exp_name: str) -> Path:
        """Return the folder that the aggregate of an experiment writes to."""
        return self.results_root / EXPERIMENTS / exp_name

    def environment(self) -> dict[str, str]:
        """Return the variables by which the trainer knows the roots."""
        return {name: str(getattr(self, key)) for key, name in VARIABLES.items()}


def resolve_roots(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path | None = None,
) -> Roots:
    """Resolve the roots as `preprocess.roots.resolve_root_folders` does; raises the same errors."""
    return Roots(**resolve_root_folders(flags, environ, paths_file))
