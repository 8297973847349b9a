"""Which jobs a pool submits, gives out and releases; without threads, clock or Slurm."""

from __future__ import annotations

import pytest
from pool_lab import LATER, WALLTIME_S, make_pool

from flows.slurm.pool_actions import Actions


@pytest.mark.parametrize(
    ("waiting", "max_jobs", "names"),
    [(0, 2, ()), (1, 2, ("w1",)), (5, 2, ("w1", "w2")), (5, 0, ())],
)
def test_jobs_are_submitted_for_waiting_calls_up_to_the_limit(waiting, max_jobs, names):
    assert make_pool(max_jobs).submit(waiting) == Actions(submit=names)


def test_queued_and_free_jobs_are_not_submitted_again():
    """Of three waiting calls one can have the free job and one the queued."""
    pool = make_pool(max_jobs=5)
    pool.submit(2)
    pool.join("w1")
    assert pool.submit(3).submit == ("w3",)


def test_a_job_counts_until_slurms_queue_does_not_show_it():
    """One that is leaving still holds its node: there is no successor yet."""
    pool = make_pool(max_jobs=1)
    pool.submit(1)
    pool.join("w1")
    job = pool.take_free_job(0.0)
    assert pool.give_back(job, 1.0) == Actions(drop=("w1",))
    assert pool.submit(1, LATER).submit == ()
    pool.record_queue({}, LATER)
    assert pool.submit(1, LATER).submit == ("w2",)


def test_surplus_is_free_jobs_first_then_the_last_queued():
    pool = make_pool(max_jobs=4)
    pool.submit(4)
    pool.join("w2")
    assert pool.balance(2, 1.0) == Actions(drop=("w2", "w4"), cancel=("4",))
    assert pool.states() == {"w1": "queued", "w2": "leaving", "w3": "queued", "w4": "leaving"}


def test_busy_jobs_are_no_surplus():
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.take_free_job(0.0)
    pool.waiting_calls = 0
    assert pool.balance(0, 1.0) == Actions()


def test_a_job_runs_as_many_scenes_as_it_may():
    pool = make_pool(scenes_per_job=2)
    pool.submit(1)
    pool.join("w1")
    assert pool.give_back(pool.take_free_job(0.0), 1.0) == Actions()
    assert pool.states() == {"w1": "free"}
    assert pool.give_back(pool.take_free_job(1.0), 2.0) == Actions(drop=("w1",))


def test_a_job_without_time_for_a_scene_is_not_given_out_and_is_released():
    """600 of 1000 s are over when 400 are needed: just enough, a second later it is too little."""
    pool = make_pool(scenes_per_job=3)
    pool.submit(1)
    pool.join("w1", age_s=100.0)
    pool.give_back(pool.take_free_job(0.0), 1.0)
    job = pool.take_free_job(500.0)
    assert job.name == "w1"
    pool.give_back(job, 500.0)
    assert pool.take_free_job(501.0) is None
    assert pool.balance(9, 501.0) == Actions(drop=("w1",))


def test_a_job_that_comes_back_without_time_for_another_scene_is_released():
    pool = make_pool(scenes_per_job=2)
    pool.submit(1)
    pool.join("w1")
    assert pool.give_back(pool.take_free_job(0.0), 601.0) == Actions(drop=("w1",))


def test_a_new_job_that_has_waited_for_too_long_is_given_back():
    """Its first scene would not get its whole time. The call gets another job when it comes."""
    pool = make_pool()
    pool.expected_calls = 1
    pool.submit(0)
    pool.join("w1", age_s=100.0)
    assert pool.balance(9, 500.0) == Actions()
    assert pool.take_free_job(501.0) is None
    assert pool.balance(9, 501.0) == Actions(drop=("w1",))
    assert pool.balance(9, 502.0) == Actions()
    pool.call_came()
    assert pool.submit(1, 503.0).submit == ("w2",)


def test_a_new_job_that_was_long_in_starting_runs_its_first_scene():
    """What Slurm gave it is what there is; the scene gets a shorter deadline."""
    pool = make_pool()
    pool.submit(1)
    pool.join("w1", age_s=700.0)
    assert pool.balance(9, 1.0) == Actions()
    assert pool.take_free_job(1.0).name == "w1"


def test_a_free_job_on_an_avoided_node_is_the_last_choice():
    pool = make_pool()
    pool.submit(2)
    pool.join("w1", node="n1")
    pool.join("w2", node="n2")
    pool.nodes.avoid_lost("n1", 0.0)
    assert [pool.take_free_job(1.0).node for _ in range(2)] == ["n2", "n1"]


def test_nodes_are_avoided_for_an_hour():
    """A job without a node's name says nothing."""
    pool = make_pool()
    for node in ("n7", "n3", ""):
        pool.nodes.avoid_lost(node, 0.0)
    assert pool.nodes.names(3599.0) == ("n3", "n7")
    assert pool.submit(1, 3599.0).exclude == ("n3", "n7")
    assert pool.nodes.names(3601.0) == ()


def test_only_workers_of_queued_jobs_are_wanted():
    pool = make_pool()
    pool.submit(1)
    assert pool.join("w1")
    assert not pool.join("w1")
    assert not pool.join("w9")
    assert pool.jobs["w1"].ends_at == WALLTIME_S


def test_a_worker_that_leaves_is_a_lost_job():
    """Its call learns it from the event; the worker of a job that was given up is no loss."""
    pool = make_pool()
    pool.submit(2)
    pool.join("w1")
    pool.join("w2")
    pool.release([pool.jobs["w2"]], 1.0)
    for name in ("w1", "w2", "w9"):
        pool.worker_left(name, 2.0)
    assert pool.states() == {"w1": "lost", "w2": "leaving"}
    assert pool.jobs["w1"].lost.is_set()
    assert not pool.jobs["w2"].lost.is_set()
    assert pool.give_back(pool.jobs["w1"], 3.0) == Actions()
