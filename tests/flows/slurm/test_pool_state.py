"""What the pool of Slurm jobs decides; without threads, clock or Slurm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from flows.slurm.job import PoolLimits
from flows.slurm.pool_actions import Actions, Query
from flows.slurm.pool_state import PoolState
from training.slurm.client import SlurmAwayError, SlurmRefusedError
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

WALLTIME_S, MIN_REMAINING_S, EXIT_GRACE_S = 1000.0, 400.0, 60.0
LATER = 10.0
"""After the time in which a job may be missing from Slurm's answer."""


@dataclass
class Submitted:
    job_id: str = ""
    refusal: Exception | None = None


class Pool(PoolState):
    """A state whose jobs are submitted and get workers in one step; job `w1` has id `1`."""

    def submit(self, count, now=0.0, unfinished=9):
        self.waiting_calls = count
        actions = self.balance(unfinished, now)
        accepted = {name: Submitted(name[1:]) for name in actions.submit}
        self.record_submission(accepted, actions.exclude, now)
        return actions

    def refuse(self, refusal, now=0.0):
        self.waiting_calls = 1
        actions = self.balance(9, now)
        refused = {name: Submitted(refusal=refusal) for name in actions.submit}
        return actions, self.record_submission(refused, actions.exclude, now)

    def join(self, name, now=0.0, node="n1", age_s=0.0):
        extra = {"job_id": name[1:], "node": node, "age_s": age_s}
        return self.worker_joined(name, f"tls://{name}", extra, now)

    def states(self):
        return {job.name: job.state for job in self.jobs.values()}


@pytest.fixture
def make_pool():
    def make(max_jobs=2, scenes_per_job=1, scenes_per_gpu=1):
        limits = PoolLimits(
            "w",
            max_jobs,
            max(scenes_per_job, scenes_per_gpu),
            WALLTIME_S,
            MIN_REMAINING_S,
            EXIT_GRACE_S,
            scenes_per_gpu=scenes_per_gpu,
        )
        return Pool(limits)

    return make


def queue_of(**states):
    """Slurm's queue: `queue_of(w1="PENDING")` has the job of worker w1."""
    rows = [
        QueuedJob(name[1:], name[1:], "", None, name, state, "Priority", "", 0, 0, "")
        for name, state in states.items()
    ]
    return {row.job_id: row for row in rows}


@pytest.mark.parametrize(
    ("waiting", "max_jobs", "names"),
    [(0, 2, ()), (1, 2, ("w1",)), (5, 2, ("w1", "w2")), (5, 0, ())],
)
def test_jobs_are_submitted_for_waiting_calls_up_to_the_limit(make_pool, waiting, max_jobs, names):
    assert make_pool(max_jobs).submit(waiting) == Actions(submit=names)


def test_queued_and_free_jobs_are_not_submitted_again(make_pool):
    """Of three waiting calls one can have the free job and one the queued."""
    pool = make_pool(max_jobs=5)
    pool.submit(2)
    pool.join("w1")
    assert pool.submit(3).submit == ("w3",)


def test_a_job_counts_until_slurms_queue_does_not_show_it(make_pool):
    """One that is leaving still holds its node: there is no successor yet."""
    pool = make_pool(max_jobs=1)
    pool.submit(1)
    pool.join("w1")
    job = pool.take_free_job(0.0)
    assert pool.give_back(job, 1.0) == Actions(drop=("w1",))
    assert pool.submit(1, LATER).submit == ()
    pool.record_queue({}, LATER)
    assert pool.submit(1, LATER).submit == ("w2",)


def test_surplus_is_free_jobs_first_then_the_last_queued(make_pool):
    pool = make_pool(max_jobs=4)
    pool.submit(4)
    pool.join("w2")
    assert pool.balance(2, 1.0) == Actions(drop=("w2", "w4"), cancel=("4",))
    assert pool.states() == {"w1": "queued", "w2": "leaving", "w3": "queued", "w4": "leaving"}


def test_busy_jobs_are_no_surplus(make_pool):
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.take_free_job(0.0)
    pool.waiting_calls = 0
    assert pool.balance(0, 1.0) == Actions()


