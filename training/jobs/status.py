"""How an experiment stands at one moment: from its records and claims, and one query to Slurm."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.execution.launcher_process import living_launcher
from training.jobs.aggregate_status import aggregate_state, reconcile_aggregate
from training.jobs.controller_status import (
    ControllerState,
    controller_state,
    reconcile_controller,
)
from training.jobs.experiment_jobs import (
    StageJob,
    controller_of,
    jobs_by_scene,
    jobs_of_experiment,
    plans_of_controller,
)
from training.jobs.flow_claim import flow_has_died
from training.jobs.reconcile import reconcile_records
from training.plan.aggregate_state import AggregateState
from training.plan.experiments import MOST_PLANS, Experiment
from training.plan.model import LOG, Plan, ScenePlan
from training.records.claim import Holder
from training.records.record import RecordError, RunRecord, now, read_record
from training.records.scene_state import (
    UNREADABLE,
    SceneState,
    State,
    has_ended_since,
    is_running,
    living_holder,
    recorded_state,
    seconds_left,
)
from training.slurm import client
from training.slurm.bad_nodes import BadNode, bad_nodes
from training.slurm.job_states import CLOCKS_DIFFER
from training.slurm.parsers import QueuedJob
from training.system.memory import garbage_collection_paused
from training.system.processes import ProcessId
from training.system.scene_log import progress_lines, seconds_to_go
from training.system.waiting import awaited

WAITING = "waits for its turn"
"""Shown for a scene that its launcher or flow has not started yet."""
WITHOUT_FLOW = "without a flow"
"""Shown for a scene that trains on although its flow has died."""
OF_FLOWS = frozenset({"worker", "probe"})
"""Stages of the jobs of flows."""


@dataclass(frozen=True)
class Queue:
    """What Slurm says of an experiment's jobs."""

    jobs: tuple[StageJob, ...] = ()
    my_job_ids: frozenset[str] = frozenset()
    """Ids of all jobs of this user, those of other experiments included."""
    unknown: str = ""
    """Why the queue is not known; empty when it is, or where nothing runs on Slurm."""


@dataclass(frozen=True)
class Snapshot:
    """An experiment at one moment."""

    experiment: Experiment
    scenes: tuple[SceneState, ...]
    queue: Queue
    launchers: tuple[ProcessId, ...]
    """Launchers and flows that live on this host."""
    parallelism: int
    """Upper bound for the number of scenes that run at once."""
    aggregate: AggregateState | None = None
    """None where the scenes' outputs are not merged."""
    bad_nodes: tuple[BadNode, ...] = ()
    """Which nodes new jobs would avoid; none where nothing runs on Slurm."""
    controller: ControllerState | None = None
    """None where no job runs the flow itself."""

    def of(self, *states: State) -> list[SceneState]:
        """Return the scenes in one of these states."""
        return [each for each in self.scenes if each.state in states]

    @property
    def is_done(self) -> bool:
        """Whether it is complete and nothing of it is active."""
        return self.is_complete and not self.is_active

    @property
    def is_complete(self) -> bool:
        """Whether scenes and aggregate are done, and every plan was read.

        A stage of a loop is complete while the process that runs the loop goes on.
        """
        if self.experiment.warnings or (self.aggregate and not self.aggregate.is_done):
            return False
        return len(self.of("done")) == len(self.scenes)

    @property
    def is_active(self) -> bool:
        """Whether something is queued or running, or may be because Slurm does not say."""
        if len(self.of("done")) < len(self.scenes) and self.queue.unknown:
            return True
        if self.aggregate and self.aggregate.state in {"queued", "running"}:
            return True
        jobs = any(not each.job.can_never_start for each in self.queue.jobs)
        return bool(self.of("queued", "running") or jobs or self.launchers)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until all scenes are done, see `scene_state.seconds_left`."""
        return seconds_left(self.scenes, self.parallelism)


def take_snapshot(experiment: Experiment) -> Snapshot:
    """Look at records, claims, launchers and Slurm's queue once, and return how scenes stand.

    Reconciles first: an attempt whose job ended without a recorded cause gets one.
    """
    queue = ask_queue(experiment.plans)
    experiment = _with_plans_at_work(experiment, queue)
    plans, looks = experiment.plans, _looks(experiment)
    if not queue.unknown:
        records = {each.output: each.record for each in looks.values() if not each.fault}
        changed = set(reconcile_records(records, queue.my_job_ids, plans))
        again = [each for each in looks.values() if each.output in changed]
        looks |= {each.scene: _Look.at(each.scene, each.output) for each in again}
        reconcile_aggregate(plans, queue.my_job_ids)
        reconcile_controller(plans, queue.my_job_ids)
    return _snapshot(experiment, queue, looks)


def _with_plans_at_work(experiment: Experiment, queue: Queue) -> Experiment:
    """Return the experiment with the plans that a living process or queued jobs are of, too."""
    running = filter(living_launcher, experiment.plan_files)
    queued = (each.plan.file for each in queue.jobs)
    return replace(experiment, at_work=frozenset((*running, *queued)))


def survey(experiments: Iterable[Experiment]) -> list[Snapshot]:
    """Return how many experiments stand, with one query to Slurm and records as they are.

    Of each experiment the newest plan counts, of a loop's that of its first stage, and those that
    a process of this host runs.
    """
    chosen = [_with_newest_plans(each) for each in experiments]
    plans = [plan for each in chosen for plan in each.plans[:1]]
    queue = _my_jobs() if any(plan.slurm for plan in plans) else _MyJobs()
    return [_snapshot(each, queue.of(each.plans), _looks(each)) for each in chosen]


def _with_newest_plans(experiment: Experiment) -> Experiment:
    counting = _first_stage(experiment) or experiment.plan_files[:1]
    others = (each for each in experiment.plan_files[:MOST_PLANS] if each not in counting)
    return replace(experiment, plan_files=(*counting, *filter(living_launcher, others)))


def _first_stage(experiment: Experiment) -> tuple[Path, ...]:
    """Return the file of the first stage's plan, where the newest plan is of this loop."""
    newest = replace(experiment, plan_files=experiment.plan_files[:1]).plans
    stage = newest[0].stage if newest else None
    if stage is None or stage.loop != experiment.name:
        return ()
    return tuple(each for each in experiment.plan_files if each.stem == stage.plans[0])


