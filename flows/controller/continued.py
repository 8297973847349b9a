"""The plans of a controller's later start: what is left of those that were submitted.

They have ids of their own, so that jobs, keys and guards of an earlier start are not taken for
theirs, and the time at which the first were made, so that attempts since then count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from training.plan.aggregate_state import recorded_aggregate
from training.plan.make_plan import new_plan_id
from training.plan.model import Action, Plan, ScenePlan
from training.plan.scene_decision import decide
from training.records.expected_outputs import has_checkpoint
from training.records.outcome import outcome_of
from training.records.record import Attempt, Cause, RecordError, RunRecord, read_record
from training.records.retry_policy import should_retry
from training.records.scene_state import began_since, has_ended_since


def new_ids(plans: Sequence[Plan]) -> dict[str, str]:
    """Return another id for each plan, by the plan's own."""
    return {plan.plan_id: new_plan_id(plan.exp_name) for plan in plans}


def continued_all(plans: Sequence[Plan], ids: Mapping[str, str]) -> list[Plan]:
    """Return the plans of a later start; what a loop's stage has merged is not merged again.

    Raises FaultsError as `continued`.
    """
    found: list[Plan] = []
    for plan in (continued(each, ids) for each in plans):
        found.append(plan)
        nothing_runs = all(scene.action == "skip" for each in found for scene in each.scenes)
        if plan.stage and nothing_runs and _is_merged(plan):
            found[-1] = plan.model_copy(update={"aggregate": None})
    return found


def _is_merged(plan: Plan) -> bool:
    state = recorded_aggregate([plan])
    return state is not None and state.is_done


def continued(plan: Plan, ids: Mapping[str, str]) -> Plan:
    """Return a plan under its id of a later start, with the scenes that are still to run.

    Raises FaultsError for a record or claim that can't be read.
    """
    stage = plan.stage
    if stage is not None:
        of_loop = tuple(ids.get(each, each) for each in stage.plans)
        stage = stage.model_copy(update={"plans": of_loop})
    renamed = plan.model_copy(update={"plan_id": ids[plan.plan_id], "stage": stage, "succeeds": ()})
    scenes = tuple(_left(scene, renamed) for scene in plan.scenes)
    return renamed.model_copy(update={"scenes": scenes})


def _left(scene: ScenePlan, plan: Plan) -> ScenePlan:
    """Return a scene as it is to run, if it is; one that was skipped or held at first stays so."""
    record = _record_or_none(scene) if scene.action == "run" else None
    action, reason = _decided(scene, record, plan)
    ended = _ended_since(record, plan.created)
    of_this_start: dict[str, Any] = {
        "action": action,
        "reason": reason,
        "adopted_job": "",
        "cancelled": plan.cancelled,
        "former_attempts": len(ended),
        "alone_on_gpu": any(map(_ran_out_beside_others, ended)),
    }
    return scene.model_copy(update=of_this_start)


def _decided(scene: ScenePlan, record: RunRecord | None, plan: Plan) -> tuple[Action, str]:
    if scene.action != "run":
        return scene.action, scene.reason
    if record is not None and is_final(scene, record, plan):
        return "skip", str(record.cause if record.status == "failed" else record.status)
    return decide(scene)


def is_final(scene: ScenePlan, record: RunRecord, plan: Plan) -> bool:
    """Return whether a scene has ended since a plan was made so that it is not started again."""
    if not has_ended_since(record, plan.created):
        return False
    return not should_retry(
        outcome_of(scene.name, record, scene.log, has_checkpoint(scene.output)),
        len(_ended_since(record, plan.created)),
        plan.max_retries,
        has_more_memory=_ran_out_beside_others(record.attempts[-1]),
    )


def _ended_since(record: RunRecord | None, moment: datetime) -> list[Attempt]:
    """Return the attempts that began at that moment or later and have ended."""
    attempts = record.attempts if record else ()
    return [each for each in attempts if each.cause and began_since(each, moment)]


def _ran_out_beside_others(attempt: Attempt) -> bool:
    return attempt.cause is Cause.OUT_OF_MEMORY and attempt.scenes_on_gpu > 1


def _record_or_none(scene: ScenePlan) -> RunRecord | None:
    try:
        return read_record(scene.output)
    except RecordError:  # `decide` says what is wrong with it
        return None
