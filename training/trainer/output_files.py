"""The files of one run: where they lie, and writing them whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OutputFolder:
    """Paths inside `<results_root>/<scene_name>/<exp_name>/`."""

    root: Path

    @property
    def metrics(self) -> Path:
        """Summary of the last evaluation."""
        return self.root / "metrics.json"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.root / "checkpoints" / "last.pt"

    @property
    def input_data(self) -> Path:
        """This run's novel-view training views, in the layout of scene data."""
        return self.root / "input_data"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    def evaluation(self, kind: str, epoch: int, suffix: str) -> Path:
        """One file of the evaluation after `epoch` epochs (0: before training)."""
        return self.root / "evaluation" / f"{kind}_epoch_{epoch:04d}.{suffix}"

    def person(self, person: int) -> Path:
        """A person's Gaussians in the canonical pose, as viewers of 3DGS open them."""
        return self.root / f"person_{person:02d}.ply"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` so that no reader and no crash ever sees half of it.

    Raises OSError (disk full, no permission); the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One process owns the folder, so one fixed name does, and a killed run leaves at most one.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
