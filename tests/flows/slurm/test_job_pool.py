"""The pool of Slurm jobs against a fake Slurm and a clock that only the test moves."""

from __future__ import annotations

import itertools

import pytest
from job_pool_bench import Bench, Call

from flows.runner.dispatch import JobsError, StoppedError


@pytest.fixture
def bench(eventually, request):
    """A pool of at most two jobs for one scene each, or of the numbers in `in_jobs_of`."""
    made = Bench(eventually, *getattr(request, "param", (2, 1)))
    yield made
    made.stop.set()
    made.threads.shutdown(wait=False)


def in_jobs_of(*numbers):
    """Give the test's pool so many jobs at most, of so many scenes each."""
    return pytest.mark.parametrize("bench", [numbers], indirect=True)


def test_never_more_jobs_than_the_limit_counting_those_that_are_still_in_the_queue(bench):
    """Five calls, at most 2 jobs; a released job counts until Slurm's queue does not show it."""
    calls = bench.calls(5)
    bench.advance(1)
    assert bench.in_queue == ["w1", "w2"]
    bench.slurm.start("w1", "w2")
    bench.slurm.drop = lambda _: None  # its worker is slow to close
    ended = bench.with_jobs(calls, 2)[0]
    ended.end()
    bench.advance(20)
    assert len(bench.slurm.jobs) == 2
    bench.slurm.end(ended.job.name, "COMPLETED")
    bench.advance(4)
    assert len(bench.in_queue) == 2
    assert "w3" in bench.in_queue


def test_a_job_is_replaced_two_seconds_after_its_end(bench):
    calls = bench.calls(3)
    bench.advance(0.2)
    bench.slurm.start("w1", "w2")
    ended = bench.with_jobs(calls, 2)[0]
    bench.advance(60)
    ended.end()
    bench.advance(1.2)
    assert "w3" in bench.in_queue


def test_no_job_for_calls_that_do_not_wait_for_one(bench):
    """A call that is completing its record, or will not start, needs none."""
    bench.unfinished = 2
    bench.advance(10)
    assert not bench.slurm.jobs
    assert not bench.slurm.queries


@in_jobs_of(2, 2, 2)
def test_jobs_for_calls_that_will_come_are_submitted_before_them(bench):
    """As many as there may be; a call that comes takes one, and none is submitted twice."""
    bench.unfinished = 3
    bench.advance(0.2)
    assert bench.in_queue == ["w1", "w2"]
    bench.slurm.start("w1", "w2")
    bench.unfinished = 0
    calls = [Call(bench) for _ in range(3)]
    bench.with_jobs(calls, 2)
    bench.advance(10)
    assert bench.in_queue == ["w1", "w2"]


@in_jobs_of(2, 2, 2)
def test_a_call_that_never_comes_gets_no_job_again_and_again(bench):
    """Its task run failed before it asked for a job, as where Prefect's server refuses it."""
    bench.unfinished = 2
    bench.advance(0.2)
    bench.slurm.start("w1", "w2")
    bench.unfinished = 0
    bench.with_jobs([Call(bench)], 1)
    bench.advance(60)
    assert sorted(bench.slurm.jobs) == ["w1", "w2"]
    assert len(bench.in_queue) == 1


@in_jobs_of(3, 4)
def test_surplus_is_released_the_free_job_first(bench):
    """With fewer calls left the free job is closed, then all queued ones in one request."""
    calls = bench.calls(3)
    bench.advance(0.2)
    bench.slurm.start("w1")
    (first,) = bench.with_jobs(calls, 1)
    bench.stop.set()  # the other calls end
    bench.eventually(lambda: bench.pool._state.waiting_calls == 0, "the other calls to end")
    bench.unfinished = 2
    bench.slurm.start("w2")
    bench.advance(0.2)
    assert bench.slurm.dropped == ["w2"]
    assert not bench.slurm.cancelled
    bench.unfinished = 1
    bench.advance(0.2)
    assert bench.slurm.cancelled == ["3"]
    assert bench.in_queue == ["w1"]
    assert first.job.name == "w1"


@in_jobs_of(1, 3)
def test_a_job_runs_several_scenes_but_none_that_its_time_can_not_hold(bench):
    """It may run three; its time is too short for the third, which gets a new job."""
    calls = bench.calls(4)
    bench.advance(0.2)
    bench.slurm.start("w1", age_s=100)
    names = []
    for seconds in (450, 200, 0):
        (call,) = bench.with_jobs(calls, 1)
        names.append(call.job.name)
        bench.now += seconds
        call.end()
        calls.remove(call)
        bench.advance(4)
        if "w2" in bench.in_queue:
            bench.slurm.start("w2")
    assert names == ["w1", "w1", "w2"]
    assert bench.slurm.jobs["w1"].state == "COMPLETED"


