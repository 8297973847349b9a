"""What a pool asks Slurm, and what queue, ends and refusals mean to it."""

from __future__ import annotations

from dataclasses import replace

from pool_lab import EXIT_GRACE_S, LATER, Submitted, make_pool, queue_of

from flows.slurm.pool_actions import Actions, Query
from training.slurm.client import SlurmAwayError, SlurmRefusedError
from training.slurm.job_states import JobEnd


def test_nothing_is_asked_while_all_jobs_have_workers():
    pool = make_pool()
    assert pool.next_query(LATER) is None
    pool.submit(1)
    pool.join("w1")
    assert pool.next_query(LATER) is None


def test_the_queue_is_asked_for_every_two_seconds_after_news_and_then_seldom():
    """Queued jobs alone: quickly for 30 s after a submission, then every 15 s."""
    pool = make_pool()
    pool.submit(1)
    asked = [second for second in range(100) if pool.next_query(float(second)) == Query()]
    assert asked == [*range(2, 30, 2), 43, 58, 73, 88]


def test_after_a_worker_has_left_the_queue_is_asked_for_soon():
    """Once the job has had time to end, however long the last news is ago."""
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    assert pool.next_query(100.0) is None
    pool.throttle.asked_at = 100.0
    pool.worker_left("w1", 102.0)
    assert pool.next_query(102.6) is None
    assert pool.next_query(102.8) == Query()


def test_questions_about_queue_and_ends_take_turns():
    pool = make_pool()
    pool.submit(1)
    pool.awaited_ends["12"] = None
    queries = [pool.next_query(second) for second in (10.0, 11.0, 12.0, 14.0)]
    assert queries == [Query(), None, Query(("12",)), Query()]


def test_the_end_of_a_job_that_is_still_there_is_not_asked_for():
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.worker_left("w1", 1.0)
    pool.awaited_ends["1"] = None
    assert [pool.next_query(LATER + seconds) for seconds in (0, 2)] == [Query(), Query()]
    pool.record_queue({}, LATER)
    assert pool.next_query(LATER + 4) == Query(("1",))


def test_a_new_job_may_be_missing_from_the_queue():
    pool = make_pool()
    pool.submit(1)
    assert pool.record_queue({}, 1.9) == Actions()
    assert pool.record_queue({}, 2.1) == Actions(drop=("w1",))
    assert pool.unexplained_exits == {"1": 2.1}


def test_pending_jobs_are_reported():
    """Not at once: Slurm may be about to start them."""
    pool = make_pool()
    pool.submit(2)
    assert pool.record_queue(queue_of(w1="PENDING", w2="PENDING"), 1.0) == Actions()
    actions = pool.record_queue(queue_of(w1="PENDING", w2="RUNNING"), LATER)
    assert actions == Actions(
        notice=("queue", "waiting for Slurm: 1 job in Slurm's queue (Priority)")
    )


def test_a_job_that_outlives_its_worker_is_cancelled():
    """Its end is then ours, and says nothing about the scene."""
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.worker_left("w1", 0.0)
    running = queue_of(w1="RUNNING")
    assert pool.record_queue(running, EXIT_GRACE_S) == Actions()
    assert pool.record_queue(running, EXIT_GRACE_S + 1) == Actions(cancel=("1",))
    assert pool.jobs["w1"].cancelled


def lose_in_queue(pool, state, count=1, now=0.0):
    """The next jobs end before their workers join; the ids whose logs explain a failure."""
    names = pool.submit(count, now).submit
    pool.record_queue({}, now + LATER)
    node = "" if state == "NODELESS" else "n"
    ends = {name[1:]: JobEnd(name[1:], state, node=node and f"n{name[1:]}") for name in names}
    return pool.record_ends(ends, now + LATER)


def test_early_ends_on_three_nodes_name_the_jobs_to_explain_them():
    """While nothing has begun anywhere: then no node is at fault."""
    pool = make_pool()
    assert lose_in_queue(pool, "FAILED", 2, 0.0) == ()
    assert lose_in_queue(pool, "FAILED", 1, 100.0) == ("3",)
    assert pool.nodes.names(300.0) == ("n1", "n2", "n3")


def test_a_pool_goes_on_while_a_node_is_left():
    """Once a worker has begun: three bad nodes of four, one job at a time."""
    pool = make_pool(max_jobs=1)
    pool.submit(1)
    pool.join("w1", node="n9")
    pool.release([pool.jobs["w1"]], 1.0)
    pool.record_queue({}, LATER)
    assert [lose_in_queue(pool, "FAILED", 1, 100.0 * n) for n in range(1, 4)] == [()] * 3
    assert pool.submit(1, 400.0).exclude == ("n2", "n3", "n4")


def test_where_all_nodes_are_bad_no_job_is_left_that_can_never_run():
    """Slurm refuses a new one; a queued one, which is kept off them, it holds as BadConstraints."""
    pool = make_pool()
    pool.nodes.avoid_bad(["n1", "n2"], 0.0, is_certain=True)
    _, after = pool.refuse(SlurmRefusedError("Requested node configuration is not available"))
    assert after == Actions(drop=("w1",))
    assert pool.has_no_node
    assert pool.submit(1, 1.0) == Actions()
    pool.has_no_node = False
    pool.submit(1, LATER)
    queue = queue_of(w2="PENDING")
    pool.record_queue(queue, LATER)
    assert not pool.has_no_node
    pool.record_queue({"2": replace(queue["2"], reason="BadConstraints")}, LATER)
    assert pool.has_no_node


