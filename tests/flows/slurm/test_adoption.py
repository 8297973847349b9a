"""What a flow takes over from one that has died: decisions, the pool's part, the dispatcher's."""

from __future__ import annotations

import functools
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from page_lab import planned, record

from flows.runner.tasks import SceneNotDoneError
from flows.slurm import adoption, connection, job_dispatch
from flows.slurm.job import Job, PoolLimits
from flows.slurm.job_dispatch import SlurmDispatcher
from flows.slurm.pool_actions import Actions
from flows.slurm.pool_state import PoolState
from training.execution.gpu_sharing import GpuSharing
from training.jobs.experiment_jobs import StageJob
from training.records.record import Cause, read_record, write_record
from training.slurm.job_states import JobEnd
from training.slurm.parsers import QueuedJob

OTHER = "another fingerprint"


@pytest.fixture
def scene(tmp_path):
    (scene,) = planned(tmp_path, "a").scenes
    return scene


@pytest.mark.parametrize(
    ("holder_job", "state", "decision"),
    [
        (None, "ended", "submit"),
        (None, "running", "submit"),
        ("12", "running", "adopt"),
        ("12", "not written yet", "adopt"),
        ("12", "ended", "adopt"),
        ("12", "running another configuration", "retrain"),
        ("13", "running", "hold"),
        ("13", "running another configuration", "hold"),
        ("", "running", "hold"),
    ],
)
def test_what_becomes_of_a_scene_follows_from_its_claim_and_record(
    scene, holder_job, state, decision
):
    """Job 12 is of a flow that has died. Who has only claimed a scene has written no record yet."""
    if state != "not written yet":
        record(scene, Cause.TIMEOUT if state == "ended" else None)
    found = read_record(scene.output)
    if "another" in state:
        found = found.model_copy(update={"fingerprint": OTHER})
    assert adoption.decide(scene, holder_job, found, {"12"}) == decision


def queued_job(job_id, state="RUNNING"):
    return QueuedJob(job_id, job_id, job_id, None, "w", state, "", "n1", 5, 99, "script")


@pytest.mark.parametrize("has_died", [True, False])
def test_scenes_of_a_dead_flow_are_adopted_first_and_those_of_a_living_one_held(
    tmp_path, monkeypatch, has_died
):
    """Of a dead flow what waits in the queue keeps no scene from being submitted."""
    plan = planned(tmp_path, "new", "trains", "done", trains="held", done="skip")
    former = plan.model_copy(update={"plan_id": "former", "scenes_per_gpu": 2})
    rows = [queued_job("12"), queued_job("13", "PENDING")]
    jobs = [StageJob(row, "worker", former, "w1") for row in rows]
    record(plan.scenes[1], None)
    monkeypatch.setattr(adoption, "jobs_with_same_outputs", lambda *_: jobs)
    monkeypatch.setattr(adoption, "flow_has_died", lambda *_: has_died)
    holder = SimpleNamespace(slurm_job_id="12")
    monkeypatch.setattr(
        adoption, "holder_of", lambda output: holder if "trains" in str(output) else None
    )
    plan = adoption.with_queue(plan, rows)
    found = [(scene.name, scene.action, scene.adopted_job) for scene in plan.scenes]
    if has_died:
        assert found == [("trains", "run", "12"), ("new", "run", ""), ("done", "skip", "")]
        assert plan.succeeds == ("former",)
        assert plan.adopted_jobs == {"12": 1}
        assert [scene.scenes_on_gpu for scene in plan.scenes] == [2, 1, 1]
    else:
        assert found == [("new", "held", ""), ("trains", "held", ""), ("done", "skip", "")]
        assert plan.succeeds == ()


# The pool


@pytest.fixture
def pool():
    """Two jobs at most, two scenes in each, of which one is adopted."""
    state = PoolState(PoolLimits("w", 2, 2, 1000.0, 400.0, 60.0, 3600.0))
    state.adopt({"12": 1}, 0.0)
    return state


def join(pool, scenes=1, age_s=10.0, now=100.0):
    extra = {"job_id": "12", "node": "n1", "age_s": age_s, "scenes": scenes}
    return pool.worker_joined("job12", "tls://n1", extra, now)


def test_adopted_jobs_count_against_the_bound_and_are_neither_idle_nor_surplus(pool):
    pool.waiting_calls = 3
    assert pool.balance(4, 0.0) == Actions(submit=("w1",))
    pool.waiting_calls = 0
    assert pool.balance(2, 0.0) == Actions()
    assert pool.take_free_job(0.0) is None


def test_slurm_is_asked_seldom_for_a_job_that_trains_as_it_should(pool):
    """It may take hours."""
    asked = [second for second in range(100) if pool.next_query(float(second))]
    assert asked == [0, 15, 30, 45, 60, 75, 90]


