"""One attempt of a scene, in its supervisor: claim the folder, run the trainer, record the end."""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

from preprocess.json_file import read_json
from training.configuration.configuration_file import (
    is_of_own_trainer,
    write_recorded_configuration,
)
from training.execution import end_cause
from training.execution.trainer_process import Limits, TrainerEnd, run_trainer
from training.execution.warm_start.warm_trainer import WarmStarts
from training.plan.command_lines import runnable
from training.plan.model import ENDING_SLACK_S, ScenePlan
from training.plan.scene_decision import is_current
from training.records.claim import SILENT_AFTER_S, Claim, ClaimHeldError, EndedJob, claimed
from training.records.expected_outputs import (
    has_checkpoint,
    missing_outputs,
    read_metrics,
    set_aside,
    set_stale_aside,
)
from training.records.outcome import Outcome, outcome_of
from training.records.record import (
    Attempt,
    Cause,
    RecordError,
    RunRecord,
    now,
    read_record,
    write_record,
)
from training.records.spare_room import give_room, keep_room
from training.records.trainer_exit import complete, forget_exit, note_exit
from training.snapshots.start import SourcesChangedError, from_sources, sources_line
from training.system.claim_file import VARIABLE as CLAIM_VARIABLE
from training.system.claim_file import ClaimLostError
from training.system.gpus import VISIBLE_GPUS, with_device_order
from training.system.job_environment import is_started_again, node_name, own_job_id
from training.system.processes import kill_marked, program_of
from training.system.versions import recorded_versions

FROZEN_SCENE = "scene.json"
UNTOLD = "its supervisor died, or the disk did not take how it ended"


def ending_bound_s(plan: ScenePlan) -> float:
    """Return the seconds within which a stopped attempt has ended and its record says so."""
    return plan.kill_grace_s + ENDING_SLACK_S


def run_attempt(plan: ScenePlan, launcher: int, warm: WarmStarts | None = None) -> Outcome:
    """Claim the scene for the launcher with that process number, run its trainer, record the end.

    `warm`: starts the trainer if the plan allows it. Never raises for what the disk or the trainer
    does: the outcome says it.
    """
    try:
        gpu = plan.environment.get(VISIBLE_GPUS, "")
        with claimed_by_own_job(plan.output, launcher, ending_bound_s(plan), gpu) as claim:
            return _run_claimed(plan, claim, _described(launcher), warm)
    except (ClaimHeldError, ClaimLostError) as error:
        return Outcome(scene=plan.name, status="held", message=str(error), log=plan.log)
    except RecordError as error:
        return _failed(plan, Cause.NO_OUTPUT, str(error))
    except OSError as error:
        return _failed(plan, Cause.NO_OUTPUT, f"the disk refused: {error}")


def claimed_by_own_job(
    output: Path, launcher: int, ending_s: float, gpu: str = ""
) -> AbstractContextManager[Claim]:
    """Return `claimed` for this process; a requeued job inherits the claim of its previous run.

    Entering it raises ClaimHeldError, RecordError and OSError.
    """
    if not is_started_again():
        return claimed(output, launcher, ending_s, gpu=gpu)
    previous_run = EndedJob(own_job_id(), SILENT_AFTER_S)
    waits_s = max(ending_s, SILENT_AFTER_S + 1)
    return claimed(output, launcher, waits_s, ended_job=previous_run, gpu=gpu)


def _run_claimed(plan: ScenePlan, claim: Claim, launcher: str, warm: WarmStarts | None) -> Outcome:
    record = _record_to_continue(plan, claim)
    if record.status == "done":
        return outcome_of(plan.name, record, plan.log, has_checkpoint(plan.output))
    if not has_checkpoint(plan.output):
        set_stale_aside(plan.output, plan.expected_outputs)
    record = record.model_copy(update={"fingerprint": plan.current_fingerprint})  # maybe former
    record = record.started(_new_attempt(plan))
    write_record(plan.output, record)
    keep_room(plan.output)
    if not is_of_own_trainer(plan.configuration):  # which writes all of its own
        write_recorded_configuration(plan.output, plan.configuration)
    record = _train(plan, claim, record, launcher, warm)
    claim.check()
    give_room(plan.output)  # also where no trainer was started
    write_record(plan.output, record)
    forget_exit(plan.output)
    return outcome_of(plan.name, record, plan.log, has_checkpoint(plan.output))


def _record_to_continue(plan: ScenePlan, claim: Claim) -> RunRecord:
    """Return the scene's record, a new one after setting outputs of another configuration aside."""
    record = complete(plan.output, read_record(plan.output))
    if record is not None and record.status == "running":
        _end_leftovers(claim)
    if record is not None and not is_current(record, plan):
        set_aside(plan.output)
        record = None
    if record is None:
        return RunRecord(
            scene=plan.scene_name,
            exp_name=plan.exp_name,
            fingerprint=plan.current_fingerprint,
            configuration=plan.configuration,
            status="running",
        )
    if record.status == "done" and missing_outputs(plan.output, plan.expected_outputs):
        return record.model_copy(update={"status": "failed"})
    if record.status == "running":  # we hold its claim, so its supervisor is dead
        return record.ended(Cause.WORKER_LOST, None, UNTOLD)
    return record


