"""What `python -m flows.train` does without starting a flow run."""

from __future__ import annotations

import pytest
from page_lab import planned
from scene_files import write_scene

from flows import train
from training.execution.run_scene import mark_cancelled
from training.plan.model import AggregatePlan
from training.plan.scene_decision import has_work
from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.slurm import client

DONE, USAGE = 0, 2


def test_a_dry_run_ends_with_2_where_a_scene_can_not_run(lab, capsys):
    """It shows the whole plan first, then what a launch would refuse."""
    lab.add_scene("a_1")
    flags = ["--exp-name", "exp", "--scenes-dir", str(lab.scenes_dir), "--run-all", "--dry-run"]
    roots = [f"--{root}-root={lab.root / root}" for root in ("results", "state", "scene-data")]
    assert train.main([*flags, *roots]) == USAGE
    shown = capsys.readouterr()
    assert "# a_1: run (new)" in shown.out
    assert "nothing was started:\n" in shown.err
    assert str(lab.root / "scene-data") in shown.err
    assert not (lab.root / "state").exists()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (client.SlurmAwayError("no controller"), (DONE, "warning: Slurm does not answer, so")),
        (client.SlurmRefusedError("Invalid partition"), (USAGE, "Invalid partition")),
    ],
)
def test_a_dry_run_needs_no_slurm_that_answers(lab, capsys, monkeypatch, answer, expected):
    """Its plan and its jobs do not depend on it; what Slurm refuses is a fault."""

    def asked():
        raise answer

    monkeypatch.setattr(client, "my_jobs", asked)
    monkeypatch.setattr("flows.slurm.preflight.own_address", lambda _: "10.0.0.1")
    lab.add_scene("a_1")
    write_scene(lab.root / "scene-data" / "a_1")
    flags = ["--exp-name", "exp", "--scenes-dir", str(lab.scenes_dir), "--run-all", "--dry-run"]
    roots = [f"--{root}-root={lab.root / root}" for root in ("results", "state", "scene-data")]
    status, said = expected
    assert train.main([*flags, *roots, "--cluster", "slurm"]) == status
    shown = capsys.readouterr()
    assert "# a_1: run (new)" in shown.out
    assert said in shown.out + shown.err


@pytest.mark.parametrize(
    ("actions", "command", "expected"),
    [({}, (), True), ({"a": "skip"}, (), False), ({"a": "held"}, ("merge",), True)],
)
def test_there_is_work_where_a_scene_runs_or_outputs_are_merged(
    tmp_path, actions, command, expected
):
    aggregate = AggregatePlan(log=tmp_path / "log", job_name="j", time_limit_s=1, command=command)
    plan = planned(tmp_path, "a", **actions).model_copy(update={"aggregate": aggregate})
    assert has_work(plan) is expected


def test_a_stage_that_never_started_has_not_begun(tmp_path):
    """Of a stopped loop no summary of it is written; a record of an earlier run does not count."""
    plan = planned(tmp_path, "a")
    assert not train._has_begun(plan)
    for moment, expected in ((plan.created.replace(year=2020), False), (now(), True)):
        attempt = Attempt(start=moment, end=moment, cause=Cause.OK, host="h", pid=1)
        known = {"scene": "a", "exp_name": "exp", "fingerprint": "f", "status": "done"}
        write_record(plan.scenes[0].output, RunRecord(**known, attempts=(attempt,)))
        assert train._has_begun(plan) is expected


@pytest.mark.parametrize(
    ("is_stopped", "end"),
    [(True, "Cancelled: "), (False, "Failed: Prefect's API was lost (the run is gone)")],
)
def test_a_run_that_the_server_has_lost_ends_as_its_records_say(
    tmp_path, monkeypatch, capsys, is_stopped, end
):
    """Cancelled only where scenes were stopped: the database may have been made anew."""
    from prefect.exceptions import ObjectNotFound

    from flows import flow
    from flows.options import FlowOptions

    def run(**_):
        raise ObjectNotFound(None)

    monkeypatch.setattr(flow, "train_scenes", run)
    plan = planned(tmp_path, "a")
    if is_stopped:
        mark_cancelled(plan)
    state = flow.run_plans(FlowOptions(exp_name="exp"), [plan])
    assert f"{state.name}: {capsys.readouterr().out}".startswith(end)