@pytest.mark.parametrize("joins", ["before its task run has noticed", "after"])
def test_the_worker_of_an_adopted_job_joins_once_its_scene_has_ended(pool, joins):
    job = pool.take_adopted("12")
    if joins != "after":
        assert join(pool)
        assert pool.take_free_job(100.0) is None
    assert pool.adopted_scene_ended(job, 100.0, may_join=True) == Actions()
    assert pool.take_adopted("12") is None
    if joins == "after":
        assert join(pool)
    assert pool.take_free_job(100.0) is job
    assert (job.scenes_left, job.ends_at) == (0, 1090.0), "it has its second scene"


def test_a_job_with_several_scenes_joins_when_the_last_has_ended(pool):
    """Scenes that share a GPU; where one was lost with its worker, the job ends."""
    pool.adopt({"13": 2}, 0.0)
    job = pool.take_adopted("13")
    assert pool.adopted_scene_ended(job, 50.0, may_join=True) == Actions()
    assert pool.take_adopted("13") is job
    assert pool.adopted_scene_ended(job, 60.0, may_join=False) == Actions()
    assert (job.state, job.may_join) == ("leaving", False)


def test_an_adopted_job_has_the_time_that_it_was_submitted_with(pool):
    """Not what the next command asks for, 1000 s."""
    job = pool.take_adopted("12")
    extra = {"job_id": "12", "age_s": 10.0, "scenes": 1, "walltime_s": 450.0}
    assert pool.worker_joined("job12", "tls://n1", extra, 100.0)
    assert pool.adopted_scene_ended(job, 145.0, may_join=True) == Actions(drop=("job12",))


@pytest.mark.parametrize("joins", ["before its task run has noticed", "after"])
@pytest.mark.parametrize("why", ["all its scenes", "no time", "it was lost"])
def test_a_worker_that_can_hold_no_further_scene_is_turned_away(pool, why, joins):
    scenes, age_s = 2 if why == "all its scenes" else 1, 900.0 if why == "no time" else 10.0
    if joins != "after":
        assert join(pool, scenes, age_s)
    job = pool.take_adopted("12")
    actions = pool.adopted_scene_ended(job, 100.0, may_join=why != "it was lost")
    if joins == "after":
        assert not join(pool, scenes, age_s)
    else:
        assert actions == Actions(drop=("job12",))
    assert not join(pool)


def test_who_follows_an_adopted_job_learns_that_it_is_gone(pool):
    job = pool.take_adopted("12")
    pool.record_queue({}, 20.0)
    assert job.lost.is_set()
    assert not pool.jobs


def test_adopted_jobs_end_with_the_flow(pool):
    jobs = list(pool.jobs.values())
    assert pool.release(jobs, 1.0) == Actions(drop=("job12",), cancel=("12",))


def test_a_scene_whose_worker_is_lost_may_go_on_as_long_as_without_a_flow(pool):
    """The connection may be all that was lost."""
    pool.waiting_calls = 1
    pool.balance(2, 0.0)
    pool.worker_joined("w1", "tls://n2", {"job_id": "14"}, 0.0)
    pool.worker_left("w1", 0.0)
    queue = {"14": queued_job("14"), "12": queued_job("12")}
    assert pool.record_queue(queue, 3600.0).cancel == ()
    assert pool.record_queue(queue, 3661.0).cancel == ("14",)


# The dispatcher


class FakePool:
    """A pool with an adopted job, 12, and one for whoever asks, 20."""

    def __init__(self):
        self.events, self.slurm_answers = [], True
        self.adopted = Job("job12", 2, 0.0, "12", "adopted")

    def take_adopted(self, job_id):
        job, self.adopted = (self.adopted, None) if job_id == "12" else (None, self.adopted)
        return job

    def end_adopted(self, job):
        self.events.append(f"ends {job.job_id}")
        return self.slurm_answers

    def adopted_scene_ended(self, job, *, may_join):
        self.events.append(f"{job.job_id} may join" if may_join else f"{job.job_id} is done with")

    def wait_for_end(self, job, _stop):
        return JobEnd(job.job_id, "NODE_FAIL", node=job.node)

    def avoid_node(self, node):
        self.events.append(f"avoids {node}")

    def acquire(self, _stop, _scene, _sharing):
        self.events.append("asks for a job")
        raise RuntimeError("no further")


