"""Slurm's commands fail, hang, print garbage and answer too late under a flow.

It meets fault after fault, each for as long as it takes to be met and lived through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import wait_for
from faulty_commands import (
    GARBAGE,
    NO_ACCOUNTING,
    SACCT,
    SBATCH,
    SCONTROL,
    SQUEUE,
    Faults,
    cells,
    chosen,
    job_names,
    with_faulty_commands,
    without_accounting,
)
from flow_on_slurm import causes, is_ready, script, start

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
PATIENCE_S = 40.0
"""For the flow to go on; less than a minute, after which it asks no more how a job ended."""
START_S = 90.0
FLOW = "commands"
FLOW_SCENES = [f"a_{number}" for number in range(len(SQUEUE) + len(SBATCH) + 2)]


@dataclass
class Flown:
    """A flow that meets fault after fault, and what came of each."""

    lab: Any
    slurm: Any
    faults: Faults
    flow: Any = None
    met: dict[str, bool] = field(default_factory=dict)
    went_on: dict[str, bool] = field(default_factory=dict)
    said: str = ""
    said_again: str = ""
    left: list[str] = field(default_factory=list)
    cancelled: int = 0
    met_before: int = 0

    def queued(self, other_than: str = "") -> str:
        """Return the id of a job that waits in the queue; empty without one."""
        rows = [row for row in self.slurm.squeue() if row.state == "PENDING"]
        return next((row.job_id for row in rows if row.job_id != other_than), "")

    def training(self) -> list[str]:
        """Return the scene whose trainer waits for its end."""
        ready = [name for name in FLOW_SCENES if is_ready(self.lab, FLOW, name)]
        return [name for name in ready if not (self.lab.output(name, FLOW) / "go.txt").exists()]

    def let_go(self) -> None:
        """Have the scene that trains end well."""
        for name in self.training():
            self.lab.let_go(name, FLOW)

    def happens(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
        """Return whether a condition is true in time, and before the flow ends."""
        has_ended = lambda: self.flow.poll() is not None  # noqa: E731
        try:
            wait_for(lambda: has_ended() or condition(), "", patience_s)
        except pytest.fail.Exception:
            return False
        return not has_ended()

    @contextmanager
    def fault(self, fault: str) -> Iterator[None]:
        """Have a fault within the block, once there is a scene that trains and a job behind it."""
        self.happens(lambda: self.training() and self.queued(), START_S)
        if fault == NO_ACCOUNTING:
            with without_accounting(self.slurm):
                yield
            self.met[fault] = True
            return
        self.met_before = self.faults.met(fault)
        self.faults.begin(fault)
        yield
        self.met[fault] = self.faults.met(fault) > self.met_before
        self.faults.end(fault)

    def is_met(self, fault: str, times: int) -> bool:
        """Wait until so many calls of the command have met a fault since it has begun."""
        return self.happens(lambda: self.faults.met(fault) >= self.met_before + times)

    def lose_queued_job(self, fault: str) -> None:
        """Cancel the job in the queue, so that the flow asks how it ended and replaces it."""
        with self.fault(fault):
            if job_id := self.queued():
                self.slurm.call("scancel", job_id)
                self.cancelled += 1
            self.went_on[fault] = self.happens(lambda: self.queued(other_than=job_id))
        if fault == GARBAGE and self.went_on[fault]:  # which is not kept: accounting is asked now
            before = self.faults.calls("sacct")
            self.slurm.call("scancel", self.queued())
            self.cancelled += 1
            self.went_on[fault] = self.happens(lambda: self.faults.calls("sacct") > before)

    def end_scene_without_queue(self, fault: str) -> None:
        """End a scene while the queue can't be read: the job that waits has the next one."""
        with self.fault(fault):
            self.is_met(fault, 2)
            self.let_go()
            self.went_on[fault] = self.happens(self.training)

    def end_scene_and_submit(self, fault: str) -> None:
        """End a scene, so that another job is submitted, which meets the fault."""
        with self.fault(fault):
            job_id = self.queued()
            self.let_go()
            self.is_met(fault, 1)
        self.went_on[fault] = self.happens(lambda: self.queued(other_than=job_id))

    def check(self, fault: str) -> None:
        """Assert that a fault was met, cost nothing and left nothing."""
        assert self.met[fault]
        assert self.went_on[fault], self.said
        found = {name: causes(self.lab, FLOW, name) for name in FLOW_SCENES}
        assert set(map(tuple, found.values())) == {("ok",)}, self.said
        jobs = job_names(self.slurm, f"{FLOW}-w")
        assert max(jobs.values()) == 1
        assert len(jobs) == len(FLOW_SCENES) + self.cancelled
        assert self.left == []
        assert f"{len(FLOW_SCENES)} of {len(FLOW_SCENES)} scenes done" in self.said
        assert self.flow.returncode == 0
        assert all(f"{name}: skipped, done" in self.said_again for name in FLOW_SCENES)


@pytest.fixture(scope="module")
def flown(
    request: pytest.FixtureRequest, make_commands_lab: Any, slurm_accounting: Any, prefect_api: Any
) -> Flown:
    """A flow of one scene at a time, with one more job in the queue, through all faults.

    scontrol comes first: what it has said once is not asked for again.
    """
    lab, faults = with_faulty_commands(make_commands_lab(), "flow")
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    for name in FLOW_SCENES:
        lab.add_scene(name, do="wait")
    one_node = script(lab, f"--exclusive --nodelist={slurm_accounting.nodes[0]}")
    flags = ("--slurm.array-parallelism", "2", "--slurm.probe", "never", *one_node)
    made = Flown(lab, slurm_accounting, faults, start(lab, FLOW, *flags))
    acts = dict.fromkeys((*SCONTROL, *SACCT, NO_ACCOUNTING), made.lose_queued_job)
    acts |= dict.fromkeys(SQUEUE, made.end_scene_without_queue)
    acts |= dict.fromkeys(SBATCH, made.end_scene_and_submit)
    faults_now = chosen(request, test_a_flow_lives_through_commands_with_faults)
    for fault in (each for each in acts if each in faults_now):
        acts[fault](fault)
    for name in FLOW_SCENES:
        lab.let_go(name, FLOW)
    made.said = "".join(made.flow.communicate(timeout=240))
    slurm_accounting.wait_empty()
    made.left = [str(each) for each in lab.strays()]
    made.said_again = "".join(start(lab, FLOW, *flags).communicate(timeout=240))
    return made


@pytest.mark.parametrize(
    "fault",
    cells(
        "slurm_flow",
        (*SCONTROL, *SACCT, NO_ACCOUNTING, *SQUEUE, *SBATCH),
        ends="done",
        attempts="ok",
        flow="completed",
        rerun="skips it",
    ),
)
def test_a_flow_lives_through_commands_with_faults(flown: Flown, fault: str):
    """Each scene is started once and ends done, and no job is submitted twice or too many.

    How a queued job ended that is gone, which scontrol and sacct are asked for, is known from
    squeue; without squeue the job that waits has the next scene; a job whose submission has no
    answer is looked up, and submitted again where there is none.
    """
    flown.check(fault)
