"""Slurm's controller is away for a minute, and for three, while a flow and an array train."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from array_on_slurm import submitted
from conftest import wait_for
from flow_on_slurm import causes, is_ready, start
from private_slurm import clear

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
SCENES = [f"a_{number}" for number in range(4)]
WAYS = {"slurm_flow": "away", "slurm_array": "away_array"}
"""Experiments, by way."""
AWAY_S = {
    "the controller is down for a minute": 60,
    "the controller is down for three minutes": 180,
}
BREAKAGES = {
    "slurm_flow": "a query that fails ends the run",
    "slurm_array": "an array that is not submitted passes for one",
}
BACK_S = 120


@dataclass
class Outcome:
    """A flow and an array with the same scenes, two at once each, and what came of them."""

    lab: Any
    slurm: Any
    ended: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether a scene of an experiment has ended well while the controller was away, by fault."""
    went_on: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether the next scene has begun after that."""
    refused: dict[str, str] = field(default_factory=dict)
    """What a second submission has said meanwhile, by fault."""
    said: str = ""
    status: int | None = None
    again: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def training(self, exp_name: str) -> list[str]:
        """Return the scenes whose trainers wait for their end."""
        ready = [name for name in SCENES if is_ready(self.lab, exp_name, name)]
        return [name for name in ready if not self.go(exp_name, name).exists()]

    def go(self, exp_name: str, scene: str) -> Any:
        """Return the file that has a trainer end well."""
        return self.lab.output(scene, exp_name) / "go.txt"

    def submit(self) -> Any:
        """Submit the array, or what is left of it."""
        flags = ("--submit", "--run-all", "--slurm.array-parallelism", "2")
        return self.lab.run("--exp-name", WAYS["slurm_array"], *flags)

    def fly(self) -> Any:
        """Start the flow."""
        return start(self.lab, WAYS["slurm_flow"], "--slurm.array-parallelism", "2")

    def lose_controller(self, fault: str) -> None:
        """Stop the controller for as long as a fault says; a scene of each way ends meanwhile."""
        happens(lambda: all(len(self.training(each)) == 2 for each in WAYS.values()))
        self.slurm.stop_controller()
        back = time.monotonic() + AWAY_S[fault]
        ending = {each: self.training(each)[:1] for each in WAYS.values()}
        for exp_name, scenes in ending.items():
            for scene in scenes:
                self.go(exp_name, scene).touch()
        for exp_name, scenes in ending.items():
            self.ended[fault, exp_name] = happens(
                lambda exp_name=exp_name, scenes=scenes: [
                    each for each in scenes if self.lab.record(each, exp_name)["status"] == "done"
                ]
            )
        self.refused[fault] = self.submit().stderr
        time.sleep(max(0.0, back - time.monotonic()))
        self.slurm.start_controller()
        for exp_name in WAYS.values():
            self.went_on[fault, exp_name] = happens(
                lambda exp_name=exp_name: len(self.training(exp_name)) == 2
            )

    def finish(self, flow: Any) -> None:
        """Let all trainers end, and run the same commands again."""
        for exp_name in WAYS.values():
            for name in SCENES:
                self.go(exp_name, name).parent.mkdir(parents=True, exist_ok=True)
                self.go(exp_name, name).touch()
        self.said = "".join(flow.communicate(timeout=BACK_S))
        self.status = flow.returncode
        self.slurm.wait_empty(BACK_S)
        self.left = [str(each) for each in self.lab.strays()]
        self.again["away"] = "".join(self.fly().communicate(timeout=BACK_S))
        self.again["away_array"] = self.submit().stdout


def happens(condition: Callable[[], object]) -> bool:
    """Return whether a condition comes true in time."""
    try:
        return bool(wait_for(condition, "", BACK_S))
    except pytest.fail.Exception:
        return False


@pytest.fixture(scope="module")
def away(module_lab: Any, slurm: Any, prefect_api: Any) -> Any:
    """A flow and an array that lose the controller for a minute, then for three."""
    module_lab.environment |= {**slurm.environment, "PREFECT_API_URL": prefect_api.url}
    for name in SCENES:
        module_lab.add_scene(name, do="wait")
    made = Outcome(module_lab, slurm)
    assert submitted(made.submit().stdout)
    flow = made.fly()
    for fault in AWAY_S:
        made.lose_controller(fault)
    made.finish(flow)
    yield made
    assert not clear(module_lab, slurm)


@pytest.mark.parametrize(
    ("fault", "way"),
    [
        pytest.param(
            fault,
            way,
            marks=pytest.mark.fault(
                fault,
                way,
                ends="done",
                attempts="ok",
                flow="completed",
                left="nothing",
                rerun="skips it",
                breakage=BREAKAGES[way],
            ),
        )
        for fault in AWAY_S
        for way in WAYS
    ],
)
def test_what_trains_ends_well_and_the_next_scene_follows(away: Outcome, fault: str, way: str):
    """Scenes end while the controller is away, and others begin when it is back, each once.

    Nothing is submitted meanwhile, since nobody knows what is in the queue.
    """
    exp_name = WAYS[way]
    assert away.ended[fault, exp_name]
    assert away.went_on[fault, exp_name], away.said
    assert {name: causes(away.lab, exp_name, name) for name in SCENES} == {
        name: ["ok"] for name in SCENES
    }
    assert away.left == []
    if way == "slurm_flow":
        assert away.status == 0
        assert all(f"{name}: skipped, done" in away.again[exp_name] for name in SCENES)
    else:
        assert "nothing was submitted: squeue: " in away.refused[fault]
        assert "nothing is left to submit" in away.again[exp_name]
