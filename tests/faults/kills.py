"""kill -9 of the launcher or flow in each phase, then the same command: for all ways.

The kernel's signal comes from the process itself, at the call of one function (`sites.KILL_IN`):
no other process could meet the moment.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.markers import parameter
from tests.faults.sites import KILL_IN, site

PLANS, BEFORE, BETWEEN, AGGREGATES = FAULTS = (
    "kill -9 while it plans",
    "kill -9 before the first scene",
    "kill -9 between two scenes",
    "kill -9 in the aggregate",
)
SCENES = ("a_1", "a_2")
PLANNING = "training.plan.make_plan:_undecided:1"
GONE_S = 60
WORDS = {
    PLANS: {
        "ends": "not started",
        "attempts": "-",
        "rerun": "trains it",
        "breakage": "plans write",
    },
    BEFORE: {
        "ends": "not started",
        "attempts": "-",
        "rerun": "trains it",
        "breakage": "what was planned before is skipped",
    },
    BETWEEN: {
        "ends": "done or not started",
        "attempts": "ok or -",
        "rerun": "trains what was left",
        "breakage": "what was planned before is skipped",
    },
    AGGREGATES: {
        "ends": "done",
        "attempts": "ok",
        "rerun": "writes the report",
        "breakage": "the summary writes no report",
    },
}
DONE = {PLANS: 0, BEFORE: 0, BETWEEN: 1, AGGREGATES: 2}
"""How many scenes are done when the process is killed."""


@dataclass
class Killed:
    """What became of one run that was killed, and of the same command again."""

    fault: str
    exp_name: str
    status: int = 0
    output: str = ""
    created: list[str] = field(default_factory=list)
    """What was there, where it was killed while it planned."""
    left: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    status_again: int = 0
    output_again: str = ""
    starts_again: list[int] = field(default_factory=list)
    causes_again: list[list[str]] = field(default_factory=list)
    has_report: bool = False

    def check(self) -> None:
        """Assert what the marker says."""
        assert self.status == -signal.SIGKILL, self.output
        assert (self.created, self.left) == ([], [])
        assert self.starts == [1] * DONE[self.fault] + [0] * (len(SCENES) - DONE[self.fault])
        assert self.status_again == 0, self.output_again
        assert "Traceback" not in self.output_again
        assert (self.starts_again, self.causes_again) == ([1, 1], [["ok"], ["ok"]])
        assert self.has_report


def cells(way: str, **more: Mapping[str, str]) -> list[Any]:
    """Return the parameters of a way's tests; `more`: words by a fault's last word."""
    return [
        parameter(
            fault,
            way,
            flow="killed",
            left="nothing",
            **WORDS[fault] | dict(more.get(fault.split()[-1], {})),
        )
        for fault in FAULTS
    ]


def kill_all(
    lab: Any,
    way: str,
    moments: Mapping[str, str],
    start: Callable[[str], Any],
    wait_gone: Callable[[], list[str]],
) -> dict[str, Killed]:
    """Start a run for each fault, all at once, and the same again when nothing of them is left.

    `moments`: TS_TEST_KILL_IN by fault. `start` starts the run of an experiment.
    """
    for scene in SCENES:
        lab.add_scene(scene)
    made = {fault: Killed(fault, f"{way}_{number}") for number, fault in enumerate(moments)}
    before = dict(lab.environment)
    lab.environment["PYTHONPATH"] = site(lab, KILL_IN)
    started = {}
    for fault, moment in moments.items():
        lab.environment["TS_TEST_KILL_IN"] = moment
        started[fault] = start(made[fault].exp_name)
        if fault == PLANS:
            _communicate(started[fault])
            made[fault].created = [each.name for each in lab.root.glob("*") if _is_new(each.name)]
    for fault, process in started.items():
        made[fault].output, made[fault].status = _communicate(process)
    left = wait_gone()
    lab.environment = before
    again = {fault: start(each.exp_name) for fault, each in made.items() if _look(lab, each, left)}
    for fault, process in again.items():
        made[fault].output_again, made[fault].status_again = _communicate(process)
        _look_again(lab, made[fault])
    return made


def _is_new(name: str) -> bool:
    return name in {"results", "state", "scenes"}


def _communicate(process: Any) -> tuple[str, int]:
    if not hasattr(process, "told"):
        process.told = "".join(process.communicate(timeout=180))
    return process.told, process.returncode


def _starts(lab: Any, exp_name: str) -> list[int]:
    files = [lab.output(scene, exp_name) / "starts.txt" for scene in SCENES]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def _causes(lab: Any, scene: str, exp_name: str) -> list[str]:
    if not (lab.output(scene, exp_name) / "run.json").exists():
        return []
    return [each["cause"] for each in lab.record(scene, exp_name)["attempts"]]


def _look(lab: Any, made: Killed, left: list[str]) -> bool:
    made.left, made.starts = left, sorted(_starts(lab, made.exp_name), reverse=True)
    return True


def _look_again(lab: Any, made: Killed) -> None:
    made.starts_again = _starts(lab, made.exp_name)
    made.causes_again = [_causes(lab, scene, made.exp_name) for scene in SCENES]
    report = lab.root / "results/_experiments" / made.exp_name / "report.md"
    made.has_report = report.exists() and bool(re.search(r"\b2 of 2\b", report.read_text()))