def test_a_lost_job_is_replaced_and_its_end_is_returned(bench):
    """Its worker leaves, then it leaves the queue; the call gets Slurm's answer how it ended."""
    calls = bench.calls(3)
    bench.advance(0.2)
    bench.slurm.start("w1", "w2")
    call = bench.with_jobs(calls, 2)[0]
    job = call.job
    bench.slurm.end(job.name, "NODE_FAIL")
    assert job.lost.is_set()
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.advance(5)
    assert asked.result(10).state == "NODE_FAIL"
    assert "w3" in bench.in_queue


def test_slurm_is_asked_once_how_a_job_of_several_scenes_ended(bench):
    """Each of its scenes gets the answer."""
    (call,) = bench.calls(1)
    bench.advance(0.2)
    bench.slurm.start("w1")
    bench.with_jobs([call], 1)
    job = call.job
    bench.slurm.end("w1", "NODE_FAIL")
    call.end()
    asked = [bench.threads.submit(bench.pool.wait_for_end, job, bench.stop) for _ in range(3)]
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.advance(5)
    assert [each.result(10).state for each in asked] == ["NODE_FAIL"] * 3
    before = len(bench.slurm.queries)
    bench.advance(60)
    assert len(bench.slurm.queries) == before


def test_an_end_that_slurm_never_explains_is_none_after_a_minute(bench):
    (call,) = bench.calls(1)
    bench.advance(0.2)
    bench.slurm.start("w1")
    bench.with_jobs([call], 1)
    bench.slurm.forgets = True
    bench.slurm.end("w1", "FAILED")
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.advance(30)
    assert not asked.done()
    bench.advance(40)
    assert asked.result(10) is None


def test_a_job_cancelled_by_the_pool_does_not_count_as_cancelled_by_a_person(bench):
    """A job that outlives its worker is cancelled: its end then says nothing about its scene."""
    (call,) = bench.calls(1)
    bench.advance(0.2)
    bench.slurm.start("w1")
    bench.with_jobs([call], 1)
    bench.pool.worker_left("w1")
    call.end()
    asked = bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
    bench.eventually(lambda: bench.pool._state.awaited_ends, "the question")
    bench.advance(50)
    assert not bench.slurm.cancelled
    bench.advance(20)
    assert bench.slurm.cancelled == ["1"]
    assert asked.result(10) is None


def test_a_worker_that_comes_too_late_is_not_wanted(bench):
    """Its job was released, or is unknown."""
    (call,) = bench.calls(1)
    bench.advance(0.2)
    bench.stop.set()
    bench.eventually(call.future.done, "the call's end")
    bench.unfinished = 0
    bench.advance(0.2)
    assert bench.slurm.cancelled == ["1"]
    assert not bench.pool.worker_joined("w1", "tls://w1", {})
    assert not bench.pool.worker_joined("w9", "tls://w9", {})
    assert isinstance(call.future.exception(), StoppedError)


def test_a_queued_job_that_somebody_cancels_is_replaced(bench):
    """However often: that is no fault of the jobs."""
    bench.calls(1)
    for number in range(1, 6):
        bench.advance(0.2)
        assert bench.in_queue == [f"w{number}"]
        bench.slurm.end(f"w{number}", "CANCELLED")
        bench.advance(12)
    assert not bench.pool._state.failure


def fail_all(bench):
    """End the queued jobs before their workers join."""
    bench.advance(0.2)
    for name in bench.in_queue:
        bench.slurm.end(name, "FAILED")
    bench.advance(12)


def test_jobs_that_end_before_their_workers_join_are_an_error_with_their_logs(bench):
    """On three nodes, and none began anywhere: one bad node must not fail the run."""
    calls = bench.calls(3)
    fail_all(bench)
    fail_all(bench)
    assert bench.slurm.excluded[-1] == ("n1", "n2")
    assert "node n1 is avoided: a job ended there before its worker came" in bench.messages
    for call in calls:
        with pytest.raises(JobsError, match="jobs 3, 4: no such file"):
            call.future.result(10)
    bench.advance(5)
    assert not bench.in_queue
    assert not bench.news


def test_a_worker_that_joins_shows_that_nodes_are_bad(bench):
    """They are remembered, with where it began; what is queued is kept off a node found later."""
    calls = bench.calls(2)
    fail_all(bench)
    bench.advance(0.2)
    bench.slurm.start(bench.in_queue[0])
    (first,) = bench.with_jobs(calls, 1)
    bench.advance(0.2)
    assert bench.news == [({"n1": "1", "n2": "2"}, {"n3"})]
    before = bench.bad_nodes
    calls += bench.calls(1)
    first.end()
    bench.advance(12)
    assert bench.in_queue == ["w4", "w5"]
    bench.slurm.end("w4", "FAILED")
    bench.advance(12)
    assert bench.kept_off == [(("5",), ("n1", "n2", "n4"))]
    assert not bench.pool._state.failure
    assert len(bench.in_queue) == 2
    assert bench.bad_nodes > before > 0  # no remembered probe speaks for such a node


