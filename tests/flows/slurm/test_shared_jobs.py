"""Which jobs a pool submits and gives out where scenes share a job's GPU."""

from __future__ import annotations

import pytest
from pool_lab import make_pool

from flows.slurm.pool_actions import Actions


@pytest.mark.parametrize(
    ("waiting", "unfinished", "names"),
    [(1, 9, ("w1",)), (3, 9, ("w1",)), (4, 9, ("w1", "w2")), (9, 9, ("w1", "w2")), (4, 3, ("w1",))],
)
def test_a_job_is_submitted_for_as_many_scenes_as_share_its_gpu(waiting, unfinished, names):
    assert make_pool(scenes_per_gpu=3).submit(waiting, unfinished=unfinished).submit == names


def test_scenes_fill_a_job_before_the_next_one_and_room_in_it_is_no_need_for_another():
    """Three a job: two that have ended make room for two, and a third needs a job."""
    pool = make_pool(max_jobs=3, scenes_per_job=6, scenes_per_gpu=3)
    pool.submit(6)
    pool.join("w1")
    pool.join("w2")
    given = [pool.take_free_job(0.0, 3) for _ in range(6)]
    assert [job.name for job in given] == ["w1", "w1", "w1", "w2", "w2", "w2"]
    assert pool.take_free_job(0.0, 3) is None
    for _ in range(2):
        assert pool.give_back(given[5], 1.0) == Actions()
    assert pool.submit(2).submit == ()
    assert pool.submit(3).submit == ("w3",)
    assert pool.take_free_job(1.0, 3) is given[5]


def test_a_job_is_released_with_its_last_scene():
    """It may have two more scenes than it has places: the first two that end make room for them."""
    pool = make_pool(scenes_per_job=4, scenes_per_gpu=2)
    pool.submit(2)
    pool.join("w1")
    job = pool.take_free_job(0.0, 2)
    for _ in range(3):
        pool.take_free_job(0.0, 2)
        assert pool.give_back(job, 1.0) == Actions()
    assert job.state == "busy"
    assert pool.give_back(job, 1.0) == Actions(drop=("w1",))


def test_free_places_are_no_surplus_but_a_job_without_a_scene_is():
    pool = make_pool(scenes_per_gpu=3)
    pool.submit(6)
    pool.join("w1")
    pool.take_free_job(0.0, 3)
    pool.waiting_calls = 0
    assert pool.balance(3, 1.0) == Actions(drop=("w2",), cancel=("2",))
    assert pool.balance(1, 1.0) == Actions()


def test_scenes_start_together_in_a_new_job_and_later_only_where_time_is_left():
    """Its worker has come late, with less time than a scene needs: as for a single scene."""
    pool = make_pool(scenes_per_job=6, scenes_per_gpu=3)
    pool.submit(3)
    pool.join("w1", age_s=700.0)
    job = pool.take_free_job(0.0, 3)
    assert pool.take_free_job(5.0, 3) is job
    assert pool.take_free_job(11.0, 3) is None
    pool.give_back(job, 12.0)
    assert pool.take_free_job(12.0, 3) is None
    assert pool.balance(9, 12.0).drop == (), "it has a scene"
    assert pool.give_back(job, 13.0) == Actions(drop=("w1",))


def test_a_place_that_is_free_again_at_once_is_no_first_one():
    """Three scenes have failed in their first seconds: the time of a fourth must be there."""
    pool = make_pool(scenes_per_job=6, scenes_per_gpu=2)
    pool.submit(2)
    pool.join("w1", age_s=700.0)
    job = pool.take_free_job(0.0, 2)
    pool.take_free_job(1.0, 2)
    pool.give_back(job, 2.0)
    assert pool.take_free_job(2.0, 2) is None


def test_after_out_of_memory_fewer_share_a_job_and_one_that_ran_out_is_alone():
    """Four a job, then two; the alone one waits for a job without a scene, and keeps others out."""
    pool = make_pool(max_jobs=3, scenes_per_job=9, scenes_per_gpu=4)
    pool.submit(4)
    pool.join("w1")
    job = pool.take_free_job(0.0, 4)
    pool.take_free_job(0.0, 4)
    pool.take_free_job(0.0, 4)
    pool.give_back(job, 1.0)
    pool.bound = 2
    assert pool.take_free_job(1.0, 2) is None
    pool.call_came(alone=True)
    assert pool.take_free_job(1.0, 1) is None
    assert pool.submit(1).submit == ("w2",)
    assert pool.submit(3).submit == ("w3",), "w2 for the one alone, w3 for the two others"
    pool.call_left(alone=True)
    pool.join("w2")
    alone = pool.take_free_job(2.0, 1)
    assert alone.name == "w2"
    assert pool.take_free_job(2.0, 2) is None
    pool.give_back(alone, 3.0)
    assert pool.take_free_job(3.0, 2) is alone
