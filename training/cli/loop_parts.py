"""Snapshots of an experiment's parts, which of a loop depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from training.execution.launcher_process import noted_launcher
from training.jobs.status import WAITING, Snapshot, take_snapshot
from training.plan.experiments import Experiment, experiment_named
from training.records.scene_state import SceneState
from training.system.processes import ProcessId


def snapshots_of(experiment: Experiment) -> list[Snapshot]:
    """Look at what has a table of its own: a loop's stages, or training, generation, evaluation.

    What waits for a stage that has failed is shown as not started.
    """
    shown = experiment.parts if experiment.stages else experiment.kinds
    found = [take_snapshot(part) for part in shown]
    stage = experiment.stage
    if len(found) == 1 and stage and stage.loop != experiment.name and _waits(found[0]):
        same = (experiment.name, experiment.output_subdir)
        of_loop = _loop_snapshots(experiment, stage.loop)
        return [
            each
            for each in of_loop
            if (each.experiment.name, each.experiment.output_subdir) == same
        ] or found
    return with_blocked(found)


def with_blocked(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Return snapshots of a loop's stages in which those that can't start are not queued.

    The process that runs the loop goes on with the other stages; those with jobs of their own in
    Slurm's queue are as Slurm says.
    """
    not_done: set[str] = set()
    found = []
    for snapshot in snapshots:
        stage = snapshot.experiment.stage
        blockers = [name for name in stage.after if name in not_done] if stage else []
        shown = _blocked(snapshot, blockers) if blockers else snapshot
        if stage and _has_failed(shown):
            not_done.add(stage.name)
        found.append(shown)
    return found


def loop_process(experiment: Experiment) -> ProcessId | None:
    """Return the process that runs all stages of the loop that an experiment is a stage of.

    One of another host counts as long as it trains a scene; None where each stage has jobs of its
    own, or none runs.
    """
    stage = experiment.stage
    launcher = noted_launcher(experiment.plan_files[0]) if experiment.plan_files else None
    if stage is None or stage.loop == experiment.name or launcher is None:
        return None
    if launcher.is_of_this_host():
        return launcher if launcher.lives() else None
    snapshots = _loop_snapshots(experiment, stage.loop)
    has_arrays = any(job.stage == "array" for each in snapshots for job in each.queue.jobs)
    is_training = any(each.of("running") for each in snapshots)
    return launcher if is_training and not has_arrays else None


def _loop_snapshots(experiment: Experiment, loop: str) -> list[Snapshot]:
    named = experiment_named(loop, experiment.roots)
    return with_blocked([take_snapshot(part) for part in named.stages])


def _waits(snapshot: Snapshot) -> bool:
    return any(each.cause == WAITING for each in snapshot.scenes)


def _has_failed(snapshot: Snapshot) -> bool:
    """Return whether a stage is over and not done."""
    merging = snapshot.aggregate is not None and snapshot.aggregate.state in {"queued", "running"}
    return not (snapshot.is_complete or merging or snapshot.of("queued", "running"))


def _blocked(snapshot: Snapshot, blockers: Sequence[str]) -> Snapshot:
    why = f"needs {' and '.join(blockers)}"

    def state(each: SceneState) -> SceneState:
        return replace(each, state="not started", cause=why) if each.cause == WAITING else each

    return replace(snapshot, scenes=tuple(map(state, snapshot.scenes)))