def test_a_job_runs_as_many_scenes_as_it_may(make_pool):
    pool = make_pool(scenes_per_job=2)
    pool.submit(1)
    pool.join("w1")
    assert pool.give_back(pool.take_free_job(0.0), 1.0) == Actions()
    assert pool.states() == {"w1": "free"}
    assert pool.give_back(pool.take_free_job(1.0), 2.0) == Actions(drop=("w1",))


def test_a_job_without_time_for_a_scene_is_not_given_out_and_is_released(make_pool):
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


def test_a_job_that_comes_back_without_time_for_another_scene_is_released(make_pool):
    pool = make_pool(scenes_per_job=2)
    pool.submit(1)
    pool.join("w1")
    assert pool.give_back(pool.take_free_job(0.0), 601.0) == Actions(drop=("w1",))


def test_a_new_job_that_has_waited_for_too_long_is_given_back(make_pool):
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


def test_a_new_job_that_was_long_in_starting_runs_its_first_scene(make_pool):
    """What Slurm gave it is what there is; the scene gets a shorter deadline."""
    pool = make_pool()
    pool.submit(1)
    pool.join("w1", age_s=700.0)
    assert pool.balance(9, 1.0) == Actions()
    assert pool.take_free_job(1.0).name == "w1"


def test_a_free_job_on_an_avoided_node_is_the_last_choice(make_pool):
    pool = make_pool()
    pool.submit(2)
    pool.join("w1", node="n1")
    pool.join("w2", node="n2")
    pool.nodes.avoid_lost("n1", 0.0)
    assert [pool.take_free_job(1.0).node for _ in range(2)] == ["n2", "n1"]


def test_nodes_are_avoided_for_an_hour(make_pool):
    """A job without a node's name says nothing."""
    pool = make_pool()
    for node in ("n7", "n3", ""):
        pool.nodes.avoid_lost(node, 0.0)
    assert pool.nodes.names(3599.0) == ("n3", "n7")
    assert pool.submit(1, 3599.0).exclude == ("n3", "n7")
    assert pool.nodes.names(3601.0) == ()


def test_only_workers_of_queued_jobs_are_wanted(make_pool):
    pool = make_pool()
    pool.submit(1)
    assert pool.join("w1")
    assert not pool.join("w1")
    assert not pool.join("w9")
    assert pool.jobs["w1"].ends_at == WALLTIME_S


def test_a_worker_that_leaves_is_a_lost_job(make_pool):
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


def test_nothing_is_asked_while_all_jobs_have_workers(make_pool):
    pool = make_pool()
    assert pool.next_query(LATER) is None
    pool.submit(1)
    pool.join("w1")
    assert pool.next_query(LATER) is None


def test_the_queue_is_asked_for_every_two_seconds_after_news_and_then_seldom(make_pool):
    """Queued jobs alone: quickly for 30 s after a submission, then every 15 s."""
    pool = make_pool()
    pool.submit(1)
    asked = [second for second in range(100) if pool.next_query(float(second)) == Query()]
    assert asked == [*range(2, 30, 2), 43, 58, 73, 88]


def test_after_a_worker_has_left_the_queue_is_asked_for_soon(make_pool):
    """Once the job has had time to end, however long the last news is ago."""
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    assert pool.next_query(100.0) is None
    pool.throttle.asked_at = 100.0
    pool.worker_left("w1", 102.0)
    assert pool.next_query(102.6) is None
    assert pool.next_query(102.8) == Query()


def test_questions_about_queue_and_ends_take_turns(make_pool):
    pool = make_pool()
    pool.submit(1)
    pool.awaited_ends["12"] = None
    queries = [pool.next_query(second) for second in (10.0, 11.0, 12.0, 14.0)]
    assert queries == [Query(), None, Query(("12",)), Query()]


def test_the_end_of_a_job_that_is_still_there_is_not_asked_for(make_pool):
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.worker_left("w1", 1.0)
    pool.awaited_ends["1"] = None
    assert [pool.next_query(LATER + seconds) for seconds in (0, 2)] == [Query(), Query()]
    pool.record_queue({}, LATER)
    assert pool.next_query(LATER + 4) == Query(("1",))


