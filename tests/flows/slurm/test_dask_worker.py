"""What a worker does with signals of its Slurm job."""

from __future__ import annotations

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
