"""Name the folders of a run: an output folder a scene, one for each experiment, and the state root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from preprocess.roots import (
    PATHS_FILE,
    VARIABLES,
    resolve_root_folders,
)


class Roots(BaseModel):
    """The three folders everything else hangs from, absolute."""

    model_config = ConfigDict(frozen=True)

    results_root: Path
    scene_data_root: Path
    state_root: Path

    def output_folder(self, scene: str, exp_name: str, output_subdir: str = "") -> Path:
        """The one folder of a scene in an experiment; `output_subdir` is what a run mode has inside it."""
        return self.results_root / scene / exp_name / output_subdir

    def outputs_with(self, file: str, exp_name: str, output_subdir: str = "") -> dict[str, Path]:
        """The folders of an experiment, by scene, that have a file of that name."""
        found = self.results_root.glob(str(Path("*", exp_name, output_subdir, file)))
        root = self.results_root
        return {path.relative_to(root).parts[0]: path.parent for path in sorted(found)}

    def experiment_folder(self, exp_name: str) -> Path:
        """Where the aggregate of an experiment writes."""
        return self.results_root / "_experiments" / exp_name

    def environment(self) -> dict[str, str]:
        """The roots that the trainer reads, through `oc.env`."""
        keys = ("results_root", "scene_data_root")
        return {VARIABLES[key]: str(getattr(self, key)) for key in keys}


def resolve_roots(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path = PATHS_FILE,
) -> Roots:
    """Resolve the roots as `preprocess.roots.resolve_root_folders` does, and raise what it does."""
    return Roots(**resolve_root_folders(flags, environ, paths_file))