def test_a_lost_node_is_used_again_where_no_other_is_left_but_a_bad_one_is_not():
    pool = make_pool()
    pool.nodes.avoid_lost("n1", 0.0)
    pool.nodes.avoid_bad(["n2"], 0.0)
    pool.refuse(SlurmRefusedError("Requested node configuration is not available"))
    assert not pool.has_no_node
    assert pool.submit(1).exclude == ("n2",)


def test_jobs_cancelled_in_the_queue_are_no_failed_starts():
    pool = make_pool()
    assert [lose_in_queue(pool, "CANCELLED", 1, 100.0 * n) for n in range(5)] == [()] * 5
    assert pool.nodes.names(600.0) == ()


def test_an_exit_that_slurm_never_explains_is_a_failed_start():
    """Until its minute is over nothing is submitted: its node might have to be avoided."""
    pool = make_pool()
    pool.submit(1)
    pool.record_queue({}, LATER)
    pool.record_ends({}, LATER + 60)
    assert pool.submit(1, LATER + 60).submit == ()
    pool.record_ends({}, LATER + 61)
    for now in (100.0, 200.0):
        assert lose_in_queue(pool, "NODELESS", 1, now) == (() if now < 200.0 else ("3",))


def test_ends_are_kept_only_for_those_who_wait_for_them():
    pool = make_pool()
    pool.awaited_ends["1"] = None
    end = JobEnd("1", "FAILED")
    pool.record_ends({"1": end, "2": JobEnd("2", "FAILED")}, LATER)
    assert pool.awaited_ends == {"1": end}


def test_a_refusal_before_any_worker_is_final():
    pool = make_pool()
    _, after = pool.refuse(SlurmRefusedError("Invalid qos"))
    assert after == Actions(drop=("w1",))
    assert pool.failure == "Slurm refuses the job: Invalid qos (see --qos)"
    assert pool.submit(1, 100.0).submit == ()


def test_a_controller_that_does_not_answer_is_asked_again_after_a_minute():
    pool = make_pool()
    _, after = pool.refuse(SlurmAwayError("no answer"))
    assert after.notice == ("refusal", "Slurm takes no more jobs for now: no answer")
    assert pool.submit(1, 59.0).submit == ()
    assert pool.submit(1, 60.0).submit == ("w2",)


def test_a_refusal_with_excluded_nodes_is_tried_without():
    pool = make_pool()
    pool.nodes.avoid_lost("n7", 0.0)
    actions, after = pool.refuse(SlurmRefusedError("Requested node configuration"))
    assert actions.exclude == ("n7",)
    assert after == Actions(drop=("w1",))
    assert pool.submit(1) == Actions(submit=("w2",))


NO_NODE = "Requested node configuration is not available"


def test_remembered_nodes_are_used_again_where_no_other_is_left():
    """One line says so."""
    pool = make_pool()
    pool.nodes.avoid_bad(["n1", "n2"], 0.0)
    actions, after = pool.refuse(SlurmRefusedError(NO_NODE))
    assert actions.exclude == ("n1", "n2")
    assert after.notice
    assert "used again: n1, n2" in after.notice[1]
    assert pool.submit(1) == Actions(submit=("w2",))


def test_a_queued_job_that_only_remembered_nodes_could_run_is_replaced():
    pool = make_pool()
    pool.submit(1)
    pool.nodes.avoid_bad(["n1", "n2"], 0.0)
    queue = {"1": replace(queue_of(w1="PENDING")["1"], reason="BadConstraints")}
    actions = pool.record_queue(queue, LATER)
    assert (actions.drop, actions.cancel) == (("w1",), ("1",))
    assert actions.notice
    assert "used again: n1, n2" in actions.notice[1]
    assert not pool.has_no_node
    pool.record_queue({}, LATER + 1)
    assert pool.submit(1, LATER + 2) == Actions(submit=("w2",))


def test_ten_refusals_in_a_row_are_final_even_in_the_middle_of_a_run():
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.release([pool.jobs["w1"]], 0.0)
    pool.record_queue({}, LATER)
    for number in range(10):
        assert not pool.failure
        pool.refuse(SlurmRefusedError("MaxSubmitJobs"), 100.0 * (number + 1))
    assert "MaxSubmitJobs" in pool.failure


def test_an_accepted_job_ends_the_count_of_refusals():
    pool = make_pool()
    refusal = SlurmRefusedError("MaxSubmitJobs")
    for number in range(15):
        pool.submit(1, 100.0 * number)
        pool.join(f"w{2 * number + 1}")
        pool.release(list(pool.jobs.values()), 100.0 * number)
        pool.record_queue({}, 100.0 * number + LATER)
        pool.refuse(refusal, 100.0 * number + LATER)
    assert not pool.failure


def test_no_refusal_is_final_while_a_job_is_there():
    pool = make_pool()
    pool.submit(1)
    pool.waiting_calls = 2
    actions = pool.balance(9, 1.0)
    pool.record_submission({"w2": Submitted(refusal=SlurmRefusedError("limit"))}, (), 1.0)
    assert actions.submit == ("w2",)
    assert not pool.failure
