"""Decide whether a scene of a plan runs, is done already, or is held by another run."""

from __future__ import annotations

from datetime import datetime

from preprocess.faults import Fault, FaultsError
from training.plan.model import Action, ScenePlan
from training.records.claim import holder_of
from training.records.expected_outputs import has_checkpoint, missing_outputs
from training.records.record import RecordError, RunRecord, read_record


def is_current(record: RunRecord, plan: ScenePlan) -> bool:
    """Whether a record's outputs are those that the plan would make, and not to be made anew."""
    if record.fingerprint != plan.fingerprint:
        return False
    again = plan.retrain_done_before
    return not (record.status == "done" and again and _finished(record) < again)


def _finished(record: RunRecord) -> datetime:
    last = record.attempts[-1]
    return last.end or last.start


def decide(plan: ScenePlan) -> tuple[Action, str]:
    """Whether a scene runs, and why; its record and its claim decide.

    Raises FaultsError when the record can't be read.
    """
    holder = holder_of(plan.output)
    if holder is not None and not holder.is_ending:
        return "held", f"being trained by {holder}"
    try:
        record = read_record(plan.output)
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error
    return ("run", "new") if record is None else _decide_by_record(plan, record)


def is_done(plan: ScenePlan) -> bool:
    """Whether the scene's record says done, of this configuration, with its outputs there."""
    try:
        record = read_record(plan.output)
    except RecordError:  # unknown is never success
        return False
    return record is not None and is_current(record, plan) and _is_whole(record, plan)


def _is_whole(record: RunRecord, plan: ScenePlan) -> bool:
    return record.status == "done" and not missing_outputs(plan.output, plan.expected_outputs)


def _decide_by_record(plan: ScenePlan, record: RunRecord) -> tuple[Action, str]:
    if _is_whole(record, plan):
        if is_current(record, plan):
            return "skip", "done"
        forced = record.fingerprint == plan.fingerprint
        return "run", "--force: again" if forced else "done with another configuration: again"
    if record.fingerprint != plan.fingerprint:
        return "run", f"{record.status} with another configuration: anew"
    last = "outputs are gone" if record.status == "done" else f"last: {record.cause or 'killed'}"
    return "run", f"goes on from its checkpoint, {last}" if has_checkpoint(plan.output) else last