def _looks(experiment: Experiment) -> dict[str, _Look]:
    with garbage_collection_paused():
        return {name: _Look.at(name, experiment.output(name)) for name in experiment.scenes}


def _snapshot(experiment: Experiment, queue: Queue, looks: Mapping[str, _Look]) -> Snapshot:
    plans, current = experiment.plans, experiment.current_plans
    arrays = (each for each in queue.jobs if each.stage == "array")
    jobs = jobs_by_scene(
        each for each in arrays if each.plan.output_subdir == experiment.output_subdir
    )
    launchers = {plan.plan_id: living_launcher(plan.file) for plan in plans}
    flows = {each.plan.plan_id: each.plan for each in queue.jobs if each.stage in OF_FLOWS}
    controllers = [each for each in queue.jobs if each.stage == "controller"]
    controlled = frozenset().union(*(plans_of_controller(each.plan) for each in controllers))
    dead = {key for key, plan in flows.items() if flow_has_died(plan, queue.my_job_ids)}
    dead |= controlled if any(each.job.is_pending for each in controllers) else set()
    orphaned = {each.job.job_id for each in queue.jobs if each.plan.plan_id in dead}
    at_work = {plan_id for plan_id, launcher in launchers.items() if launcher}
    at_work |= flows.keys() - dead | controlled
    waiting = _waiting([plan for plan in current if plan.plan_id in at_work], looks)
    states = (
        _with_flow(look.state(jobs.get(name), name in waiting), orphaned)
        for name, look in looks.items()
    )
    times = {each.name: each.expected_s for each in _newest_scenes(current) if each.expected_s}
    scenes = tuple(_with_expected_time(each, times) for each in states)
    return Snapshot(
        experiment=experiment,
        scenes=scenes,
        queue=queue,
        launchers=tuple(filter(None, launchers.values())),
        parallelism=_parallelism(plans),
        aggregate=aggregate_state(plans, queue.jobs, scenes, at_work=at_work),
        bad_nodes=_bad_nodes(plans),
        controller=controller_state(plans, queue.jobs, unknown=bool(queue.unknown)),
    )


def _bad_nodes(plans: Sequence[Plan]) -> tuple[BadNode, ...]:
    on_slurm = any(plan.slurm for plan in plans)
    return bad_nodes(plans[0].roots.state_root) if on_slurm else ()


def _with_flow(state: SceneState, orphaned: Collection[str]) -> SceneState:
    """Return the state with the word for a scene that trains in a job whose flow has died."""
    is_orphan = state.state == "running" and state.job_id in orphaned
    return replace(state, cause=WITHOUT_FLOW) if is_orphan else state


def _newest_scenes(plans: Sequence[Plan]) -> Iterator[ScenePlan]:
    """Yield the scenes of plans, newest first, as the oldest first: the newest count last."""
    for plan in reversed(plans):
        yield from plan.scenes


def _with_expected_time(state: SceneState, times: Mapping[str, float]) -> SceneState:
    expected_s = times.get(state.scene)
    return replace(state, expected_s=expected_s) if expected_s else state


