"""Flows on a real Slurm that are killed while scenes train, and the flows that take over."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from flow_on_slurm import BOUND_S, causes, end, is_ready, job_of, start

ORPHANS = ("--orphan-grace", "scene", "--slurm.array-parallelism", "2")


@pytest.fixture
def killed(flow_lab, eventually):
    """Start a flow of three scenes, two at once, and kill it with -9 while both train."""

    def begin(exp_name: str, *flags: str) -> None:
        flow_lab.add_scene("a_1", do="wait")
        flow_lab.add_scene("a_2", do="wait")
        flow_lab.add_scene("a_3")
        flow = start(flow_lab, exp_name, *ORPHANS, *flags, aggregate=True)
        eventually(lambda: is_ready(flow_lab, exp_name, "a_1", "a_2"), "both trainers")
        flow.kill()
        flow.wait(30)

    return begin


def starts(lab: Any, exp_name: str) -> list[int]:
    """Return how often each scene was started, by the trainer's own file."""
    files = [lab.output(f"a_{number}", exp_name) / "starts.txt" for number in (1, 2, 3)]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def status(lab: Any, exp_name: str) -> str:
    return lab.run("--status", "--exp-name", exp_name).stdout


@pytest.mark.long
def test_the_same_command_again_takes_over_what_a_killed_flow_has_begun(
    flow_lab, slurm, prefect_api, killed, eventually
):
    """Every scene is started once, also by a third flow after a second kill.

    The last run's graph shows all of them. A job whose scene has ended goes on with the next one,
    where it has time for it.
    """
    flags = ("--slurm.scenes-per-job", "2")
    killed("adopted", *flags)
    jobs = {name: job_of(flow_lab, "adopted", name) for name in ("a_1", "a_2")}
    assert status(flow_lab, "adopted").count("without a flow") == 2
    for number in (2, 3):
        flow = start(flow_lab, "adopted", *ORPHANS, *flags, aggregate=True)
        eventually(
            lambda number=number: running_in(prefect_api, "adopted", number) >= jobs.keys(),
            f"the adopted task runs of flow {number}",
        )
        if number == 2:
            assert "without a flow" not in status(flow_lab, "adopted")
            flow.kill()
    assert starts(flow_lab, "adopted") == [1, 1, 0]
    flow_lab.let_go("a_1", "adopted")
    eventually(lambda: starts(flow_lab, "adopted") == [1, 1, 1], "the third scene")
    flow_lab.let_go("a_2", "adopted")
    out = end(flow)
    assert "Completed, 3 of 3 scenes done" in out
    assert [causes(flow_lab, "adopted", f"a_{number}") for number in (1, 2, 3)] == [["ok"]] * 3
    assert starts(flow_lab, "adopted") == [1, 1, 1]
    assert job_of(flow_lab, "adopted", "a_3") == jobs["a_1"]
    *former, last = runs_of(prefect_api, "adopted")
    assert [run["state"]["type"] for run in former] == ["CRASHED"] * 2
    for run, later in zip(former, [*former[1:], last], strict=True):
        assert later["id"] in run["state"]["message"]
        assert f"after:{run['id']}" in later["tags"]
        assert {each["state"]["type"] for each in prefect_api.task_runs(run).values()} == {
            "CRASHED"
        }
    runs = prefect_api.task_runs(last)
    assert set(runs) == {"a_1", "a_2", "a_3", "aggregate"}
    assert len(prefect_api.parents(last, "aggregate")) == 3
    eventually(lambda: not slurm.squeue(), "an empty queue", BOUND_S)
    assert not list((flow_lab.root / "state" / "dask").iterdir())


def test_ctrl_c_ends_what_was_taken_over_and_another_configuration_is_trained_anew(
    flow_lab, slurm, prefect_api, killed, eventually
):
    """The scene whose file was edited is stopped and trained as it is planned now."""
    killed("ended")
    flow_lab.add_scene("a_2", do="resume")
    flow = start(flow_lab, "ended", *ORPHANS, aggregate=True)
    eventually((flow_lab.output("a_2", "ended") / "superseded").exists, "the new one")
    eventually(lambda: is_ready(flow_lab, "ended", "a_2"), "its trainer")
    assert starts(flow_lab, "ended") == [1, 1, 0]
    flow.send_signal(signal.SIGINT)
    end(flow, 130)
    assert causes(flow_lab, "ended", "a_1") == causes(flow_lab, "ended", "a_2") == ["cancelled"]
    eventually(lambda: not slurm.squeue() and not flow_lab.strays(), "nothing left", BOUND_S)
    states = [run["state"]["type"] for run in runs_of(prefect_api, "ended")]
    assert states == ["CRASHED", "CANCELLED"]
    assert not list((flow_lab.root / "state" / "dask").iterdir())


def test_cancel_ends_what_trains_without_a_flow(flow_lab, slurm, killed, eventually):
    """From any terminal; the records say cancelled."""
    killed("orphans")
    cancelled = flow_lab.run("--cancel", "--exp-name", "orphans")
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    assert "running: a_1, a_2" in cancelled.stdout
    assert [causes(flow_lab, "orphans", name) for name in ("a_1", "a_2")] == [["cancelled"]] * 2
    eventually(lambda: not slurm.squeue() and not flow_lab.strays(), "nothing left", BOUND_S)


def runs_of(prefect_api: Any, exp_name: str) -> list[dict[str, Any]]:
    """Return an experiment's flow runs, in order."""
    return sorted(prefect_api.runs(exp_name), key=lambda run: run["created"])


def running_in(prefect_api: Any, exp_name: str, number: int) -> set[str]:
    """Return the names of the task runs that run in an experiment's flow run of that number."""
    runs = runs_of(prefect_api, exp_name)
    found = prefect_api.task_runs(runs[-1]) if len(runs) == number else {}
    return {name for name, run in found.items() if run["state_type"] == "RUNNING"}
