"""Records, plans and pages of an experiment, to report about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

from training.plan.model import Plan, ScenePlan
from training.records.record import Attempt, Cause, RunRecord, status_of, write_record

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
BEFORE = {"psnr": 16.0, "mpjpe_mm": 60.0}


def attempt(cause, begin=0, minutes=60, *, message="", job="", host="n1"):
    start = START + timedelta(minutes=begin)
    return Attempt(
        start=start,
        end=start + timedelta(minutes=minutes),
        host=host,
        pid=1,
        cause=cause,
        message=message,
        slurm_job_id=job,
    )


def record(
    roots, scene, *attempts, exp_name="exp", output_subdir="", configuration=None, **metrics
):
    """Write the record of a scene; without attempts, one that took an hour and is done."""
    attempts = attempts or (attempt(Cause.OK),)
    status = status_of(attempts[-1].cause)
    made = RunRecord(scene=scene, exp_name=exp_name, fingerprint="f", status=status)
    update = {"attempts": attempts, "metrics": metrics, "configuration": configuration or {}}
    made = made.model_copy(update=update)
    write_record(roots.output_folder(scene, exp_name, output_subdir), made)


def planned(roots, *names, created=START, exp_name="exp", output_subdir=""):
    """Write a plan that was started into the state root."""
    scenes = [
        ScenePlan(
            name=name,
            exp_name=exp_name,
            scene={},
            scene_file=Path("x"),
            action="run",
            reason="",
            command=("python",),
            environment={},
            output=roots.output_folder(name, exp_name, output_subdir),
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=1,
            cancelled=Path("x"),
        )
        for name in names
    ]
    plan = Plan(
        plan_id=f"{exp_name}-{created.strftime('%Y%m%dT%H%M%S.%f')}",
        created=created,
        exp_name=exp_name,
        output_subdir=output_subdir,
        roots=roots,
        scenes=tuple(scenes),
        workers=1,
        gpus=("0",),
        max_retries=0,
        max_failures=0,
    )
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    plan.file.write_text(plan.model_dump_json())
    return plan


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.addresses, self.shown = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.shown += data


def folder(roots):
    return roots.experiment_folder("exp")
