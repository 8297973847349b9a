"""Slurm's commands fail, hang, print garbage and answer too late under an array.

Each fault has an experiment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from array_on_slurm import submitted
from conftest import wait_for
from faulty_commands import (
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
from flow_on_slurm import causes, is_ready

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
SCENE = "a"


@dataclass
class Array:
    """An array of one scene in an experiment of its own, which meets one fault."""

    lab: Any
    slurm: Any
    fault: str
    exp_name: str
    faults: Faults

    @contextmanager
    def faulty(self) -> Iterator[None]:
        """Have the fault within the block, where it is met."""
        if self.fault == NO_ACCOUNTING:
            yield
            return
        self.faults.begin(self.fault)
        yield
        self.faults.end(self.fault)
        assert self.faults.met(self.fault)

    def run(self, *flags: str) -> Any:
        """Run a command of the launcher."""
        return self.lab.run("--exp-name", self.exp_name, *flags)

    def submit(self) -> str:
        """Submit the scene and return the id of its array."""
        result = self.run("--submit", "--run-all")
        (array,) = submitted(result.stdout)
        return array

    def record(self) -> list[str]:
        """Return the causes in the scene's record."""
        return causes(self.lab, self.exp_name, SCENE)

    def wait_ready(self) -> None:
        """Wait until the scene's trainer runs."""
        wait_for(lambda: is_ready(self.lab, self.exp_name, SCENE), f"the trainer of {self.fault}")

    def wait_gone(self, array: str) -> None:
        """Wait until Slurm's queue does not have the array any more."""
        self.slurm.wait(lambda: array not in self.queued(), f"the end of job {array}", 120)

    def queued(self) -> set[str]:
        """Return the ids of the arrays in Slurm's queue."""
        return {row.job_id.partition("_")[0] for row in self.slurm.squeue()}

    def finish(self, array: str, *expected: str) -> None:
        """Let the trainer end and check the record, the jobs and what the same command does."""
        self.lab.let_go(SCENE, self.exp_name)
        self.wait_gone(array)
        assert self.slurm.job(array)["JobState"] == "COMPLETED"
        assert self.record() == list(expected)
        assert "nothing is left to submit" in self.run("--submit", "--run-all").stdout
        jobs = job_names(self.slurm, self.exp_name)
        assert jobs == {self.exp_name: len(expected)}, "no job too many"
        starts = self.lab.output(SCENE, self.exp_name) / "starts.txt"
        assert len(starts.read_text().splitlines()) == len(expected)

    def meet_at_submission(self) -> None:
        """Let sbatch have the fault until it is met once: the scene has one array all the same."""
        with self.faulty():
            command = self.lab.popen("--exp-name", self.exp_name, "--submit", "--run-all")
            wait_for(lambda: self.faults.met(self.fault) or command.poll() is not None, self.fault)
        out, err = command.communicate(timeout=120)
        assert command.returncode == 0, out + err
        (array,) = submitted(out)
        self.finish(array, "ok")

    def meet_while_it_trains(self) -> None:
        """Look at the array, and submit it again, while its queue can't be read."""
        array = self.submit()
        self.wait_ready()
        with self.faulty():
            seen, second = self.run("--status"), self.run("--submit", "--run-all")
        assert "Slurm does not answer: squeue: " in seen.stdout
        assert second.returncode == 1
        assert "nothing was submitted: squeue: " in second.stderr
        self.finish(array, "ok")

    def meet_after_its_end(self) -> None:
        """Look at an array that was cancelled: squeue knows it, and the scene is trained again."""
        array = self.submit()
        self.wait_ready()
        self.slurm.call("scancel", array)
        self.wait_gone(array)
        with self.faulty():
            self.run("--status")
            assert self.record() == ["cancelled"]
            if self.fault in SCONTROL:
                refused = self.run("--submit", "--run-all")
                assert "nothing was submitted: scontrol: " in refused.stderr
        self.finish(self.submit(), "cancelled", "ok")


@pytest.fixture(scope="module")
def arrays(
    request: pytest.FixtureRequest, make_commands_lab: Any, slurm_accounting: Any
) -> dict[str, Future[None]]:
    """What became of an array of each fault."""
    lab = make_commands_lab()
    lab.add_scene(SCENE, do="wait")

    def array(fault: str) -> Array:
        name = fault.replace(" ", "_")
        own, faults = with_faulty_commands(lab, name)
        return Array(own, slurm_accounting, fault, name, faults)

    faults_now = chosen(request, test_an_array_lives_through_commands_with_faults)
    acts = dict.fromkeys(SBATCH, Array.meet_at_submission)
    acts |= dict.fromkeys(SQUEUE, Array.meet_while_it_trains)
    acts |= dict.fromkeys((*SACCT, *SCONTROL), Array.meet_after_its_end)
    with ThreadPoolExecutor(max_workers=4) as pool:
        made = {
            fault: pool.submit(act, array(fault))
            for fault, act in acts.items()
            if fault in faults_now
        }
    if NO_ACCOUNTING not in faults_now:
        return made
    with without_accounting(slurm_accounting), ThreadPoolExecutor() as pool:
        made[NO_ACCOUNTING] = pool.submit(Array.meet_after_its_end, array(NO_ACCOUNTING))
    return made


CANCELLED = {"ends": "cancelled", "attempts": "cancelled", "flow": "cancelled"}
DONE = {"ends": "done", "attempts": "ok", "flow": "completed", "rerun": "skips it"}


@pytest.mark.parametrize(
    "fault",
    [
        *cells("slurm_array", (*SBATCH, *SQUEUE), **DONE),
        *cells("slurm_array", (*SACCT, *SCONTROL, NO_ACCOUNTING), **CANCELLED, rerun="trains it"),
    ],
)
def test_an_array_lives_through_commands_with_faults(arrays: dict[str, Future[None]], fault: str):
    """One array for the scene, whatever becomes of its submission; nothing is submitted twice.

    Without squeue, or scontrol, nothing is submitted and no record is touched. How a job ended that
    was cancelled is known without accounting.
    """
    arrays[fault].result()