def ask_queue(plans: Sequence[Plan]) -> Queue:
    """Return the queued jobs of these plans with one query; none where no plan is for Slurm."""
    if plans and not any(plan.slurm for plan in plans):
        return Queue()
    queue = _my_jobs().of(plans)
    if not plans:
        return queue
    # An experiment may have jobs of other stages of a loop too, or of another run mode.
    ids, subdirs = {plan.plan_id for plan in plans}, {plan.output_subdir for plan in plans}
    jobs = (
        each
        for each in queue.jobs
        if each.stage == "controller"
        or (each.plan.plan_id in ids if plans[0].stage else each.plan.output_subdir in subdirs)
    )
    return replace(queue, jobs=tuple(jobs))


@dataclass(frozen=True)
class _MyJobs:
    """One answer of Slurm's: all jobs of this user."""

    jobs: tuple[QueuedJob, ...] = ()
    unknown: str = ""

    def of(self, plans: Sequence[Plan]) -> Queue:
        """Return what it says of the experiment that these plans are of."""
        if not plans:
            return Queue(my_job_ids=self._ids)
        if self.unknown:
            return Queue(unknown=self.unknown if any(plan.slurm for plan in plans) else "")
        jobs = jobs_of_experiment(self.jobs, plans[0])
        controller = controller_of(self.jobs, plans)
        others = [each for each in jobs if each.stage != "controller"]
        return Queue((*([controller] if controller else []), *others), self._ids)

    @property
    def _ids(self) -> frozenset[str]:
        return frozenset(job.job_id for job in self.jobs)


def _my_jobs() -> _MyJobs:
    try:
        with awaited("Slurm says what it has queued (squeue)"):
            return _MyJobs(tuple(client.my_jobs()))
    except client.SlurmError as error:
        return _MyJobs(unknown=str(error))


@dataclass(frozen=True)
class _Look:
    """What a scene's output folder says."""

    scene: str
    output: Path
    record: RunRecord | None = None
    holder: Holder | None = None
    """The process that runs the scene, if one does."""
    fault: str = ""
    """Why record or claim can't be read."""

    @classmethod
    def at(cls, scene: str, output: Path) -> _Look:
        """Read a scene's record and, where it says running, its claim."""
        try:
            record = read_record(output)
            holder = living_holder(output, record)
            # Nobody looks at the configuration here, which is most of a record.
            record = record and record.model_copy(update={"configuration": {}})
            return cls(scene, output, record, holder)
        except RecordError as error:
            return cls(scene, output, fault=str(error))

    def state(self, job: QueuedJob | None, is_waiting: bool) -> SceneState:
        """Return how the scene stands: who holds its claim runs, then the queue, then the record.

        `job` trains the scene or is going to. `is_waiting`: a launcher or flow is going to.
        """
        if is_running(self.record, self.holder):
            return self._running(self.record)
        if job is not None and (job.is_pending or not self._has_ended_in(job)):
            return self._in_job(job)
        if is_waiting:
            recorded = replace(self._recorded(), state="queued", cause=WAITING)
            return replace(recorded, node="", job_id="", elapsed_s=None)
        return self._recorded()

    def _running(self, record: RunRecord) -> SceneState:
        lines = progress_lines(self.output / LOG)
        start = record.last.start if record.last else now()
        elapsed_s = (now() - start).total_seconds()
        return replace(
            self._recorded(),
            elapsed_s=elapsed_s,
            progress=lines[-1] if lines else {},
            left_s=seconds_to_go(lines, elapsed_s, len(record.attempts)),
        )

    def _has_ended_in(self, job: QueuedJob) -> bool:
        last = self.record.last if self.record else None
        if not (last and last.cause and last.slurm_job_id == job.job_id):
            return False
        return job.start is None or job.start <= last.start + CLOCKS_DIFFER  # else of an older job

    def _in_job(self, job: QueuedJob) -> SceneState:
        return replace(
            self._recorded(),
            state="queued" if job.is_pending else "running",
            cause=job.reason if job.is_pending else "starts",
            node=job.node,
            job_id=job.job_id,
            elapsed_s=None if job.is_pending else job.elapsed_s,
            message="",
        )

    def _recorded(self) -> SceneState:
        log = self.output / LOG
        if self.fault:
            return SceneState(self.scene, "failed", log, UNREADABLE, message=self.fault)
        return recorded_state(self.scene, log, self.record, self.holder)


def _waiting(plans: Iterable[Plan], looks: Mapping[str, _Look]) -> set[str]:
    """Return the scenes of plans at work that have not ended since their plan was made."""
    return {
        scene.name
        for plan in plans
        if not plan.cancelled.exists() and not plan.enough_failures.exists()
        for scene in plan.of("run")
        if scene.name in looks and not has_ended_since(looks[scene.name].record, plan.created)
    }


def _parallelism(plans: Sequence[Plan]) -> int:
    if not plans:
        return 1
    slurm = plans[0].slurm
    return slurm.parallelism if slurm else plans[0].workers
