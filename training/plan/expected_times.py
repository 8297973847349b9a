"""How long scenes took in earlier experiments, so that the longest can start first.

Read from the tables of the newest reports (`metrics.csv`), one file for all scenes of an
experiment: ten thousand records are not opened for it.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from training.configuration.configuration_file import SCRIPT
from training.plan.model import ScenePlan
from training.records.record import RecordError, read_record
from training.system.numbers import is_number
from training.system.paths import EXPERIMENTS, Roots

EPOCHS = "train.optimization.epochs"
"""Key of a configuration to which the time of a training is taken to be proportional."""
TABLE = "metrics.csv"
MOST_EXPERIMENTS = 20
"""So many of the newest reports are read, and no more once `MOST_TIMES` are known: a short try with
another trainer or few epochs must not hide what was trained before it."""
MOST_TIMES = 30_000
MOST_SCALED = 4.0
"""A training of so many times the epochs is not estimated: much of a short one is its start."""
MOST_SETTINGS = 20
"""Of a sweep's so many settings."""
ORDER_STEP_S = 60.0
"""Scenes whose times differ by less may keep the registry's order: it costs less than that."""


@dataclass(frozen=True)
class FormerTimes:
    """Seconds by scene in one earlier experiment; its epochs and trainer where they are known."""

    seconds: Mapping[str, float]
    epochs: float | None = None
    script: str = ""

    def may_be_of(self, script: str) -> bool:
        """Return whether a trainer's script may have taken these times."""
        return not (self.script and script) or self.script == script


def former_times(roots: Roots, output_subdir: str) -> list[FormerTimes]:
    """Return how long done scenes took in the newest experiments of a run mode, newest first."""
    prefix = f"{output_subdir}_" if output_subdir else ""
    tables = (roots.results_root / EXPERIMENTS).glob(f"*/{prefix}{TABLE}")
    found: list[FormerTimes] = []
    for table in sorted(tables, key=_time_of, reverse=True)[:MOST_EXPERIMENTS]:
        found += _times_in(table, roots, output_subdir)
        if sum(len(each.seconds) for each in found) >= MOST_TIMES:
            break
    return found


def expected_seconds(former: Iterable[FormerTimes], epochs: float | None) -> dict[str, float]:
    """Return by scene its seconds in the experiment with the nearest epochs, scaled to `epochs`.

    Among several the newest counts, those of `MOST_SCALED` times the epochs not. `former`: newest
    first.
    """
    found: dict[str, float] = {}

    def distance(times: FormerTimes) -> float:
        return abs(_log_ratio(epochs, times.epochs))

    near = [each for each in former if distance(each) <= math.log(MOST_SCALED)]
    for times in sorted(near, key=distance):
        scale = math.exp(_log_ratio(epochs, times.epochs))
        for scene, seconds in times.seconds.items():
            found.setdefault(scene, seconds * scale)
    return found


def with_expected_times(
    scenes: Iterable[ScenePlan], former: Sequence[FormerTimes]
) -> tuple[ScenePlan, ...]:
    """Return scenes with their expected times, longest first; as they are where none is known.

    A scene that is not known counts as long as the median of the others. Whole minutes count:
    scenes that take about as long stay in their order.
    """
    by_kind: dict[tuple[float | None, str], dict[str, float]] = {}
    found = []
    for scene in scenes:
        epochs, script = kind = _kind_of(scene.configuration)
        if kind not in by_kind:
            same_trainer = (each for each in former if each.may_be_of(script))
            by_kind[kind] = expected_seconds(same_trainer, epochs)
        seconds = by_kind[kind].get(scene.scene_name)
        update = {"expected_s": None if seconds is None else round(seconds, 1)}
        found.append(scene if seconds is None else scene.model_copy(update=update))
    known = [scene.expected_s for scene in found if scene.expected_s is not None]
    if not known:
        return tuple(found)
    middle = median(known)

    def steps(scene: ScenePlan) -> int:
        seconds = middle if scene.expected_s is None else scene.expected_s
        return -int(seconds / ORDER_STEP_S)

    return tuple(sorted(found, key=steps))


def _times_in(table: Path, roots: Roots, output_subdir: str) -> Iterator[FormerTimes]:
    """Yield the times of an experiment, of a sweep those of its settings."""
    by_setting: dict[str, dict[str, float]] = {}
    wrong = (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error)
    with contextlib.suppress(*wrong), table.open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            if line["status"] == "done":
                took = _seconds(line["seconds"])
                setting, _, scene = line["scene"].rpartition("/")
                by_setting.setdefault(setting, {})[scene] = took
    for setting, seconds in list(by_setting.items())[:MOST_SETTINGS]:
        name = "/".join(filter(None, [setting, next(iter(seconds))]))
        output = roots.output_folder(name, table.parent.name, output_subdir)
        yield FormerTimes(seconds, *_kind_in(output))


def _seconds(text: str) -> float:
    """Return a time of a table; raises ValueError for what no scene can take."""
    seconds = float(text)
    if not is_number(seconds) or seconds < 0:
        raise ValueError(f"{text} is no time")
    return seconds


def _kind_in(output: Path) -> tuple[float | None, str]:
    """Return epochs and script of the experiment that a scene's record is of."""
    with contextlib.suppress(RecordError):
        record = read_record(output)
        return _kind_of(record.configuration if record else {})
    return _kind_of({})


def _kind_of(configuration: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return a configuration's epochs, None for none, and its trainer's script, empty for none."""
    return _number(configuration.get(EPOCHS)), str(configuration.get(SCRIPT, ""))


def _number(value: object) -> float | None:
    return float(value) if is_number(value) and value > 0 else None


def _log_ratio(one: float | None, other: float | None) -> float:
    return math.log(one / other) if one and other else 0.0


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