@pytest.fixture
def follow(scene, monkeypatch):
    """Follow a scene that trains in job 12 and then ends as given; return state and events."""
    pool, granted, sharing = FakePool(), [], GpuSharing(2, print)

    def run(cause, now_wanted="f", job_id="12", *, is_gone=False):
        if is_gone:
            pool.adopted = None
        record(scene, cause if is_gone else None)
        looks = iter([True, True, False])
        monkeypatch.setattr(job_dispatch, "FOLLOW_POLL_S", 0.0)

        def still_runs(*_):
            if not (runs := next(looks)):
                record(scene, cause)
                if job_id != "12":
                    written = read_record(scene.output)
                    last = written.attempts[-1].model_copy(update={"slurm_job_id": job_id})
                    write_record(scene.output, written.model_copy(update={"attempts": (last,)}))
            return runs

        monkeypatch.setattr(job_dispatch, "_may_still_run_in", still_runs)
        update = {"adopted_job": "12", "fingerprint": now_wanted, "scenes_on_gpu": 2}
        ours = scene.model_copy(update=update)
        dispatcher = SlurmDispatcher(pool, None, lambda *each: granted.append(each[1]), sharing)
        call = functools.partial(print, ours)
        return dispatcher.run(call, threading.Event())

    seen = {"events": pool.events, "granted": granted, "sharing": sharing}
    return SimpleNamespace(run=run, pool=pool, **seen)


def test_a_task_run_follows_its_scene_in_an_adopted_job(follow):
    state = follow.run(Cause.OK)
    assert (state.type.value, state.data.status) == ("COMPLETED", "done")
    assert state.message.startswith("Slurm job 12 on n1, log ")
    assert follow.events == ["12 may join"]
    assert [str(each) for each in follow.granted] == ["Slurm job 12 on n1"]


def test_a_scene_that_fails_in_an_adopted_job_has_failed(follow):
    with pytest.raises(SceneNotDoneError, match="trainer_error"):
        follow.run(Cause.TRAINER_ERROR)
    assert follow.events == ["12 may join"]


@pytest.mark.parametrize("cause", [Cause.OK, Cause.TRAINER_ERROR])
def test_a_scene_that_has_ended_before_its_turn_is_not_started_again(follow, cause):
    """Its adopted job is gone by then, as in a loop's later stage; its record says how it ended."""
    if cause is Cause.OK:
        assert follow.run(cause, is_gone=True).data.status == "done"
    else:
        with pytest.raises(SceneNotDoneError, match="trainer_error"):
            follow.run(cause, is_gone=True)
    assert "asks for a job" not in follow.events


def test_a_scene_that_ran_out_of_memory_in_an_adopted_job_shared_its_gpu(scene, follow):
    """So it is tried again alone, as any other that did."""
    with pytest.raises(SceneNotDoneError, match="out_of_memory"):
        follow.run(Cause.OUT_OF_MEMORY)
    assert follow.sharing.has_more_memory(scene.name)


def test_a_scene_that_is_lost_with_an_adopted_job_gets_slurms_cause(follow):
    """By which it is tried again, or not."""
    with pytest.raises(SceneNotDoneError, match="node_failure"):
        follow.run(None)
    assert follow.events == ["12 is done with", "avoids n1"]


def test_the_record_of_an_earlier_attempt_says_nothing_of_the_one_in_an_adopted_job(follow):
    """It may die before it has written its own."""
    with pytest.raises(SceneNotDoneError, match="node_failure"):
        follow.run(Cause.TRAINER_ERROR, job_id="11")


def test_slurm_is_told_to_end_another_configuration_until_it_answers(follow):
    follow.pool.slurm_answers = False
    with pytest.raises(RuntimeError, match="no further"):
        follow.run(Cause.CANCELLED, now_wanted=OTHER)
    assert follow.events == ["ends 12", "ends 12", "12 may join", "asks for a job"]


def test_of_a_dead_flow_keys_and_waiting_jobs_are_ended(tmp_path, monkeypatch):
    """Where its guard has died with its machine."""
    plan = planned(tmp_path, "a")
    former = plan.model_copy(update={"plan_id": "former"})
    former.file.parent.mkdir(parents=True)
    former.file.write_text(former.to_json())
    keys = connection.folder_of(former)
    keys.mkdir(parents=True)
    states = {"12": "RUNNING", "13": "PENDING"}
    command = f"script --in-job worker {former.file} w1"
    rows = [replace(queued_job(key, state), command=command) for key, state in states.items()]
    rows.append(queued_job("14", "PENDING"))
    cancelled = []
    monkeypatch.setattr(adoption.client, "my_jobs", lambda: rows)
    monkeypatch.setattr(adoption.client, "cancel", cancelled.extend)
    adoption.end_what_is_left(plan)
    assert (keys.exists(), cancelled) == (True, [])
    adoption.end_what_is_left(plan.model_copy(update={"succeeds": ("former",)}))
    assert (keys.exists(), cancelled) == (False, ["13"])


def test_another_configuration_is_ended_and_the_scene_started_anew(follow):
    with pytest.raises(RuntimeError, match="no further"):
        follow.run(Cause.CANCELLED, now_wanted=OTHER)
    assert follow.events == ["ends 12", "12 may join", "asks for a job"]
    assert not follow.granted
