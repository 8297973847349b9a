"""What a worker does with signals of its Slurm job."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.slurm import dask_worker


@pytest.fixture
def stops(monkeypatch):
    """Count the requests to stop scenes; returns the list, and a clock to set."""
    requests, clock = [], [100.0]
    monkeypatch.setattr(dask_worker, "_terms", [])
    monkeypatch.setattr(dask_worker.tasks, "stop_scenes_harder", lambda: requests.append(clock[0]))
    monkeypatch.setattr(dask_worker.time, "monotonic", lambda: clock[0])
    return requests, clock


def test_sigterm_that_comes_twice_at_once_is_one_request(stops):
    """Slurm, srun and a script's trap each pass it on: the trainer keeps its grace."""
    requests, clock = stops
    for moment in (100.0, 100.1, 101.9):
        clock[0] = moment
        dask_worker._stop_scenes()
    assert requests == [100.0]


def test_sigterm_once_more_later_ends_the_scene_without_grace(stops):
    """It is a second request."""
    requests, clock = stops
    for moment in (100.0, 105.0):
        clock[0] = moment
        dask_worker._stop_scenes()
    assert requests == [100.0, 105.0]


def slurm_plan(**more):
    return SimpleNamespace(
        orphan_grace_s=60,
        script_text="",
        time_s=60,
        scenes_per_job=1,
        **{"site_options": {}, "flag_options": {}, "scene_options": {}, **more},
    )


@pytest.fixture
def worker(monkeypatch):
    """A worker whose flow is gone, as `main` sees it; returns what it serves, and what happens.

    `ends`: how it serves each plan; `scene_ends`: whether the scene ends within the grace.
    """
    flow = SimpleNamespace(ends=[], scene_ends=True, successor=None, served=[], stops=[])
    plan = SimpleNamespace(plan_id="exp-1", slurm=slurm_plan())
    flow.plan = plan

    def serve(plan, name, _submitted):
        flow.served.append((plan.plan_id, name))
        return flow.ends.pop(0)

    def wait(timeout_s=None):
        return flow.scene_ends or timeout_s is None

    monkeypatch.setattr(dask_worker, "read_plan", lambda _: plan)
    monkeypatch.setattr(dask_worker, "_serve", serve)
    monkeypatch.setattr(dask_worker, "successor_of", lambda _: flow.successor)
    monkeypatch.setattr(dask_worker, "own_job_id", lambda: "12")
    monkeypatch.setattr(dask_worker, "_terms", [])
    monkeypatch.setattr(dask_worker.tasks, "wait_for_scenes", wait)
    monkeypatch.setattr(dask_worker.tasks, "stop_scenes", lambda: flow.stops.append("stop"))
    return flow


@pytest.mark.parametrize("has_successor", [True, False])
def test_a_scene_outlives_its_flow_and_the_worker_joins_the_next_one(worker, has_successor):
    """With none, the worker ends with its scene."""
    worker.ends = [(0, True), (0, False)]
    next_plan = SimpleNamespace(plan_id="exp-2", slurm=worker.plan.slurm)
    worker.successor = next_plan if has_successor else None
    assert dask_worker.main(["plan.json", "w1"]) == 0
    joined = [("exp-2", "job12")] if has_successor else []
    assert worker.served == [("exp-1", "w1"), *joined]
    assert not worker.stops


def test_a_scene_that_takes_longer_than_the_grace_is_stopped(worker):
    worker.ends, worker.scene_ends = [(0, True)], False
    worker.successor = worker.plan
    assert dask_worker.main(["plan.json", "w1"]) == 0
    assert worker.stops == ["stop"]
    assert len(worker.served) == 1


def test_a_job_that_slurm_ends_joins_no_other_flow(worker):
    worker.ends, worker.successor = [(0, True)], worker.plan
    dask_worker._terms.append(100.0)
    assert dask_worker.main(["plan.json", "w1"]) == 0
    assert len(worker.served) == 1


def test_a_job_that_asked_for_something_else_joins_no_other_flow(worker):
    """The next command may want two GPUs a scene, of which this job has one."""
    wanted = slurm_plan(scene_options={"gres": "gpu:2"})
    worker.ends = [(0, True)]
    worker.successor = SimpleNamespace(plan_id="exp-2", slurm=wanted)
    assert dask_worker.main(["plan.json", "w1"]) == 0
    assert len(worker.served) == 1


def test_a_worker_whose_plan_can_not_be_read_says_so_in_a_line(tmp_path, capsys):
    """Its job's log names the file."""
    file = tmp_path / "exp-1.json"
    file.write_text("{")
    assert dask_worker.main([str(file), "w-1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"worker: {file} can't be read")
