"""What the report knows of each scene: its record, and what else its folder says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from training.plan.model import LOG
from training.records.claim import holder_of
from training.records.record import RECORD, Attempt, RecordError, RunRecord, read_record
from training.records.scene_state import KILLED, UNREADABLE
from training.system.paths import Roots

SHARD = "shard.json"
CONTACT_SHEET = "contact_sheet.png"
"""Of DiFix samples; `docs/data.md`."""
COLOURING = re.compile(r"\x1b\[[0-9;?]*[@-~]")
"""Of a terminal, in what a trainer prints (ECMA-48, CSI sequences)."""


@dataclass(frozen=True)
class Row:
    """One scene of an experiment, from its record."""

    scene: str
    status: str
    cause: str
    attempts: int
    seconds: float
    metrics: dict[str, Any]
    """Of a done scene; empty otherwise."""
    log: Path
    picture: Path | None
    message: str = ""
    """Of the last attempt, or why the record can't be read."""
    starts: tuple[Attempt, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether its record says so."""
        return self.status == "done"

    @property
    def state(self) -> str:
        """Status and cause."""
        return f"{self.status} ({self.cause})" if self.cause not in ("", "ok") else self.status

    @property
    def dataset(self) -> str:
        """The first word of its name: `hi4d_pair17_dance` is of `hi4d`."""
        return self.scene.partition("_")[0]

    @property
    def last(self) -> Attempt | None:
        """The last attempt."""
        return self.starts[-1] if self.starts else None


def collect(
    roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = ""
) -> tuple[Row, ...]:
    """One row a scene, by name: what its record says, `not started` where there is none."""
    names = sorted({*chosen, *roots.outputs_with(RECORD, exp_name, output_subdir)})
    return tuple(row_of(name, roots.output_folder(name, exp_name, output_subdir)) for name in names)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a metric can be shown and averaged."""
    return isinstance(value, int | float) and math.isfinite(value)


def before(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics before training; another trainer may know none, or mean something else by it."""
    found = metrics.get("before")
    return found if isinstance(found, dict) else {}


def row_of(name: str, output: Path) -> Row:
    """One scene, by what its output folder says."""
    try:
        record = read_record(output)
    except RecordError as error:
        return Row(name, "unknown", UNREADABLE, 0, 0.0, {}, output / LOG, None, str(error))
    if record is None:
        return Row(name, "not started", "", 0, 0.0, {}, output / LOG, None)
    status, cause = _living_status(record, output)
    metrics = (record.metrics or _counts_of_samples(output)) if status == "done" else {}
    return Row(
        scene=name,
        status=status,
        cause=cause,
        attempts=len(record.attempts),
        seconds=record.seconds,
        metrics=metrics,
        log=output / LOG,
        picture=_picture(metrics, output),
        message=COLOURING.sub("", record.attempts[-1].message) if record.attempts else "",
        starts=record.attempts,
    )


def _living_status(record: RunRecord, output: Path) -> tuple[str, str]:
    """A record that says running without a living holder is of a start that was killed."""
    if record.status == "running" and holder_of(output) is None:
        return "failed", KILLED
    told = record.status == "cancelled"  # by the status already
    return record.status, "" if told else record.cause or ""


def _counts_of_samples(output: Path) -> dict[str, Any]:
    """What a scene gave to DiFix data, which has no metrics."""
    try:
        statistics = json.loads((output / SHARD).read_text(encoding="utf-8"))["statistics"]
        return {key: statistics[key] for key in ("samples", "dropped")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _picture(metrics: Mapping[str, Any], output: Path) -> Path | None:
    name = metrics.get("picture", CONTACT_SHEET if "samples" in metrics else None)
    picture = output / name if isinstance(name, str) else None
    return picture if picture and picture.resolve().is_relative_to(output.resolve()) else None
