"""Plans of this version, of the one before, of a newer one, and broken ones."""

from __future__ import annotations

import json
import shutil

import pytest
import version_before

from flows.report import main as report_main
from training.plan.experiments import PlanFileError, find_experiment, read_plan
from training.plan.model import PLAN_VERSION, Plan
from training.system.paths import Roots


@pytest.fixture
def plan_file(lab):
    """A plan of the version before in the lab, which today's tests may change."""
    return version_before.write_plan(lab.root)


@pytest.fixture
def experiment(lab):
    """Look the lab's experiment up."""
    roots = {f"{name}_root": lab.root / folder for name, folder in FOLDERS.items()}
    return lambda: find_experiment("exp", Roots(**roots))


FOLDERS = {"results": "results", "scene_data": "scenes", "state": "state"}


def newer(plan_file) -> None:
    content = {**json.loads(plan_file.read_text()), "schema_version": PLAN_VERSION + 1}
    plan_file.write_text(json.dumps(content))


def truncate(plan_file) -> None:
    plan_file.write_bytes(plan_file.read_bytes()[:300])


def test_a_plan_of_the_version_before_is_read(plan_file, experiment):
    """Its keys had other names, and it did not say its format."""
    plan = read_plan(plan_file)
    assert plan.output_subdir == ""
    assert plan.scenes[0].expected_outputs == ("metrics.json",)
    assert plan.scenes[0].code_version is None
    assert experiment().plans == (plan,)
    assert experiment().warnings == ()
    assert experiment().scenes == ["a_1"]


def test_a_launch_writes_a_plan_that_says_its_format_and_is_read_back(lab, experiment):
    """What is written today, today's program reads; the code's version is in it."""
    lab.add_scene("a_1")
    assert lab.call().returncode == 0
    (written,) = (lab.root / "state" / "plans").glob("*.json")
    assert json.loads(written.read_text())["schema_version"] == PLAN_VERSION
    (plan,) = experiment().plans
    assert plan.scenes[0].code_version.digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (newer, f"written by a newer version of this program (format {PLAN_VERSION + 1}"),
        (truncate, "can't be read"),
        (lambda file: file.write_text("[]"), "not a JSON object"),
        (lambda file: file.write_text('{"exp_name": "exp"}'), "plan_id: Field required"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "can't be read"),
    ],
)
def test_an_unreadable_plan_is_named_with_the_remedy(plan_file, experiment, change, reason):
    """And the experiment's other plans are read."""
    other = plan_file.with_name("exp-20260728T000000.000000.json")
    shutil.copy(plan_file, other)
    change(plan_file)
    with pytest.raises(PlanFileError) as caught:
        read_plan(plan_file)
    assert reason in str(caught.value)
    assert str(plan_file) in str(caught.value)
    assert "move" in str(caught.value)
    (warning,) = experiment().warnings
    assert warning.startswith(str(caught.value))
    assert "squeue --me" in warning
    assert len(experiment().plans) == 1


@pytest.mark.parametrize("change", [newer, truncate])
def test_commands_name_the_plan_that_they_can_not_read(lab, plan_file, change):
    """--status, --cancel and the report; nothing is called all done."""
    version_before.write_record(lab.output("a_1"))
    change(plan_file)
    status = lab.call("--status", stand_in=False)
    assert f"warning: {plan_file}" in status.stdout
    assert "its jobs are neither shown nor cancelled" in status.stdout
    assert "1 done" in status.stdout
    assert status.returncode == 1
    assert f"warning: {plan_file}" in lab.call("--cancel", stand_in=False).stderr
    assert plan_file.with_suffix(".cancelled").exists()
    roots = [f"--{name}-root={lab.root / name}" for name in ("results", "state")]
    assert report_main(["--exp-name", "exp", *roots]) == 0
    report = lab.root / "results" / "_experiments" / "exp" / "report.md"
    assert plan_file.stem in report.read_text()


def test_a_newer_plan_is_refused_by_a_job_too(plan_file):
    """Read by the model alone it is no plan either."""
    newer(plan_file)
    with pytest.raises(ValueError, match="schema_version"):
        Plan.model_validate_json(plan_file.read_bytes())