def test_where_only_bad_nodes_are_left_calls_fail_with_what_jobs_printed_there(bench):
    """And with what to do; a node has a second try; no job is submitted that can never run."""
    (call,) = bench.calls(1)
    fail_all(bench)
    bench.slurm.end(bench.in_queue[0], "FAILED")
    bench.slurm.refuses = "excluded"
    bench.slurm.why_refused = "Requested node configuration is not available"
    bench.advance(12)
    assert any("used again: n1, n2" in text for text in bench.messages)
    bench.slurm.jobs[bench.in_queue[0]].node = "n1"
    bench.slurm.end(bench.in_queue[0], "FAILED")
    bench.advance(12)
    with pytest.raises(JobsError, match=r"no node is left .*: n1\n") as caught:
        call.future.result(10)
    assert "--slurm.forget-bad-nodes" in str(caught.value)
    assert "no such file" in str(caught.value)
    assert not bench.in_queue


def test_a_refusal_with_excluded_nodes_is_tried_again_without(bench):
    """Where no other node is left, an avoided one is better than none."""
    bench.pool.avoid_node("n7")
    bench.slurm.refuses = "excluded"
    bench.calls(1)
    bench.advance(0.4)
    assert bench.slurm.excluded == [("n7",), ()]
    assert bench.in_queue == ["w2"]


def test_a_node_is_avoided_for_an_hour(bench):
    bench.pool.avoid_node("n7")
    bench.now += 3700
    bench.calls(1)
    bench.advance(0.2)
    assert bench.slurm.excluded == [()]


def test_a_final_refusal_is_an_error_in_slurms_words(bench):
    bench.slurm.refuses = True
    (call,) = bench.calls(1)
    bench.advance(1)
    with pytest.raises(JobsError, match="Invalid qos"):
        call.future.result(10)
    assert len(bench.slurm.excluded) == 1


def test_a_refusal_in_the_middle_of_a_run_is_tried_again_every_minute(bench):
    """Ten times: a limit of submitted jobs or a partition that is down must not end a long run."""
    calls = bench.calls(2)
    bench.advance(0.2)
    bench.slurm.start("w1", "w2")
    for call in bench.with_jobs(calls, 2):
        call.end()
    bench.slurm.refuses = True
    (late,) = bench.calls(1)
    bench.advance(90)
    assert len(bench.slurm.excluded) == 4
    assert ["Invalid qos" in text for text in bench.messages] == [True]
    bench.advance(700)
    with pytest.raises(JobsError, match="Invalid qos"):
        late.future.result(10)


def test_a_controller_that_does_not_answer_changes_nothing_and_is_reported_once(bench):
    calls = bench.calls(2)
    bench.advance(0.2)
    bench.slurm.start("w1")
    bench.with_jobs(calls, 1)
    bench.slurm.away = True
    bench.advance(120)
    assert bench.in_queue == ["w1", "w2"]
    assert len(bench.messages) == 1
    assert "Unable to contact" in bench.messages[0]
    bench.slurm.away = False
    bench.slurm.start("w2")
    bench.with_jobs(calls, 2)


def test_slurm_is_asked_at_most_every_two_seconds_and_less_often_without_news(bench):
    """Whatever happens; not at all while all jobs have their workers."""
    calls = bench.calls(5)
    bench.advance(60)
    quick = len(bench.slurm.queries)
    bench.advance(150)
    assert len(bench.slurm.queries) - quick == 10
    bench.slurm.start("w1", "w2")
    call = bench.with_jobs(calls, 2)[0]
    before = len(bench.slurm.queries)
    bench.advance(150)
    assert len(bench.slurm.queries) == before
    for state in ("FAILED", "NODE_FAIL", "FAILED"):
        bench.slurm.end(call.job.name, state)
        call.end()
        calls.remove(call)
        bench.threads.submit(bench.pool.wait_for_end, call.job, bench.stop)
        bench.advance(7)
        bench.slurm.start(*[job.name for job in bench.slurm.living if job.state == "PENDING"])
        call = bench.with_jobs(calls, min(2, len(calls)))[-1]
    gaps = [after - before for before, after in itertools.pairwise(bench.slurm.queries)]
    assert min(gaps) >= 1.99


def test_changes_of_the_queue_are_reported_at_most_every_ten_minutes(bench):
    bench.calls(2)
    bench.advance(300)
    bench.slurm.jobs["w1"].reason = "Priority"
    bench.advance(200)
    assert bench.messages == ["waiting for Slurm: 2 jobs in Slurm's queue (Resources)"]
    bench.advance(200)
    assert bench.messages[1:] == [
        "waiting for Slurm: 2 jobs in Slurm's queue (Priority, Resources)"
    ]


def test_closing_releases_all_jobs(bench):
    """Queued jobs are cancelled, workers are closed."""
    calls = bench.calls(2)
    bench.advance(0.2)
    bench.slurm.start("w1")
    bench.with_jobs(calls, 1)
    bench.pool.close()
    assert not bench.in_queue
    assert bench.slurm.cancelled == ["2"]
    assert sorted(bench.slurm.dropped) == ["w1", "w2"]
