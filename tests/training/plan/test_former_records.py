"""Records of the version before: done stays done, unless their plan says what has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import version_before

from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions, checked_options

STAND_IN = Path(__file__).resolve().parents[2] / "stand_in_trainer.py"
EARLIER = "done by an earlier version of the trainer"


@pytest.fixture
def scene(lab, monkeypatch):
    """Plan the lab's one scene with some overrides."""
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)
    lab.add_scene("a_1")

    def plan(*overrides, **values):
        given = {"exp_name": "exp", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
        given |= {"train_script": str(STAND_IN), "overrides": overrides, **values}
        (planned,) = make_plan(checked_options(LaunchOptions, given)).scenes
        return planned

    return plan


def test_a_done_record_without_its_plan_counts_as_done(scene, lab):
    """Nothing says that anything has changed; it is reported as of an earlier version."""
    version_before.write_record(lab.output("a_1"))
    planned = scene("seed=1")
    assert (planned.action, planned.reason) == ("skip", EARLIER)


def test_the_flag_trains_it_again(scene, lab):
    """--rerun-triggers code: its code is not known to be today's."""
    version_before.write_record(lab.output("a_1"))
    assert scene("seed=1", rerun_triggers="code").action == "run"


@pytest.mark.parametrize(
    ("overrides", "action"),
    [
        (["seed=1"], "skip"),
        (["shared.wandb.enable=true", "seed=1"], "skip"),
        (["seed=2"], "run"),
        ([], "run"),
    ],
)
def test_its_plan_knows_its_overrides(scene, lab, overrides, action):
    """A changed value trains again, as it did in the version before; a tracker does not."""
    version_before.write_record(lab.output("a_1"))
    version_before.write_plan(lab.root)
    assert scene(*overrides).action == action


def test_its_plan_knows_its_scene(scene, lab):
    """A changed scene file trains again."""
    version_before.write_record(lab.output("a_1"))
    version_before.write_plan(lab.root)
    lab.add_scene("a_1", cam_id=4)
    assert scene("seed=1").action == "run"


def test_its_plan_knows_its_script(scene, lab, tmp_path):
    """Another trainer is another configuration."""
    version_before.write_record(lab.output("a_1"))
    version_before.write_plan(lab.root)
    other = tmp_path / "other.py"
    other.touch()
    assert scene("seed=1", train_script=str(other)).action == "run"


def test_overrides_of_our_trainer_are_composed_to_be_compared(scene, lab):
    """`seed=0` is the default: the same configuration as none at all; an unknown key is another."""
    version_before.write_record(lab.output("a_1"))
    file = version_before.write_plan(lab.root)
    own = {"train_script": LaunchOptions.model_fields["train_script"].default}
    for name in ("metrics.json", "checkpoints/last.pt", "person_0.ply", "evaluation/a.png"):
        (lab.output("a_1") / name).parent.mkdir(exist_ok=True)
        (lab.output("a_1") / name).write_text("{}")
    trainer = file.read_text().replace("stand_in_trainer", "simple_multi_human_trainer")
    from training.plan.experiments import read_plan

    for override, action in {"seed=0": "skip", "seed=1": "run", "no.such=1": "run"}.items():
        file.write_text(trainer.replace("seed=1", override))
        read_plan.cache_clear()
        assert scene(**own).action == action, override


def test_a_failed_record_goes_on_and_then_has_todays_fingerprint(lab):
    """Its checkpoint is not thrown away by an upgrade."""
    lab.add_scene("a_1", do="resume")
    version_before.write_record(lab.output("a_1"), status="failed", cause="preempted")
    checkpoint = lab.output("a_1") / "checkpoints" / "last.txt"
    checkpoint.parent.mkdir()
    checkpoint.write_text("half")
    assert lab.call("--overrides", "seed=1").returncode == 0
    record = lab.record("a_1")
    assert [attempt["cause"] for attempt in record["attempts"]] == ["preempted", "ok"]
    assert record["fingerprint"] != version_before.FINGERPRINT
    assert "code_version" not in record["attempts"][0] or not record["attempts"][0]["code_version"]
    assert record["attempts"][1]["code_version"]["digest"]
    assert "skipped, done\n" in lab.call("--overrides", "seed=1").stdout


def test_a_launch_leaves_an_old_done_record_alone(lab):
    """Skipped, exit status 0, and --status counts it."""
    lab.add_scene("a_1")
    version_before.write_record(lab.output("a_1"))
    version_before.write_plan(lab.root)
    result = lab.call("--overrides", "seed=1", "--expect", "run.json")
    assert result.returncode == 0, result.stderr
    assert f"a_1: skipped, {EARLIER}" in result.stdout
    assert json.loads(version_before.RECORD) == lab.record("a_1")
    status = lab.call("--status")
    assert status.returncode == 0
    assert "1 scene: 1 done" in status.stdout


def test_generated_data_of_a_model_that_was_trained_since_is_not_current(lab, monkeypatch):
    """The old fingerprint can't say so: the records' times do."""
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)
    lab.add_scene("a_1")
    generated = lab.output("a_1") / "difix_data"
    version_before.write_record(generated)
    (generated / "shard.json").write_text("{}")
    version_before.write_record(lab.output("a_1"))
    (lab.output("a_1") / "checkpoints").mkdir()
    (lab.output("a_1") / "checkpoints" / "last.pt").touch()
    given = {"exp_name": "exp", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
    mode = "run_mode=difix_data_generation_generate"
    given["overrides"] = (mode, "difix_data_generation.strict=false")

    def action():
        return make_plan(checked_options(LaunchOptions, given)).scenes[0].action

    assert action() == "run"
    record = json.loads((lab.output("a_1") / "run.json").read_text())
    record["attempts"][0] |= {"start": "2026-07-01T00:00:00Z", "end": "2026-07-02T00:00:00Z"}
    (lab.output("a_1") / "run.json").write_text(json.dumps(record))
    assert action() == "skip"
