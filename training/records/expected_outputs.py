"""The files that a finished scene must have: find missing ones, and set old ones aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preprocess.json_file import read_json
from training.records.claim import FOLDER as CLAIM_FOLDER
from training.records.record import now

METRICS = "metrics.json"
CHECKPOINTS = "checkpoints"
RESUMABLE = (CHECKPOINTS, "samples")
"""Folders that an interrupted run continues from: model checkpoints, or generated samples."""
SUPERSEDED = "superseded"


def missing_outputs(output: Path, expected_outputs: tuple[str, ...]) -> list[str]:
    """Return the globs that match no readable, non-empty file; a JSON file must also parse."""
    return [glob for glob in expected_outputs if not any(map(_is_readable, output.glob(glob)))]


def has_fresh_outputs(output: Path, expected_outputs: tuple[str, ...], since: float) -> bool:
    """Return whether each glob matches a readable file modified at that time (epoch) or later."""
    return all(
        any(path.stat().st_mtime >= since and _is_readable(path) for path in output.glob(glob))
        for glob in expected_outputs
    )


def read_metrics(output: Path) -> dict[str, Any]:
    """Return the summary of the last evaluation; empty when none can be read."""
    try:
        metrics = read_json(output / METRICS)
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def has_checkpoint(output: Path) -> bool:
    """Return whether a new attempt could continue from what is in the output folder."""
    folders = (output / name for name in RESUMABLE)
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def set_aside(output: Path) -> Path:
    """Move all outputs into `superseded/<time>/`, so that they are kept but not resumed from.

    Returns that folder; raises OSError.
    """
    folder = _new_superseded(output)
    for path in output.iterdir():
        if path.name not in (CLAIM_FOLDER, SUPERSEDED):
            path.rename(folder / path.name)
    return folder


def set_stale_aside(output: Path, expected_outputs: tuple[str, ...]) -> None:
    """Move a failed attempt's expected outputs into `superseded/<time>/`.

    Otherwise the next attempt would look done even if it wrote nothing. Raises OSError.
    """
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
            read_json(path)
    except (OSError, ValueError):
        return False
    return True
