"""Plans, records, starts and ends of scenes, as the page of a flow run gets them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flows.run_page.page import rows_of
from flows.run_page.page_state import Ended, RunPageState, Started
from training.plan.model import Plan, ScenePlan
from training.plan.slurm_model import SlurmPlan
from training.records.outcome import Outcome
from training.records.record import Attempt, Cause, RunRecord, now, status_of, write_record
from training.report.scene_rows import row_of
from training.system.paths import Roots

BEGIN = now()


def roots_in(folder: Path) -> Roots:
    """Roots below a folder."""
    return Roots(
        results_root=folder / "results",
        scene_data_root=folder / "data",
        state_root=folder / "state",
    )


def planned(folder: Path, *names: str, max_retries=0, gpus=("0",), **actions) -> Plan:
    """A plan that runs these scenes, except those with another action: `name="skip"`."""
    roots = roots_in(folder)
    scenes = [
        ScenePlan(
            name=name,
            exp_name="exp",
            scene={},
            scene_file=Path("x"),
            action=actions.get(name, "run"),
            reason="held by process 7 on n3",
            command=("python",),
            environment={},
            output=roots.output_folder(name, "exp"),
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=1,
            cancelled=roots.state_root / "plans" / "p.cancelled",
        )
        for name in names
    ]
    return Plan(
        plan_id="p",
        created=BEGIN,
        exp_name="exp",
        roots=roots,
        scenes=tuple(scenes),
        workers=2,
        gpus=gpus,
        max_retries=max_retries,
        max_failures=0,
    )


def on_slurm(plan: Plan, **more) -> Plan:
    """The plan with Slurm jobs for its scenes; `more`: other values of its `SlurmPlan`."""
    usual = {
        "script": plan.roots.results_root.with_name("site.slurm"),
        "script_text": "#!/bin/sh",
        "light_script_text": "#!/bin/sh",
        "job_name": "exp",
        "time_s": 60,
        "scenes_per_job": 1,
        "parallelism": 1,
    }
    return plan.model_copy(update={"slurm": SlurmPlan(**usual | more)})


def record(
    scene, cause=Cause.OK, minutes=60, *, before_plan=False, message="", scenes_on_gpu=1, **metrics
):
    """Write the record of a scene with one attempt; with cause None the attempt still runs."""
    start = BEGIN + timedelta(minutes=-90 if before_plan else 1)
    attempt = Attempt(
        start=start,
        end=start + timedelta(minutes=minutes) if cause else None,
        host="n1",
        pid=1,
        cause=cause,
        message=message,
        slurm_job_id="12",
        scenes_on_gpu=scenes_on_gpu,
    )
    write_record(
        scene.output,
        RunRecord(
            scene=scene.name,
            exp_name="exp",
            fingerprint="f",
            status=status_of(cause) if cause else "running",
            attempts=(attempt,),
            metrics=metrics,
        ),
    )


def page_state_of(plan):
    return RunPageState(plan, rows_of(plan.scenes), "here")


def end(state, scene, cause=Cause.OK, *, will_retry=False, **record_settings):
    """A scene ends, as its record and its task run report it to the page."""
    record(scene, cause, **record_settings)
    message = record_settings.get("message", "")
    outcome = Outcome(
        scene=scene.name, status=status_of(cause), cause=cause, log=scene.log, message=message
    )
    state.ended(Ended(scene, outcome, will_retry), row_of(scene.name, scene.output))


def started(state, scene, attempt=1, location=None):
    """A scene has started, half an hour ago."""
    state.started(Started(scene, attempt, location, now() - timedelta(minutes=30)))


def states(state, **settings):
    """The page's scenes from top to bottom, each with its state."""
    return [(each.scene, each.state) for each in state.rows(now(), **settings)]
