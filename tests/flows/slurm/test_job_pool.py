"""The pool of Slurm jobs, against a Slurm that does as it is told and a clock that is set."""

from __future__ import annotations

import itertools

import pytest
from job_pool_bench import Bench

from flows.runner.dispatch import JobsError, StoppedError


@pytest.fixture
def bench(eventually, request):
    """Two jobs at most, for one scene each, or as the test says."""
    made = Bench(eventually, *getattr(request, "param", (2, 1)))
    yield made
    made.stop.set()
    made.threads.shutdown(wait=False)


def in_jobs_of(*numbers):
    return pytest.mark.parametrize("bench", [numbers], indirect=True)


def test_never_more_jobs_than_the_bound_nor_before_the_old_one_has_left_the_queue(bench):
    """Five calls, bound 2; a job that was given back counts until Slurm shows it no more."""
    calls = bench.calls(5)
    bench.turns(1)
    assert bench.in_queue == ["w1", "w2"]
    bench.slurm.begin("w1", "w2")
    bench.slurm.drop = lambda _: None  # its worker takes its time to close
    ended = bench.having(calls, 2)[0]
    ended.end()
    bench.turns(20)
    assert len(bench.slurm.jobs) == 2
    bench.slurm.end(ended.job.name, "COMPLETED")
    bench.turns(4)
    assert len(bench.in_queue) == 2
    assert "w3" in bench.in_queue


def test_a_job_is_replaced_two_seconds_after_its_end(bench):
    calls = bench.calls(3)
    bench.turns(0.2)
    bench.slurm.begin("w1", "w2")
    ended = bench.having(calls, 2)[0]
    bench.turns(60)
    ended.end()
    bench.turns(1.2)
    assert "w3" in bench.in_queue


def test_no_job_for_calls_that_do_not_wait_for_one(bench):
    """One that settles its scene, or will not start at all, needs none."""
    bench.unfinished = 2
    bench.turns(10)
    assert not bench.slurm.jobs
    assert not bench.slurm.queries


@in_jobs_of(3, 4)
def test_surplus_is_given_back_the_idle_first(bench):
    """With no call left for it a free job closes, then queued ones are cancelled, in one call."""
    calls = bench.calls(3)
    bench.turns(0.2)
    bench.slurm.begin("w1")
    (first,) = bench.having(calls, 1)
    bench.stop.set()  # the others go, and will not come again
    bench.eventually(lambda: bench.pool._state.waiting_calls == 0, "the others to go")
    bench.unfinished = 2
    bench.slurm.begin("w2")
    bench.turns(0.2)
    assert bench.slurm.dropped == ["w2"]
    assert not bench.slurm.cancelled
    bench.unfinished = 1
    bench.turns(0.2)
    assert bench.slurm.cancelled == ["3"]
    assert bench.in_queue == ["w1"]
    assert first.job.name == "w1"


@in_jobs_of(1, 3)
def test_a_job_carries_so_many_scenes_and_none_that_its_time_can_not_hold(bench):
    """Three fit by number, the third not by time: it gets a new job."""
    calls = bench.calls(4)
    bench.turns(0.2)
    bench.slurm.begin("w1", age_s=100)
    names = []
    for seconds in (450, 200, 0):
        (call,) = bench.having(calls, 1)
        names.append(call.job.name)
        bench.now += seconds
        call.end()
        calls.remove(call)
        bench.turns(4)
        if "w2" in bench.in_queue:
            bench.slurm.begin("w2")
    assert names == ["w1", "w1", "w2"]
    assert bench.slurm.jobs["w1"].state == "COMPLETED"


def test_a_lost_job_is_replaced_and_its_end_is_told(bench):
    """The worker goes, its job leaves the queue, another comes; Slurm's word reaches who asks."""
    calls = bench.calls(3)
    bench.turns(0.2)
    bench.slurm.begin("w1", "w2")
    call = bench.having(calls, 2)[0]
    job = call.job
    bench.slurm.end(job.name, "NODE_FAIL")
    assert job.lost.is_set()
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.turns(5)
    assert asked.result(10).state == "NODE_FAIL"
    assert "w3" in bench.in_queue


def test_what_slurm_never_says_is_none_in_the_end(bench):
    (call,) = bench.calls(1)
    bench.turns(0.2)
    bench.slurm.begin("w1")
    bench.having([call], 1)
    bench.slurm.forgets = True
    bench.slurm.end("w1", "FAILED")
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.turns(30)
    assert not asked.done()
    bench.turns(40)
    assert asked.result(10) is None


def test_our_own_cancelling_is_not_taken_for_a_persons(bench):
    """A job that does not end by itself is cancelled: that says nothing of its scene."""
    (call,) = bench.calls(1)
    bench.turns(0.2)
    bench.slurm.begin("w1")
    bench.having([call], 1)
    bench.pool.worker_left("w1")
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.turns(50)
    assert not bench.slurm.cancelled
    bench.turns(20)
    assert bench.slurm.cancelled == ["1"]
    assert asked.result(10) is None


def test_a_worker_that_comes_too_late_is_not_wanted(bench):
    """Of a job that was given back, or that nobody knows."""
    (call,) = bench.calls(1)
    bench.turns(0.2)
    bench.stop.set()
    bench.eventually(call.future.done, "the call's end")
    bench.unfinished = 0
    bench.turns(0.2)
    assert bench.slurm.cancelled == ["1"]
    assert not bench.pool.worker_joined("w1", "tls://w1", {})
    assert not bench.pool.worker_joined("w9", "tls://w9", {})
    assert isinstance(call.future.exception(), StoppedError)


