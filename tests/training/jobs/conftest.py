"""A plan for Slurm of three scenes, made long ago."""

from __future__ import annotations

from datetime import UTC, datetime

import psutil
import pytest

from training.execution import trainer_process
from training.plan.model import Plan, ScenePlan
from training.plan.slurm_model import SlurmPlan
from training.system import processes
from training.system.paths import Roots

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_plan(tmp_path):
    """Return a function that makes an array plan of three scenes with that id."""
    root = tmp_path
    roots = Roots(results_root=root / "results", scene_data_root=root, state_root=root / "state")

    def scene_plan(scene, plan_id):
        return ScenePlan(
            name=scene,
            exp_name="exp",
            scene={},
            scene_file=root / f"{scene}.json",
            action="run",
            reason="new",
            command=("python",),
            environment={},
            output=roots.output_folder(scene, "exp"),
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=1,
            cancelled=root / "state" / "plans" / f"{plan_id}.cancelled",
        )

    def make(plan_id):
        return Plan(
            plan_id=plan_id,
            created=CREATED,
            exp_name="exp",
            roots=roots,
            scenes=tuple(scene_plan(scene, plan_id) for scene in "abc"),
            workers=1,
            gpus=(),
            max_retries=0,
            max_failures=0,
            slurm=SlurmPlan(
                script=root / "s",
                script_text="",
                light_script_text="",
                job_name="job",
                time_s=60,
                scenes_per_job=1,
                parallelism=2,
            ),
        )

    return make


@pytest.fixture
def plan(make_plan):
    """A plan of the scenes a, b and c, made long ago."""
    return make_plan("exp-20260101T000000.000000")


@pytest.fixture(autouse=True)
def _other_tests_processes_live(monkeypatch):
    """A trainer that is run in this process takes all that the process has started along.

    That would be Prefect's server, too, which the tests of this process share.
    """
    others = frozenset(each.pid for each in psutil.Process().children(recursive=True))
    monkeypatch.setattr(
        trainer_process,
        "kill_descendants",
        lambda spared=frozenset(): processes.kill_descendants(spared | others),
    )
