"""How a scene stands at one moment: one model for the tables of terminal, run page and report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

State = Literal["running", "queued", "failed", "cancelled", "not started", "done"]


KILLED = "killed"


UNREADABLE = "unreadable record"


@dataclass(frozen=True)
class SceneState:
    """One scene, by its record and its job."""

    scene: str
    state: State
    log: Path
    cause: str = ""
    """Of a failure; Slurm's reason of what is queued; the progress of what runs."""
    attempt: int = 0
    node: str = ""
    job_id: str = ""
    elapsed_s: float | None = None
    """Of the running attempt, or of all attempts."""
    message: str = ""
    """Of the last attempt, what it ended with."""


def seconds_left(scenes: Iterable[SceneState], parallelism: int) -> float | None:
    """When the queued and running scenes may be done, as the done ones went; None: no idea."""
    scenes = list(scenes)
    took = [each.elapsed_s for each in scenes if each.state == "done" and each.elapsed_s]
    running = [each for each in scenes if each.state == "running"]
    queued = sum(each.state == "queued" for each in scenes)
    if not took or not (running or queued):
        return None
    mean = fmean(took)
    left = [max(0.0, mean - (each.elapsed_s or 0.0)) for each in running] + [mean] * queued
    at_once = len(running) or min(parallelism, queued)
    return max(sum(left) / at_once, *left)
