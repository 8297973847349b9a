"""What a scene's run promises to write, whether it is there, and setting old outputs aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.records.claim import FOLDER as CLAIM_FOLDER
from training.records.record import now

METRICS = "metrics.json"
CHECKPOINTS = "checkpoints"
RESUMABLE = (CHECKPOINTS, "samples")
"""Folders that an interrupted run goes on from: a model, or what has been generated."""
SUPERSEDED = "superseded"
EXPECTED_OUTPUTS = {
    "train": (METRICS, f"{CHECKPOINTS}/last.pt", "person_*.ply", "evaluation/*.png"),
    "difix_data_generation_generate": ("shard.json",),
}
"""Globs by run mode of the project's own trainer."""
OUTPUT_SUBDIRS = {"difix_data_generation_generate": "difix_data"}
"""Folders inside a scene's, by run mode: what does not belong to its training."""


def missing_outputs(output: Path, expected_outputs: tuple[str, ...]) -> list[str]:
    """The promised globs that match no readable, non-empty file; JSON must parse too."""
    return [glob for glob in expected_outputs if not any(map(_is_readable, output.glob(glob)))]


def read_metrics(output: Path) -> dict[str, Any]:
    """The summary of the last evaluation; empty when there is none that can be read."""
    try:
        metrics = json.loads((output / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def has_checkpoint(output: Path) -> bool:
    """Whether a start could go on from something."""
    folders = (output / name for name in RESUMABLE)
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def set_aside(output: Path) -> Path:
    """Move what a former run wrote into `superseded/<time>/`: not lost, and not resumed."""
    folder = _new_superseded(output)
    for path in output.iterdir():
        if path.name not in (CLAIM_FOLDER, SUPERSEDED):
            path.rename(folder / path.name)
    return folder


def set_stale_aside(output: Path, expected_outputs: tuple[str, ...]) -> None:
    """Move promised outputs of a failed start away, or a start that writes nothing looks done."""
    stale = [path for glob in expected_outputs for path in output.glob(glob)]
    folder = _new_superseded(output) if stale else output
    for path in stale:
        target = folder / path.relative_to(output)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def _new_superseded(output: Path) -> Path:
    folder = output / SUPERSEDED / now().strftime("%Y%m%dT%H%M%S.%f")
    folder.mkdir(parents=True)
    return folder


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            if not stream.read(1):
                return False
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
