"""An edit after the plan was made changes no scene of that plan, by launcher and by flow."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from edited_project import Project

CHECKOUT = Path(__file__).resolve().parents[3]
FLOW = ("-m", "flows.train")


@pytest.fixture
def project(lab) -> Project:
    lab.add_scene("a_0")
    lab.add_scene("a_1")
    return Project(lab.root / "project", lab)


def launch_and_edit(lab, project, eventually, *flags, program=("training/run.py",)):
    """Launch both scenes one after the other, edit while the first runs; return what it printed."""
    own = (*project.flags, *project.waits, *flags)
    process = lab.popen(*own, program=program, stand_in=False)
    project.edit_while_the_first_runs(eventually)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def test_scenes_that_start_after_an_edit_run_what_was_planned(lab, project, eventually):
    """Script, untracked helper and configuration; then nothing is wrongly skipped or retrained."""
    status, text = launch_and_edit(lab, project, eventually)
    assert status == 0, text
    assert project.is_planned("a_0")
    assert project.is_planned("a_1")
    assert project.said("a_1")["cwd"] == str(CHECKOUT)
    project.take_back()
    again = lab.run(*project.flags, *project.waits, stand_in=False)
    assert "a_1: skipped, done" in again.stdout


def test_a_flow_trains_what_was_planned(lab, project, eventually, prefect_api):
    """On Dask workers of this machine."""
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    status, text = launch_and_edit(lab, project, eventually, program=FLOW)
    assert status == 0, text
    assert project.is_planned("a_0")
    assert project.is_planned("a_1")


def test_the_aggregate_runs_what_was_planned(lab, project, eventually):
    """Its command starts after all scenes, from the same copy."""
    mode = "run_mode=difix_data_generation_generate"
    status, text = launch_and_edit(lab, project, eventually, mode)
    assert status == 0, text
    assert json.loads((lab.root / "results" / "merged.json").read_text()) == "planned"
    log = (lab.root / "results" / "_experiments" / "exp" / "aggregate.log").read_text()
    assert str(snapshot(lab)) in log


def snapshot(lab) -> Path:
    (found,) = [path for path in (lab.root / "state" / "snapshots").iterdir() if path.is_dir()]
    return found


def test_record_and_log_name_the_snapshot(lab, project):
    """With commit and whether the tree was clean; two launches share one copy."""
    for name in ("a_0", "a_1"):
        result = lab.run(*project.flags, "--scene-name-includes", name, stand_in=False)
        assert result.returncode == 0, result.stdout + result.stderr
    attempt = lab.record("a_1")["attempts"][0]
    assert attempt["snapshot"] == snapshot(lab).name
    assert attempt["code_version"]["is_clean"] is True
    assert len(attempt["code_version"]["commit"]) == 40
    assert str(snapshot(lab)) in (lab.output("a_1") / "train.log").read_text()
    modes = {path.stat().st_mode & 0o222 for path in snapshot(lab).rglob("*.py")}
    assert modes == {0}


def test_a_script_without_a_repository_is_kept_with_its_folder(lab, eventually):
    """Its modules and configuration, but not the results that lie in the same folder."""
    lab.add_scene("a_0")
    lab.add_scene("a_1")
    project = Project(lab.root / "plain", lab, git=False)
    (project.root / "results").mkdir()
    lab.environment["TS_RESULTS_ROOT"] = str(project.root / "results")
    status, text = launch_and_edit(lab, project, eventually)
    assert status == 0, text
    assert project.is_planned("a_1")
    assert sorted(path.name for path in snapshot(lab).rglob("*.py")) == ["helper.py", "train.py"]
    assert (snapshot(lab) / "results").is_symlink()


def test_data_beside_the_script_is_found_from_the_copy(lab, project):
    """What Git ignores is no source, and not copied."""
    (project.root / "data").mkdir()
    (project.root / "data" / "frames.txt").write_text("frames")
    result = lab.run(*project.flags, "--scene-name-includes", "a_1", stand_in=False)
    assert result.returncode == 0, result.stdout
    assert project.said("a_1")["data"] == "frames"
    assert (snapshot(lab) / "data").is_symlink()


def test_an_editable_install_does_not_win(lab, project):
    """A package below src/ that PYTHONPATH or a .pth file names is imported from the copy."""
    source = project.root / "src"
    source.mkdir()
    (project.root / "helper.py").rename(source / "helper.py")
    lab.environment["PYTHONPATH"] = str(source)
    result = lab.run(*project.flags, "--scene-name-includes", "a_1", stand_in=False)
    assert result.returncode == 0, result.stdout
    assert project.said("a_1")["file"] == str(snapshot(lab) / "src" / "helper.py")


@pytest.mark.parametrize("large", [False, True])
def test_without_a_copy_a_start_after_an_edit_is_refused(lab, project, eventually, large):
    """With --no-snapshot, or where there is too much to copy; the message names what changed."""
    flags = [] if large else ["--no-snapshot"]
    if large:
        with (project.root / "weights.bin").open("wb") as stream:
            stream.truncate(51 * 2**20)
    status, text = launch_and_edit(lab, project, eventually, *flags)
    assert status == 1, text
    assert ("too large to keep a copy" in text) == large
    assert project.is_planned("a_0")
    assert lab.causes("a_1") == ["config"]
    message = lab.record("a_1")["attempts"][0]["message"]
    assert "helper.py" in message
    assert "conf/train.yaml" in message
    assert lab.record("a_1")["attempts"][0]["snapshot"] == ""
    assert not (lab.output("a_1") / "said.json").exists()
    project.take_back()
    again = lab.run(*project.flags, *project.waits, *flags, stand_in=False)
    assert again.returncode == 0, again.stdout
    assert "a_0: skipped, done" in again.stdout
    assert project.is_planned("a_1")


def test_a_snapshot_that_is_damaged_or_gone_is_refused_and_the_next_launch_repairs_it(
    lab, project, eventually
):
    """A scene that starts meanwhile ends as config, never with other code."""
    process = lab.popen(*project.flags, *project.waits, stand_in=False)
    project.wait_until_one_runs(eventually)
    helper = snapshot(lab) / "helper.py"
    helper.chmod(0o644)
    helper.write_text('VALUE = "damaged"\n')
    project.go()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert lab.causes("a_1") == ["config"]
    assert "helper.py" in out
    again = lab.run(*project.flags, *project.waits, stand_in=False)
    assert again.returncode == 0, again.stdout
    assert project.is_planned("a_1")
    assert not helper.stat().st_mode & 0o222


def test_a_deleted_snapshot_is_a_clear_fault(lab, project, eventually):
    """The scene is not started from anything else."""
    process = lab.popen(*project.flags, *project.waits, stand_in=False)
    project.wait_until_one_runs(eventually)
    shutil.rmtree(snapshot(lab))
    project.go()
    out, _ = process.communicate(timeout=60)
    assert lab.causes("a_1") == ["config"]
    assert "is gone" in out


def test_a_state_root_that_refuses_the_copy_is_a_fault(lab, project):
    """With the remedy, and nothing is started."""
    (lab.root / "state").mkdir()
    (lab.root / "state" / "snapshots").write_text("a file")
    result = lab.run(*project.flags, stand_in=False)
    assert result.returncode == 2
    assert "the sources can't be kept" in result.stderr
    assert "--no-snapshot" in result.stderr
    assert "Traceback" not in result.stderr
    assert not lab.output("a_0").exists()


def test_a_dry_run_shows_commands_to_paste_and_keeps_nothing(lab, project):
    """It says that a launch starts from a copy."""
    preview = lab.run(*project.flags, "--dry-run", stand_in=False)
    assert "a launch copies them" in preview.stdout
    assert not (lab.root / "state").exists()
    (lab.output("a_1")).mkdir(parents=True)
    pasted = next(line for line in preview.stdout.splitlines() if "scene_name=a_1" in line)
    subprocess.run(["bash", "-c", pasted], check=True, timeout=60)
    assert project.is_planned("a_1")
