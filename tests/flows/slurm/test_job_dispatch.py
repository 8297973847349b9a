"""How a task's end in a Slurm job becomes a result or an error; with a fake pool and no Dask."""

from __future__ import annotations

import functools
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from page_lab import planned

from flows.runner.dispatch import WorkerLostError
from flows.runner.scene_events import aggregates_again
from flows.runner.tasks import SceneNotDoneError
from flows.slurm import job_dispatch
from flows.slurm.job import Job
from flows.slurm.job_dispatch import SlurmDispatcher
from training.execution.attempt import ending_bound_s
from training.execution.gpu_sharing import GpuSharing
from training.execution.merge import AggregateError
from training.records.outcome import Outcome
from training.records.record import Cause, RecordError
from training.slurm.job_states import JobEnd, JobLocation


class FakePool:
    """A pool with one job, which Slurm says has ended as NODE_FAIL."""

    def __init__(self):
        ends_at = time.monotonic() + 1000
        self.job = Job("w1", 3, 0.0, "12", "busy", "tls://w1", "n1", ends_at)
        self.events = []

    def start(self):
        pass

    def take_adopted(self, _job_id):
        return None

    @contextmanager
    def acquire(self, _stop, scene, sharing):
        sharing.started(scene, sharing.bound_of(scene))
        try:
            yield self.job
        finally:
            self.events.append("given back")

    def wait_for_end(self, job, _stop):
        self.events.append("asked")
        return JobEnd(job.job_id, "NODE_FAIL", node=job.node)

    def avoid_node(self, node):
        self.events.append(f"avoids {node}")


class Setup:
    """A dispatcher, the scene that it runs, and what is seen of both."""

    def __init__(self, monkeypatch, folder, scenes_per_gpu=1):
        (self.scene,) = planned(folder, "a").scenes
        self.pool, self.granted, self.calls = FakePool(), [], []
        self.reconciled = []
        self.dispatcher = SlurmDispatcher(
            self.pool,
            None,
            lambda *granted: self.granted.append(granted),
            GpuSharing(scenes_per_gpu, print),
        )
        self.monkeypatch = monkeypatch

    def outcome(self, status, cause):
        return Outcome(scene="a", status=status, cause=cause, message="", log=self.scene.log)

    def run(self, end, *arguments):
        """Run a call that ends with this result or exception on its worker."""

        def run_on(address, _client, call, _stop, _lost):
            self.calls.append((address, call))
            if isinstance(end, Exception):
                raise end
            return end

        self.monkeypatch.setattr(job_dispatch, "run_on", run_on)
        return self.dispatcher.run(functools.partial(print, *arguments), threading.Event())

    def reconciles_to(self, status, cause):
        outcome = self.outcome(status, cause)

        def reconcile(scene, *_, **__):
            self.reconciled.append(scene)
            return outcome

        self.monkeypatch.setattr(job_dispatch, "reconcile", reconcile)


@pytest.fixture
def setup(monkeypatch, tmp_path):
    return Setup(monkeypatch, tmp_path)


def test_a_result_is_completed_and_names_job_and_log(setup):
    outcome = setup.outcome("done", Cause.OK)
    state = setup.run(outcome, setup.scene)
    assert state.message == f"Slurm job 12 on n1, log {setup.scene.log}"
    assert state.data == outcome
    assert setup.granted == [(setup.scene, JobLocation("12", "n1"))]
    assert setup.calls[0][0] == "tls://w1"
    assert setup.pool.events == ["given back"]


@pytest.mark.parametrize(("left_s", "limit_s"), [(1000, 60), (20, 20), (-5, 1)])
def test_a_scene_ends_before_its_job_does(setup, left_s, limit_s):
    """Its time limit is cut to what its job has left after the time that ending takes."""
    setup.pool.job.ends_at = time.monotonic() + left_s + ending_bound_s(setup.scene) + 0.5
    setup.run(setup.outcome("done", Cause.OK), setup.scene)
    (scene,) = setup.calls[0][1].args
    assert scene == setup.scene.model_copy(update={"time_limit_s": limit_s})


def test_a_scene_that_fails_by_itself_is_raised_without_asking_slurm(setup):
    with pytest.raises(SceneNotDoneError, match="trainer_error"):
        setup.run(SceneNotDoneError(setup.outcome("failed", Cause.TRAINER_ERROR)), setup.scene)
    assert setup.pool.events == ["given back"]
    assert setup.pool.job.scenes_left == 3


@pytest.mark.parametrize("by_worker", [True, False])
def test_a_lost_scene_gets_slurms_cause_and_its_node_is_avoided(setup, by_worker):
    """Whether the worker was lost, or reports that it was told to end; the job runs no other."""
    told = SceneNotDoneError(setup.outcome("failed", Cause.WORKER_LOST))
    setup.reconciles_to("failed", Cause.NODE_FAILURE)
    with pytest.raises(SceneNotDoneError, match="node_failure"):
        setup.run(told if by_worker else WorkerLostError("gone"), setup.scene)
    assert setup.pool.events == ["given back", "asked", "avoids n1"]
    assert setup.pool.job.scenes_left == 0


