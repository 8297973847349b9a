"""How an experiment stands: from its records, and one question to Slurm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from training.execution.launcher_process import living_launcher
from training.jobs.experiment_jobs import StageJob, scenes_queued, stage_jobs
from training.jobs.reconcile import reconcile_all
from training.plan.experiments import Experiment
from training.plan.model import LOG, Plan
from training.records.claim import holder_of
from training.records.record import Attempt, Cause, RecordError, RunRecord, now, read_record
from training.records.scene_state import KILLED, UNREADABLE, SceneState, State, seconds_left
from training.slurm import client
from training.slurm.parsers import QueuedJob
from training.system.processes import ProcessId
from training.system.scene_log import latest_progress, progress_text

WAITS = "waits for its turn"


@dataclass(frozen=True)
class Queue:
    """What Slurm says of an experiment's jobs."""

    jobs: tuple[StageJob, ...] = ()
    my_job_ids: frozenset[str] = frozenset()
    """Of all my jobs, those of other experiments too."""
    unknown: str = ""
    """Why the queue is not known; empty when it is, or where nothing is on Slurm."""


@dataclass(frozen=True)
class Snapshot:
    """An experiment at one moment."""

    experiment: Experiment
    scenes: tuple[SceneState, ...]
    queue: Queue
    launchers: tuple[ProcessId, ...]
    """Launchers and flows of this host that live."""
    parallelism: int
    """At most so many scenes run at once."""

    def of(self, *states: State) -> list[SceneState]:
        """The scenes in one of these states."""
        return [each for each in self.scenes if each.state in states]

    @property
    def is_done(self) -> bool:
        """Whether every scene is done and nothing goes on."""
        return len(self.of("done")) == len(self.scenes) and not self.is_active

    @property
    def is_active(self) -> bool:
        """Whether something is queued or running, or may be."""
        if len(self.of("done")) < len(self.scenes) and self.queue.unknown:
            return True
        return bool(self.of("queued", "running") or self.queue.jobs or self.launchers)

    @property
    def seconds_left(self) -> float | None:
        """When the queued and running scenes may be done, as the done ones went; None: no idea."""
        return seconds_left(self.scenes, self.parallelism)


def take_snapshot(experiment: Experiment) -> Snapshot:
    """Look at everything once; records of jobs that ended without a verdict get theirs."""
    plans, names = experiment.plans, experiment.scenes
    queue = ask_queue(plans)
    if not queue.unknown:
        reconcile_all(map(experiment.output, names), queue.my_job_ids, plans)
    looks = {name: _Look.at(name, experiment.output(name)) for name in names}
    jobs = scenes_queued(each for each in queue.jobs if each.stage == "array")
    launchers = {plan.plan_id: living_launcher(plan.file) for plan in plans}
    at_work = {plan_id for plan_id, launcher in launchers.items() if launcher}
    at_work |= {each.plan.plan_id for each in queue.jobs if each.stage in {"worker", "probe"}}
    waiting = _waiting([plan for plan in plans if plan.plan_id in at_work], looks)
    return Snapshot(
        experiment=experiment,
        scenes=tuple(look.state(jobs.get(name), name in waiting) for name, look in looks.items()),
        queue=queue,
        launchers=tuple(filter(None, launchers.values())),
        parallelism=_parallelism(plans),
    )


def ask_queue(plans: Sequence[Plan]) -> Queue:
    """The jobs of these plans, with one query; none where they are of this machine."""
    if plans and not any(plan.slurm for plan in plans):
        return Queue()
    try:
        jobs = client.my_jobs()
    except client.SlurmError as error:
        return Queue(unknown=str(error)) if plans else Queue()
    ids = frozenset(job.job_id for job in jobs)
    return Queue(tuple(stage_jobs(jobs, plans[0])) if plans else (), ids)


@dataclass(frozen=True)
class _Look:
    """What a scene's output folder says."""

    scene: str
    output: Path
    record: RunRecord | None
    fault: str = ""

    @classmethod
    def at(cls, scene: str, output: Path) -> _Look:
        try:
            return cls(scene, output, read_record(output))
        except RecordError:
            return cls(scene, output, None, UNREADABLE)

    @property
    def last(self) -> Attempt | None:
        return self.record.attempts[-1] if self.record and self.record.attempts else None

    def has_ended_since(self, moment: datetime) -> bool:
        """Whether a start after that moment has come to its end."""
        return bool(self.last and self.last.cause and self.last.start >= moment)

    def state(self, job: QueuedJob | None, waits: bool) -> SceneState:
        """Who holds the claim runs; then what is queued; then what the record says."""
        running = self.record is not None and self.record.status == "running"
        if running and holder_of(self.output) is not None:
            return self._running()
        if job is not None and (job.is_pending or not self._has_ended_in(job)):
            return self._queued(job)
        if waits:
            return replace(self._recorded("queued", WAITS), node="", job_id="", elapsed_s=None)
        return self._at_rest()

    def _at_rest(self) -> SceneState:
        if self.fault:
            return SceneState(self.scene, "failed", self.output / LOG, self.fault)
        if self.record is None:
            return SceneState(self.scene, "not started", self.output / LOG)
        if self.record.status == "running":
            return self._recorded("failed", KILLED)
        cause = self.record.cause or ""
        told = {Cause.OK, Cause.CANCELLED}  # by the status already
        return self._recorded(self.record.status, "" if cause in told else cause)

    def _has_ended_in(self, job: QueuedJob) -> bool:
        return bool(self.last and self.last.cause and self.last.slurm_job_id == job.job_id)

    def _running(self) -> SceneState:
        progress = latest_progress(self.output / LOG)
        state = self._recorded("running", progress_text(progress) if progress else "")
        begun = self.last.start if self.last else now()
        return replace(state, elapsed_s=(now() - begun).total_seconds())

    def _queued(self, job: QueuedJob) -> SceneState:
        state: State = "queued" if job.is_pending else "running"
        return SceneState(
            scene=self.scene,
            state=state,
            log=self.output / LOG,
            cause=job.reason if job.is_pending else "starts",
            attempt=len(self.record.attempts) if self.record else 0,
            node=job.node,
            job_id=job.job_id,
            elapsed_s=None if job.is_pending else job.elapsed_s,
        )

    def _recorded(self, state: State, cause: str) -> SceneState:
        return SceneState(
            scene=self.scene,
            state=state,
            log=self.output / LOG,
            cause=cause,
            attempt=len(self.record.attempts) if self.record else 0,
            node=self.last.host if self.last else "",
            job_id=self.last.slurm_job_id if self.last else "",
            elapsed_s=self.record.seconds if self.record else None,
            message=self.last.message if self.last else "",
        )


def _waiting(plans: Iterable[Plan], looks: Mapping[str, _Look]) -> set[str]:
    """The scenes that a launcher or flow at work has not brought to an end yet."""
    return {
        scene.name
        for plan in plans
        if not plan.cancelled.exists() and not plan.enough_failures.exists()
        for scene in plan.of("run")
        if not looks[scene.name].has_ended_since(plan.created)
    }


def _parallelism(plans: Sequence[Plan]) -> int:
    if not plans:
        return 1
    slurm = plans[0].slurm
    return slurm.parallelism if slurm else plans[0].workers
