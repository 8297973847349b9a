"""Read what reports and the run page show of each scene: its record, and its DiFix samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from preprocess.json_file import read_json
from training.plan.model import LOG, setting_of
from training.records.record import RECORD, Attempt, RecordError, read_record
from training.records.scene_state import (
    UNREADABLE,
    SceneState,
    living_holder,
    recorded_state,
)
from training.report.metrics import numbers_of
from training.report.settings import Settings, changed_settings
from training.system.memory import garbage_collection_paused
from training.system.paths import Roots

SHARD = "shard.json"
CONTACT_SHEET = "contact_sheet.png"
"""The picture of a scene's DiFix samples; see `docs/difix.md`."""


@dataclass(frozen=True)
class Row(SceneState):
    """How a scene stands, with what only reports and the run page show of it."""

    total_s: float = 0.0
    """Seconds in all attempts."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The content of a done scene's `metrics.json`; empty for others."""
    picture: Path | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """What decided its result, as its record says; empty without a record."""
    animations: Mapping[str, Path] = field(default_factory=dict)
    """Animated WebP of the trained people by kind, `turntable` and `fly_along`."""

    @property
    def is_done(self) -> bool:
        """Whether the record says done."""
        return self.state == "done"

    @property
    def state_and_cause(self) -> str:
        """`done`, `failed (timeout)`."""
        return f"{self.state} ({self.cause})" if self.cause else self.state

    @property
    def dataset(self) -> str:
        """The first word of the scene's name: `hi4d` of `hi4d_pair17_dance`."""
        return self.scene_name.partition("_")[0]

    @property
    def setting(self) -> str:
        """The setting of a sweep that it was trained with, `epochs=30,seed=1`; else empty."""
        return setting_of(self.scene)

    @property
    def scene_name(self) -> str:
        """The name of the scene alone."""
        return self.scene.rpartition("/")[2]

    @property
    def last(self) -> Attempt | None:
        """The last attempt."""
        return self.attempts[-1] if self.attempts else None

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The metrics that are numbers, by the keys of `training.report.metrics`."""
        return numbers_of(self.metrics)

    @cached_property
    def settings(self) -> Settings:
        """The settings that differ from the trainer's defaults."""
        return changed_settings(self.configuration, self.last.command if self.last else "")


def collect(
    roots: Roots, exp_name: str, chosen: Iterable[str], output_subdir: str = ""
) -> tuple[Row, ...]:
    """Read the rows of the chosen scenes and of all others that have a record, by name."""
    names = sorted({*chosen, *roots.outputs_with(RECORD, exp_name, output_subdir)})
    with garbage_collection_paused():
        return tuple(
            row_of(name, roots.output_folder(name, exp_name, output_subdir)) for name in names
        )


def row_of(scene: str, output: Path) -> Row:
    """Read what a scene's output folder says; a record that can't be read is a failure."""
    log = output / LOG
    try:
        record = read_record(output)
        recorded = recorded_state(scene, log, record, living_holder(output, record))
    except RecordError as error:
        return Row(scene, "failed", log, UNREADABLE, message=str(error))
    metrics = {}
    if record and record.status == "done":
        metrics = record.metrics or _sample_counts(output)
    return Row(
        **vars(recorded),
        total_s=recorded.elapsed_s or 0.0,
        metrics=metrics,
        picture=_picture(metrics, output),
        configuration=record.configuration if record else {},
        animations=scene_animations(output, metrics),
    )


def _sample_counts(output: Path) -> dict[str, Any]:
    """Count what a scene gave to DiFix data, which has no metrics."""
    try:
        statistics = read_json(output / SHARD)["statistics"]
        return {key: statistics[key] for key in ("samples", "dropped")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def scene_animations(output: Path, metrics: Mapping[str, Any]) -> dict[str, Path]:
    """Return the animations of a scene by kind: those that its `metrics` name and that are there.

    `output` is the scene's folder; nothing outside of it is returned.
    """
    named = metrics.get("animations")
    paths = named.items() if isinstance(named, Mapping) else ()
    found = {str(kind): _inside(output, name) for kind, name in paths}
    return {kind: path for kind, path in found.items() if path and path.is_file()}


def _picture(metrics: Mapping[str, Any], output: Path) -> Path | None:
    """Return the picture that the metrics name; None for one outside the scene's folder."""
    return _inside(output, metrics.get("picture", CONTACT_SHEET if "samples" in metrics else None))


def _inside(output: Path, name: object) -> Path | None:
    """Return the path of a file that is named relative to a folder; None for one outside of it."""
    path = output / name if isinstance(name, str) else None
    return path if path and path.resolve().is_relative_to(output.resolve()) else None