def test_a_scene_that_slurm_or_a_person_ended_is_no_fault_of_its_node(setup):
    setup.reconciles_to("failed", Cause.PREEMPTED)
    with pytest.raises(SceneNotDoneError, match="preempted"):
        setup.run(WorkerLostError("gone"), setup.scene)
    assert setup.pool.events == ["given back", "asked"]


def test_a_record_that_slurm_completes_knows_how_many_scenes_shared_the_gpu(monkeypatch, tmp_path):
    setup = Setup(monkeypatch, tmp_path, scenes_per_gpu=4)
    setup.reconciles_to("failed", Cause.OUT_OF_MEMORY)
    with pytest.raises(SceneNotDoneError, match="out_of_memory"):
        setup.run(WorkerLostError("gone"), setup.scene)
    assert [scene.scenes_on_gpu for scene in setup.reconciled] == [4]


@pytest.mark.parametrize("holder_job", ["12", "13"])
def test_a_scene_that_a_lost_node_still_trains_is_waited_for(setup, monkeypatch, holder_job):
    """Its process beats on and ends well: no failure. What another job holds is left to that."""
    answers = [setup.outcome("held", None)] * 2 + [setup.outcome("done", Cause.OK)]
    monkeypatch.setattr(job_dispatch, "reconcile", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr(job_dispatch, "LOST_POLL_S", 0.0)
    holder = SimpleNamespace(slurm_job_id=holder_job)
    monkeypatch.setattr(job_dispatch, "holder_of", lambda _: holder)
    if holder_job == "12":
        assert setup.run(WorkerLostError("gone"), setup.scene).data.status == "done"
        return
    with pytest.raises(SceneNotDoneError, match="held"):
        setup.run(WorkerLostError("gone"), setup.scene)


def test_a_claim_that_can_not_be_read_for_a_moment_ends_no_scene(setup, monkeypatch):
    """A file server may be away; who follows it ends the job of a scene that has ended."""

    def unreadable(_):
        raise RecordError("stale file handle")

    monkeypatch.setattr(job_dispatch, "holder_of", unreadable)
    assert job_dispatch._may_still_run_in(setup.scene, setup.pool.job)


def test_a_scene_whose_worker_was_lost_after_its_end_is_done(setup):
    setup.reconciles_to("done", Cause.OK)
    state = setup.run(WorkerLostError("gone"), setup.scene)
    assert (state.type.value, state.data.status) == ("COMPLETED", "done")


@pytest.mark.parametrize(
    "end", [WorkerLostError("gone"), AggregateError("told to end", Cause.WORKER_LOST)]
)
def test_a_lost_aggregate_says_how_slurm_ended_its_job(setup, end):
    """With the cause, by which it is started again, on another node."""
    with pytest.raises(
        WorkerLostError, match="Slurm job 12 on n1: job 12 on n1 ended as NODE_FAIL"
    ) as lost:
        setup.run(end, "no scene")
    assert lost.value.cause is Cause.NODE_FAILURE
    assert setup.pool.events == ["given back", "asked", "avoids n1"]
    assert not setup.granted


def test_an_aggregate_that_failed_by_itself_is_no_matter_of_slurms(setup):
    with pytest.raises(AggregateError):
        setup.run(AggregateError("exit status 1", Cause.TRAINER_ERROR), "no scene")
    assert setup.pool.events == ["given back"]


@pytest.mark.parametrize(
    ("error", "attempts", "again"),
    [
        (WorkerLostError("gone", Cause.NODE_FAILURE), 1, True),
        (WorkerLostError("gone", Cause.PREEMPTED), 2, True),
        (WorkerLostError("gone"), 3, False),
        (WorkerLostError("gone", Cause.CANCELLED), 1, False),
        (AggregateError("its process was killed", Cause.WORKER_LOST), 1, True),
        (AggregateError("exit status 1", Cause.TRAINER_ERROR), 1, False),
        (AggregateError("not started"), 1, False),
        (OSError("disk full"), 1, False),
    ],
)
def test_an_aggregate_starts_again_by_the_policy_of_scenes(tmp_path, error, attempts, again):
    """Two retries; none of a cancelled plan."""
    plan = planned(tmp_path, "a").model_copy(update={"max_retries": 2})
    run, state = SimpleNamespace(run_count=attempts), SimpleNamespace(data=error)
    assert aggregates_again(plan, run, state) is again
    plan.cancelled.parent.mkdir(parents=True, exist_ok=True)
    plan.cancelled.touch()
    assert not aggregates_again(plan, run, state)