def test_a_new_job_may_be_missing_from_the_queue(make_pool):
    pool = make_pool()
    pool.submit(1)
    assert pool.record_queue({}, 1.9) == Actions()
    assert pool.record_queue({}, 2.1) == Actions(drop=("w1",))
    assert pool.unexplained_exits == {"1": 2.1}


def test_pending_jobs_are_reported(make_pool):
    """Not at once: Slurm may be about to start them."""
    pool = make_pool()
    pool.submit(2)
    assert pool.record_queue(queue_of(w1="PENDING", w2="PENDING"), 1.0) == Actions()
    actions = pool.record_queue(queue_of(w1="PENDING", w2="RUNNING"), LATER)
    assert actions == Actions(
        notice=("queue", "waiting for Slurm: 1 job in Slurm's queue (Priority)")
    )


def test_a_job_that_outlives_its_worker_is_cancelled(make_pool):
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


def test_early_ends_on_three_nodes_name_the_jobs_to_explain_them(make_pool):
    """While nothing has begun anywhere: then no node is at fault."""
    pool = make_pool()
    assert lose_in_queue(pool, "FAILED", 2, 0.0) == ()
    assert lose_in_queue(pool, "FAILED", 1, 100.0) == ("3",)
    assert pool.nodes.names(300.0) == ("n1", "n2", "n3")


def test_a_pool_goes_on_while_a_node_is_left(make_pool):
    """Once a worker has begun: three bad nodes of four, one job at a time."""
    pool = make_pool(max_jobs=1)
    pool.submit(1)
    pool.join("w1", node="n9")
    pool.release([pool.jobs["w1"]], 1.0)
    pool.record_queue({}, LATER)
    assert [lose_in_queue(pool, "FAILED", 1, 100.0 * n) for n in range(1, 4)] == [()] * 3
    assert pool.submit(1, 400.0).exclude == ("n2", "n3", "n4")


def test_where_all_nodes_are_bad_no_job_is_left_that_can_never_run(make_pool):
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


def test_a_lost_node_is_used_again_where_no_other_is_left_but_a_bad_one_is_not(make_pool):
    pool = make_pool()
    pool.nodes.avoid_lost("n1", 0.0)
    pool.nodes.avoid_bad(["n2"], 0.0)
    pool.refuse(SlurmRefusedError("Requested node configuration is not available"))
    assert not pool.has_no_node
    assert pool.submit(1).exclude == ("n2",)


def test_jobs_cancelled_in_the_queue_are_no_failed_starts(make_pool):
    pool = make_pool()
    assert [lose_in_queue(pool, "CANCELLED", 1, 100.0 * n) for n in range(5)] == [()] * 5
    assert pool.nodes.names(600.0) == ()


def test_an_exit_that_slurm_never_explains_is_a_failed_start(make_pool):
    """Until its minute is over nothing is submitted: its node might have to be avoided."""
    pool = make_pool()
    pool.submit(1)
    pool.record_queue({}, LATER)
    pool.record_ends({}, LATER + 60)
    assert pool.submit(1, LATER + 60).submit == ()
    pool.record_ends({}, LATER + 61)
    for now in (100.0, 200.0):
        assert lose_in_queue(pool, "NODELESS", 1, now) == (() if now < 200.0 else ("3",))


def test_ends_are_kept_only_for_those_who_wait_for_them(make_pool):
    pool = make_pool()
    pool.awaited_ends["1"] = None
    end = JobEnd("1", "FAILED")
    pool.record_ends({"1": end, "2": JobEnd("2", "FAILED")}, LATER)
    assert pool.awaited_ends == {"1": end}


def test_a_refusal_before_any_worker_is_final(make_pool):
    pool = make_pool()
    _, after = pool.refuse(SlurmRefusedError("Invalid qos"))
    assert after == Actions(drop=("w1",))
    assert pool.failure == "Slurm refuses the job: Invalid qos (see --qos)"
    assert pool.submit(1, 100.0).submit == ()


def test_a_controller_that_does_not_answer_is_asked_again_after_a_minute(make_pool):
    pool = make_pool()
    _, after = pool.refuse(SlurmAwayError("no answer"))
    assert after.notice == ("refusal", "Slurm takes no more jobs for now: no answer")
    assert pool.submit(1, 59.0).submit == ()
    assert pool.submit(1, 60.0).submit == ("w2",)