def test_a_queued_job_that_somebody_cancels_is_replaced(bench):
    """However often: that is no fault of the job."""
    bench.calls(1)
    for number in range(1, 6):
        bench.turns(0.2)
        assert bench.in_queue == [f"w{number}"]
        bench.slurm.end(f"w{number}", "CANCELLED")
        bench.turns(12)
    assert not bench.pool._state.failure


def test_jobs_that_never_come_are_an_error_with_their_last_words(bench):
    """Three times in a row; each time elsewhere, for one bad node must not fail all."""
    calls = bench.calls(3)
    for _ in range(3):
        bench.turns(0.2)
        for name in bench.in_queue:
            bench.slurm.end(name, "FAILED")
        bench.turns(12)
    assert bench.slurm.excluded[-1] == ("n1", "n2", "n3", "n4")
    for call in calls:
        with pytest.raises(JobsError, match="jobs 5, 6: no such file"):
            call.future.result(10)
    bench.turns(5)
    assert not bench.in_queue


def test_a_worker_that_came_makes_the_count_begin_anew(bench):
    calls = bench.calls(2)
    for _ in range(2):
        bench.turns(0.2)
        for name in bench.in_queue:
            bench.slurm.end(name, "FAILED")
        bench.turns(12)
    bench.slurm.begin(bench.in_queue[0])
    bench.having(calls, 1)
    bench.slurm.end(bench.in_queue[1], "FAILED")
    bench.turns(12)
    assert not bench.pool._state.failure
    assert len(bench.in_queue) == 2


def test_refused_with_nodes_to_avoid_asks_again_without(bench):
    """No node is left: better one of those than none."""
    bench.pool.avoid_node("n7")
    bench.slurm.refuses = "excluded"
    bench.calls(1)
    bench.turns(0.4)
    assert bench.slurm.excluded == [("n7",), ()]
    assert bench.in_queue == ["w2"]


def test_a_node_is_avoided_for_an_hour(bench):
    bench.pool.avoid_node("n7")
    bench.now += 3700
    bench.calls(1)
    bench.turns(0.2)
    assert bench.slurm.excluded == [()]


def test_refused_for_good_is_slurms_own_words(bench):
    bench.slurm.refuses = True
    (call,) = bench.calls(1)
    bench.turns(1)
    with pytest.raises(JobsError, match="Invalid qos"):
        call.future.result(10)
    assert len(bench.slurm.excluded) == 1


def test_refused_in_the_middle_is_asked_again_later(bench):
    """A limit of submitted jobs, a partition that is down: not the end of a long run."""
    calls = bench.calls(2)
    bench.turns(0.2)
    bench.slurm.begin("w1", "w2")
    for call in bench.having(calls, 2):
        call.end()
    bench.slurm.refuses = True
    (late,) = bench.calls(1)
    bench.turns(90)
    assert len(bench.slurm.excluded) == 4
    assert ["Invalid qos" in text for text in bench.said] == [True]
    bench.turns(700)
    with pytest.raises(JobsError, match="Invalid qos"):
        late.future.result(10)


def test_a_controller_that_is_away_changes_nothing_and_is_told_once(bench):
    calls = bench.calls(2)
    bench.turns(0.2)
    bench.slurm.begin("w1")
    bench.having(calls, 1)
    bench.slurm.away = True
    bench.turns(120)
    assert bench.in_queue == ["w1", "w2"]
    assert len(bench.said) == 1
    assert "Unable to contact" in bench.said[0]
    bench.slurm.away = False
    bench.slurm.begin("w2")
    bench.having(calls, 2)


def test_slurm_is_asked_at_most_every_two_seconds_and_seldom_when_nothing_happens(bench):
    """Whatever goes on; not at all while all jobs have their workers."""
    calls = bench.calls(5)
    bench.turns(60)
    quick = len(bench.slurm.queries)
    bench.turns(150)
    assert len(bench.slurm.queries) - quick == 10
    bench.slurm.begin("w1", "w2")
    call = bench.having(calls, 2)[0]
    before = len(bench.slurm.queries)
    bench.turns(150)
    assert len(bench.slurm.queries) == before
    for state in ("FAILED", "NODE_FAIL", "FAILED"):
        bench.slurm.end(call.job.name, state)
        call.end()
        calls.remove(call)
        bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
        bench.turns(7)
        bench.slurm.begin(*[job.name for job in bench.slurm.living if job.state == "PENDING"])
        call = bench.having(calls, min(2, len(calls)))[-1]
    gaps = [after - before for before, after in itertools.pairwise(bench.slurm.queries)]
    assert min(gaps) >= 1.99


def test_the_queue_is_told_once_and_then_seldom(bench):
    """What is new of it, every ten minutes at most."""
    bench.calls(2)
    bench.turns(300)
    bench.slurm.jobs["w1"].reason = "Priority"
    bench.turns(200)
    assert bench.said == ["waiting for Slurm: 2 jobs in Slurm's queue (Resources)"]
    bench.turns(200)
    assert bench.said[1:] == ["waiting for Slurm: 2 jobs in Slurm's queue (Priority, Resources)"]


def test_closing_gives_everything_back(bench):
    """The queued are cancelled, workers close."""
    calls = bench.calls(2)
    bench.turns(0.2)
    bench.slurm.begin("w1")
    bench.having(calls, 1)
    bench.pool.close()
    assert not bench.in_queue
    assert bench.slurm.cancelled == ["2"]
    assert sorted(bench.slurm.dropped) == ["w1", "w2"]