def _end_leftovers(claim: Claim) -> None:
    """Kill what the trainer of a dead supervisor had started; the trainer died with that."""
    kill_marked(CLAIM_VARIABLE, claim.is_of_predecessor)


def _new_attempt(plan: ScenePlan) -> Attempt:
    return Attempt(
        start=now(),
        host=node_name(),
        pid=os.getpid(),
        slurm_job_id=own_job_id(),
        gpu=plan.environment.get(VISIBLE_GPUS, ""),
        scenes_on_gpu=plan.scenes_on_gpu,
        code_version=plan.code_version,
        snapshot=plan.sources.digest if plan.sources and plan.sources.is_kept else "",
        command=plan.noted_command,
        launch_command=plan.launch_command,
        versions=recorded_versions(),
    )


def _described(launcher: int) -> str:
    """Return `process 12 (flows.train)`, to name it when it is gone."""
    program = program_of(launcher)
    return f"process {launcher}" + (f" ({program})" if program else "")


def _train(
    plan: ScenePlan, claim: Claim, record: RunRecord, launcher: str, warm: WarmStarts | None
) -> RunRecord:
    """Run the trainer to its end; return the record with the attempt's cause and metrics.

    `launcher` names what had launched it.
    """
    kills_before = end_cause.kernel_kills()
    try:
        _write_heading(plan, len(record.attempts))
        end = _run_trainer(plan, claim, record, warm)
    except ClaimLostError:
        raise
    except SourcesChangedError as error:
        return record.ended(Cause.CONFIG, None, str(error))
    except OSError as error:
        return record.ended(Cause.TRAINER_ERROR, None, f"the trainer can't be started: {error}")
    remark = give_room(plan.output)
    missing = missing_outputs(plan.output, plan.expected_outputs)
    killed = end_cause.kernel_kills() > kills_before
    is_cancelled = plan.cancelled.exists()
    context = end_cause.EndContext(
        killed, is_cancelled, own_job_id(), node_name(), launcher, plan.scenes_on_gpu
    )
    cause, message = end_cause.cause_of(end, missing, plan.log, context)
    if cause is not Cause.OK:
        message += remark
    return record.ended(cause, end.exit_status, message, read_metrics(plan.output))


def _run_trainer(
    plan: ScenePlan, claim: Claim, record: RunRecord, warm: WarmStarts | None
) -> TrainerEnd:
    def on_end(end: TrainerEnd) -> None:
        if end.exit_status == 0 and not end.stopped:
            with contextlib.suppress(OSError):  # the record says so too, a moment later
                claim.check()
                note_exit(plan.output, record, plan.expected_outputs)

    environment = {
        **with_device_order({**os.environ, **plan.environment}),
        CLAIM_VARIABLE: str(claim.path),
    }
    if plan.scene:  # what runs once for an experiment has none
        environment["TS_SCENE_FILE"] = str(_scene_file(plan))
    command, environment = from_sources(plan.sources, runnable(plan.command), environment)
    limits = Limits(plan.time_limit_s, plan.kill_grace_s)
    starts = warm.for_script(plan.command[1]) if warm and plan.warm_start else None
    return run_trainer(
        command, environment, plan.log, limits, claim.heartbeat, on_end=on_end, starts=starts
    )


def _scene_file(plan: ScenePlan) -> Path:
    """Return the registry's scene file, or a copy of the plan's if the file has changed since."""
    with contextlib.suppress(OSError, ValueError):
        if read_json(plan.scene_file) == plan.scene:
            return plan.scene_file
    frozen = plan.output / FROZEN_SCENE
    frozen.write_text(json.dumps(plan.scene, indent=1), encoding="utf-8")
    return frozen


def _write_heading(plan: ScenePlan, attempt: int) -> None:
    time = now().isoformat(timespec="seconds")
    job = f" in Slurm job {own_job_id()}" if own_job_id() else ""
    with plan.log.open("a", encoding="utf-8") as log:
        log.write(f"\n=== attempt {attempt} on {node_name()}{job} at {time}\n")
        log.write(f"=== {plan.noted_command}\n")
        if line := sources_line(plan.sources):
            log.write(f"=== {line}\n")


def _failed(plan: ScenePlan, cause: Cause, message: str) -> Outcome:
    return Outcome(scene=plan.name, status="failed", cause=cause, message=message, log=plan.log)


def close_record(plan: ScenePlan, launcher: int, cause: Cause, message: str) -> Outcome:
    """Record the end of an attempt whose supervisor was killed before it could; return the outcome.

    Where the record can't be written, the outcome's message says so.
    """
    try:
        with claimed(plan.output, launcher, ending_bound_s(plan)) as claim:
            record = complete(plan.output, read_record(plan.output))
            if record is not None and record.status == "running":
                _end_leftovers(claim)
                write_record(plan.output, record.ended(cause, None, message))
            elif record is not None and record.status == "done":
                return outcome_of(plan.name, record, plan.log, has_checkpoint(plan.output))
    except (ClaimHeldError, RecordError, OSError) as error:
        message = f"{message}; its record can't be written: {error}"
    return _failed(plan, cause, message)