def test_a_refusal_with_excluded_nodes_is_tried_without(make_pool):
    pool = make_pool()
    pool.nodes.avoid_lost("n7", 0.0)
    actions, after = pool.refuse(SlurmRefusedError("Requested node configuration"))
    assert actions.exclude == ("n7",)
    assert after == Actions(drop=("w1",))
    assert pool.submit(1) == Actions(submit=("w2",))


NO_NODE = "Requested node configuration is not available"


def test_remembered_nodes_are_used_again_where_no_other_is_left(make_pool):
    """One line says so."""
    pool = make_pool()
    pool.nodes.avoid_bad(["n1", "n2"], 0.0)
    actions, after = pool.refuse(SlurmRefusedError(NO_NODE))
    assert actions.exclude == ("n1", "n2")
    assert after.notice
    assert "used again: n1, n2" in after.notice[1]
    assert pool.submit(1) == Actions(submit=("w2",))


def test_a_queued_job_that_only_remembered_nodes_could_run_is_replaced(make_pool):
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


def test_ten_refusals_in_a_row_are_final_even_in_the_middle_of_a_run(make_pool):
    pool = make_pool()
    pool.submit(1)
    pool.join("w1")
    pool.release([pool.jobs["w1"]], 0.0)
    pool.record_queue({}, LATER)
    for number in range(10):
        assert not pool.failure
        pool.refuse(SlurmRefusedError("MaxSubmitJobs"), 100.0 * (number + 1))
    assert "MaxSubmitJobs" in pool.failure


def test_an_accepted_job_ends_the_count_of_refusals(make_pool):
    pool = make_pool()
    refusal = SlurmRefusedError("MaxSubmitJobs")
    for number in range(15):
        pool.submit(1, 100.0 * number)
        pool.join(f"w{2 * number + 1}")
        pool.release(list(pool.jobs.values()), 100.0 * number)
        pool.record_queue({}, 100.0 * number + LATER)
        pool.refuse(refusal, 100.0 * number + LATER)
    assert not pool.failure


def test_no_refusal_is_final_while_a_job_is_there(make_pool):
    pool = make_pool()
    pool.submit(1)
    pool.waiting_calls = 2
    actions = pool.balance(9, 1.0)
    pool.record_submission({"w2": Submitted(refusal=SlurmRefusedError("limit"))}, (), 1.0)
    assert actions.submit == ("w2",)
    assert not pool.failure


@pytest.mark.parametrize(
    ("waiting", "unfinished", "names"),
    [(1, 9, ("w1",)), (3, 9, ("w1",)), (4, 9, ("w1", "w2")), (9, 9, ("w1", "w2")), (4, 3, ("w1",))],
)
def test_a_job_is_submitted_for_as_many_scenes_as_share_its_gpu(
    make_pool, waiting, unfinished, names
):
    assert make_pool(scenes_per_gpu=3).submit(waiting, unfinished=unfinished).submit == names


def test_scenes_fill_a_job_before_the_next_one_and_room_in_it_is_no_need_for_another(make_pool):
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


def test_a_job_is_released_with_its_last_scene(make_pool):
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


def test_free_places_are_no_surplus_but_a_job_without_a_scene_is(make_pool):
    pool = make_pool(scenes_per_gpu=3)
    pool.submit(6)
    pool.join("w1")
    pool.take_free_job(0.0, 3)
    pool.waiting_calls = 0
    assert pool.balance(3, 1.0) == Actions(drop=("w2",), cancel=("2",))
    assert pool.balance(1, 1.0) == Actions()


def test_scenes_start_together_in_a_new_job_and_later_only_where_time_is_left(make_pool):
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


def test_a_place_that_is_free_again_at_once_is_no_first_one(make_pool):
    """Three scenes have failed in their first seconds: the time of a fourth must be there."""
    pool = make_pool(scenes_per_job=6, scenes_per_gpu=2)
    pool.submit(2)
    pool.join("w1", age_s=700.0)
    job = pool.take_free_job(0.0, 2)
    pool.take_free_job(1.0, 2)
    pool.give_back(job, 2.0)
    assert pool.take_free_job(2.0, 2) is None


def test_after_out_of_memory_fewer_share_a_job_and_one_that_ran_out_is_alone(make_pool):
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
