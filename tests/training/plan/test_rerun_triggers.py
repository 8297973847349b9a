"""What trains a done scene again: its configuration and what that names; code only on request.

The trainer's sources are changed in a copy of the checkout, whose launcher makes the plans.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
EARLIER = "done by an earlier version of the trainer"
PLAN = (
    "import json, sys;"
    "from training.plan.make_plan import make_plan;"
    "from training.plan.options import LaunchOptions;"
    "options = LaunchOptions(**json.loads(sys.argv[1]));"
    "print(make_plan(options).model_dump_json())"
)
LOSSES = "training/trainer/losses.py"


@dataclass
class Copy:
    """A copy of the checkout beside a lab, and its plans."""

    root: Path
    lab: Any

    def plan(self, **options: Any) -> dict[str, Any]:
        """Plan the lab's scenes as a dry run of this copy would."""
        given = {"exp_name": "exp", "scenes_dir": str(self.lab.scenes_dir), "dry_run": True}
        given |= {"run_all": True, **options}
        ended = subprocess.run(
            [sys.executable, "-c", PLAN, json.dumps(given)],
            cwd=self.root,
            env={**os.environ, **self.lab.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr)
        return json.loads(ended.stdout)

    def scene(self, **options: Any) -> dict[str, Any]:
        """The plan of the one scene."""
        (scene,) = self.plan(**options)["scenes"]
        return scene

    def finish(self) -> None:
        """Write what the one scene's training with today's code would have left."""
        scene = self.scene()
        output = Path(scene["output"])
        for name in ("metrics.json", "checkpoints/last.pt", "person_0.ply", "evaluation/a.png"):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text("{}")
        times = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"}
        attempt = {**times, "host": "n1", "pid": 7, "exit_status": 0, "cause": "ok"}
        record = {"schema_version": 2, "scene": "a_1", "exp_name": "exp", "status": "done"}
        record |= {"fingerprint": scene["fingerprint"], "attempts": [attempt]}
        (output / "run.json").write_text(json.dumps(record))
        attempt["code_version"] = self.scene()["code_version"]  # a plan knows it now
        (output / "run.json").write_text(json.dumps(record))

    def append(self, file: str, text: str) -> None:
        with (self.root / file).open("a", encoding="utf-8") as stream:
            stream.write(text)

    def replace(self, file: str, old: str, new: str) -> None:
        content = (self.root / file).read_text(encoding="utf-8")
        assert old in content
        (self.root / file).write_text(content.replace(old, new), encoding="utf-8")


@pytest.fixture
def copy(lab):
    """A copy of the sources with one scene that is done."""
    root = lab.root / "checkout"
    for package in ("training", "preprocess"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / package, root / package, ignore=ignored)
    lab.add_scene("a_1")
    copy = Copy(root, lab)
    copy.finish()
    return copy


def test_a_done_scene_is_skipped_wherever_results_and_checkout_lie(copy, lab):
    """Neither its own folder nor that of the results decides anything."""
    assert (copy.scene()["action"], copy.scene()["reason"]) == ("skip", "done")
    moved = Copy(copy.root.rename(lab.root / "moved"), lab)
    (lab.root / "results").rename(lab.root / "elsewhere")
    scene = moved.scene(results_root=str(lab.root / "elsewhere"))
    assert (scene["action"], scene["reason"]) == ("skip", "done")


@pytest.mark.parametrize(
    "text", ["\n# a comment\n", '\n"""A docstring of the last attribute."""\n', "\n\n\n"]
)
def test_a_comment_or_docstring_in_the_trainer_changes_no_plan(copy, text):
    """Nor is it reported as another version."""
    before = copy.scene()
    copy.append(LOSSES, text)
    copy.append("training/configs/train.yaml", "\n# a comment\n")
    plan = copy.plan()
    (scene,) = plan["scenes"]
    assert scene["code_version"].pop("content") != before["code_version"].pop("content")
    assert scene == {**before, "cancelled": scene["cancelled"]}
    assert not any("version" in warning for warning in plan["warnings"])


def test_a_changed_learning_rate_trains_again(copy):
    """Whether by an override or as train.yaml's new default."""
    override = "train.optimization.learning_rate.color=0.07"
    again = "done with another configuration: again"
    assert copy.scene(overrides=[override])["reason"] == again
    copy.replace("training/configs/train.yaml", "color: 5.0e-2", "color: 7.0e-2")
    scene = copy.scene()
    assert (scene["action"], scene["reason"]) == ("run", again)


def test_a_changed_scene_file_trains_again(copy, lab):
    """The scene's JSON is part of what decides the result."""
    lab.add_scene("a_1", ref_frame_idx=3)
    assert copy.scene()["action"] == "run"


def test_changed_code_is_reported_and_trains_again_only_with_the_flag(copy):
    """The fingerprint stays; the plan names the flag."""
    before = copy.scene()
    copy.append(LOSSES, "\nCHANGED = 1\n")
    plan = copy.plan()
    (scene,) = plan["scenes"]
    assert scene["fingerprint"] == before["fingerprint"]
    assert scene["code_version"]["digest"] != before["code_version"]["digest"]
    assert (scene["action"], scene["reason"]) == ("skip", EARLIER)
    assert plan["warnings"][-1] == (
        "1 scene was trained by an earlier version of the trainer;"
        " --rerun-triggers code trains it again"
    )
    again = copy.plan(rerun_triggers="code")
    assert again["scenes"][0]["action"] == "run"
    assert "another version of the trainer" in again["scenes"][0]["reason"]
    assert not any("--rerun-triggers" in warning for warning in again["warnings"])


def test_code_that_the_run_mode_does_not_use_is_no_other_version(copy):
    """The launcher, what is imported ahead, another mode's function of the script."""
    before = copy.scene()["code_version"]["digest"]
    for file in ("execution/local.py", "trainer/difix/generate.py", "trainer/import_ahead.py"):
        copy.append(f"training/{file}", "\nCHANGED = 1\n")
    old = "    generate(config, inputs, requests)\n"
    copy.replace("training/simple_multi_human_trainer.py", old, f"{old}{old}")
    assert copy.scene()["code_version"]["digest"] == before
    assert copy.scene()["reason"] == "done"


def test_the_body_models_content_decides_and_its_place_does_not(copy, lab, monkeypatch):
    """TS_BODY_FILE: resolved, hashed, and given to the job as it was hashed."""
    body = lab.root / "body.npz"
    shutil.copy(copy.root / "preprocess" / "assets" / "body.npz", body)
    monkeypatch.setenv("TS_BODY_FILE", str(body))
    scene = copy.scene()
    assert scene["reason"] == "done"
    assert scene["environment"]["TS_BODY_FILE"] == str(body)
    with body.open("ab") as stream:
        stream.write(b"more")
    assert copy.scene()["reason"] == "done with another configuration: again"


def test_a_body_model_that_is_missing_is_named(copy, monkeypatch):
    """A fault of a launch, in a dry run a warning; the scene is not called done."""
    monkeypatch.setenv("TS_BODY_FILE", "/nowhere/body.npz")
    plan = copy.plan()
    assert plan["scenes"][0]["action"] == "run"
    assert any("model.body_file is not a file" in warning for warning in plan["warnings"])
    with pytest.raises(RuntimeError, match=r"model\.body_file is not a file: /nowhere"):
        copy.plan(dry_run=False)


def test_a_dry_run_of_new_scenes_does_not_read_the_code(lab, monkeypatch):
    """Only a record or a launch needs its version."""
    from training.plan import train_script
    from training.plan.make_plan import make_plan
    from training.plan.options import LaunchOptions

    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(train_script, "own_code_digest", pytest.fail)
    monkeypatch.setattr(train_script, "checkout_content", pytest.fail)
    lab.add_scene("a_1")
    made = make_plan(LaunchOptions(exp_name="exp", scenes_dir=str(lab.scenes_dir), dry_run=True))
    assert made.scenes[0].code_version is None


def test_code_that_is_unchanged_to_the_byte_is_not_parsed_again(monkeypatch):
    """A dry run of many done scenes stays quick; after a change the digest decides."""
    from training.plan import train_script
    from training.plan.options import LaunchOptions

    script = train_script.load_train_script(LaunchOptions(exp_name="exp"), None)
    version = script.code_version()
    monkeypatch.setattr(train_script, "own_code_digest", lambda *_: "parsed")
    fresh = train_script.load_train_script(LaunchOptions(exp_name="exp"), None)
    assert fresh.code_version(version) == version
    assert fresh.code_version(version.model_copy(update={"content": "other"})).digest == "parsed"
    assert fresh.code_version(None).digest == "parsed"


def test_a_path_that_depends_on_the_scene_is_resolved_for_each(copy, lab):
    """`model.body_file=…/${shared.scene_name}.npz`: one scene's file changes one scene."""
    lab.add_scene("a_2")
    for name in ("a_1", "a_2"):
        (lab.root / f"{name}.npz").write_text(name)
    override = f"model.body_file='{lab.root}/${{shared.scene_name}}.npz'"
    before = copy.plan(overrides=[override])["scenes"]
    (lab.root / "a_2.npz").write_text("other")
    after = copy.plan(overrides=[override])["scenes"]
    assert after[0]["fingerprint"] == before[0]["fingerprint"]
    assert after[1]["fingerprint"] != before[1]["fingerprint"]


@pytest.fixture
def script(lab):
    """Another script, which a user edits between launches."""
    path = lab.root / "mine.py"
    path.write_text((CHECKOUT / "tests" / "stand_in_trainer.py").read_text())
    return path


def launch(lab, script, *flags):
    return lab.call("--train-script", str(script), *flags, stand_in=False)


def test_a_launch_records_its_code_and_status_tells_what_is_mixed(lab, script):
    """Another script: a comment is nothing, code is reported, the flag trains again."""
    lab.add_scene("a_1")
    assert launch(lab, script).returncode == 0
    (attempt,) = lab.record("a_1")["attempts"]
    first = attempt["code_version"]["digest"]
    script.write_text("# a comment\n" + script.read_text())
    assert "a_1: skipped, done\n" in launch(lab, script).stdout
    script.write_text(script.read_text() + "\nx = 1\n")
    lab.add_scene("a_2")
    result = launch(lab, script, "--run-all")
    assert f"a_1: skipped, {EARLIER}" in result.stdout
    assert "warning: 1 scene was trained by an earlier version" in result.stdout
    second = lab.record("a_2")["attempts"][0]["code_version"]["digest"]
    status = lab.call("--status").stdout
    assert f"2 versions of the code: 1 scene {second[:7]}, 1 scene {first[:7]}" in status
    report = (lab.root / "results" / "_experiments" / "exp" / "report.md").read_text()
    assert "trainer's code: 2 versions" in report
    again = launch(lab, script, "--run-all", "--rerun-triggers", "code")
    assert "a_1: done with another version of the trainer: again" in again.stdout
    assert lab.record("a_1")["attempts"][0]["code_version"]["digest"] == second
    assert "a_2: skipped, done\n" in again.stdout


def test_an_input_file_of_another_script_counts_by_its_content(lab, script):
    """An override that names a file; an output that it names is none."""
    lab.add_scene("a_1")
    data = lab.root / "data.csv"
    data.write_text("1")
    log = lab.root / "results" / "log.txt"
    flags = ("--overrides", f"data={data}", f"log={log}")
    assert launch(lab, script, *flags).returncode == 0
    log.write_text("written by the run")
    assert "skipped, done" in launch(lab, script, *flags).stdout
    data.write_text("2")
    assert "done with another configuration" in launch(lab, script, *flags, "--dry-run").stdout


def test_a_mistyped_trigger_is_refused(lab):
    """With what is valid."""
    result = lab.call("--rerun-triggers", "cod")
    assert result.returncode == 2
    assert "--rerun-triggers is not valid: 'cod'" in result.stderr
    assert "'configuration' or 'code'" in result.stderr
