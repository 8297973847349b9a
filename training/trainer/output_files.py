"""The names of the files that a run writes into its output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OutputFolder:
    """Paths inside `<results_root>/<scene_name>/<exp_name>/`; nothing is created by asking."""

    root: Path

    @property
    def metrics(self) -> Path:
        """Summary of the last evaluation, `metrics.json`."""
        return self.root / "metrics.json"

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
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
        """Return the path of a file of the evaluation after `epoch` epochs (0: before training)."""
        return self.root / "evaluation" / f"{kind}_epoch_{epoch:04d}.{suffix}"

    def person(self, person: int) -> Path:
        """Return the path of a person's canonical Gaussians, a .ply for 3DGS viewers."""
        return self.root / f"person_{person:02d}.ply"

    def posed(self, frame: int) -> Path:
        """Return the path of everyone's Gaussians in the pose of a frame, in the world's axes."""
        return self.root / "posed" / f"{frame:06d}.ply"
