"""Decide whether a scene of a plan runs, is done already, or is held by another run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from preprocess.faults import Fault, FaultsError
from training.configuration.fingerprint import is_comparable
from training.plan.model import Action, Plan, ScenePlan
from training.records.claim import holder_of
from training.records.expected_outputs import has_checkpoint, missing_outputs
from training.records.record import RecordError, RunRecord, read_record
from training.records.scene_state import KILLED

DONE_BY_OTHER_CODE = "done by an earlier version of the trainer"


def is_current(record: RunRecord, plan: ScenePlan) -> bool:
    """Return whether a record's outputs are those that the plan would make.

    False for another configuration, for a done scene with --force, and for other code with
    `--rerun-triggers code`.
    """
    return not _reason_to_retrain(record, plan)


def is_of_other_code(record: RunRecord, plan: ScenePlan) -> bool:
    """Return whether an attempt ran another version of the trainer than the plan's."""
    if plan.code_version is None:
        return False
    versions = {each.code_version.digest for each in record.attempts if each.code_version}
    return bool(versions - {plan.code_version.digest}) or not is_comparable(record.fingerprint)


def decide(plan: ScenePlan) -> tuple[Action, str]:
    """Return whether a scene runs, and why, by its record and its claim.

    Raises FaultsError when the record or the claim can't be read.
    """
    try:
        return decide_by(plan, read_record(plan.output))
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error


def decide_by(plan: ScenePlan, record: RunRecord | None) -> tuple[Action, str]:
    """Return the same, given the scene's record as it is now; raises FaultsError.

    The claim of a done scene is not looked at: who trains it again moves its record away first.
    """
    decided: tuple[Action, str] = ("run", "new")
    try:
        if record is not None:
            decided = _decide_by_record(plan, record)
        holder = holder_of(plan.output) if decided[0] == "run" else None
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error
    if holder is not None and not holder.is_ending:
        return "held", f"being trained by {holder}"
    return decided


def other_code_warning(scenes: Iterable[ScenePlan]) -> list[str]:
    """Return a line that counts the done scenes that other code has trained; none without any."""
    count = sum(scene.action == "skip" and scene.reason == DONE_BY_OTHER_CODE for scene in scenes)
    if not count:
        return []
    scenes_were, them = ("scenes were", "them") if count > 1 else ("scene was", "it")
    remedy = f"--rerun-triggers code trains {them} again"
    return [f"{count} {scenes_were} trained by an earlier version of the trainer; {remedy}"]


def has_work(plan: Plan) -> bool:
    """Return whether there is something to do: a scene, the merging of their outputs, a dead flow.

    What that has left in Prefect and in Slurm's queue is brought to an end.
    """
    merges = bool(plan.aggregate and plan.aggregate.command)
    return bool(plan.of("run")) or merges or bool(plan.succeeds)


def is_done(plan: ScenePlan) -> bool:
    """Return whether the record says done, of this configuration, and its outputs exist."""
    try:
        record = read_record(plan.output)
        return record is not None and is_current(record, plan) and _is_complete(record, plan)
    except RecordError:  # unknown is never success
        return False


def _is_complete(record: RunRecord, plan: ScenePlan) -> bool:
    return record.status == "done" and not missing_outputs(plan.output, plan.expected_outputs)


def _decide_by_record(plan: ScenePlan, record: RunRecord) -> tuple[Action, str]:
    reason = _reason_to_retrain(record, plan)
    if reason:
        return "run", reason
    if _is_complete(record, plan):
        return "skip", DONE_BY_OTHER_CODE if is_of_other_code(record, plan) else "done"
    last = "outputs are gone" if record.status == "done" else f"last: {record.cause or KILLED}"
    return "run", f"resumes from its checkpoint, {last}" if has_checkpoint(plan.output) else last


def _reason_to_retrain(record: RunRecord, plan: ScenePlan) -> str:
    """Return why the recorded outputs are set aside and made again; empty where they are not."""
    if not plan.is_configuration_of(record.fingerprint):
        return f"{record.status} with another configuration: again"
    if plan.retrain_other_code and is_of_other_code(record, plan):
        return f"{record.status} with another version of the trainer: again"
    before = plan.retrain_done_before
    if before and record.status == "done" and _last_end(record) < before:
        return "--force: again"
    return ""


def _last_end(record: RunRecord) -> datetime:
    last = record.attempts[-1]
    return last.end or last.start
