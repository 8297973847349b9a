"""What commands say of places that the user can't read: an error with path and remedy.

Never a traceback, and never "done", "nothing" or "none" for what could not be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, STAND_IN
from tests.faults.files import WITHOUT_RIGHTS

OUT = "results/a_1/exp"
LAUNCHER = ("training/run.py",)
OF_EXP = (*LAUNCHER, "--exp-name", "exp")
LAUNCH = (*OF_EXP, "--scenes-dir", "registry", "--train-script", str(STAND_IN), "--run-all")
COMMANDS = {
    "launch": LAUNCH,
    "dry run": (*LAUNCH, "--dry-run"),
    "another launch": (*LAUNCH, "--exp-name", "other", "--dry-run"),
    "status": (*OF_EXP, "--status"),
    "watch": (*OF_EXP, "--watch"),
    "list": (*LAUNCHER, "--status"),
    "logs": (*OF_EXP, "--logs", "a_1"),
    "cancel": (*OF_EXP, "--cancel"),
    "flow": ("-m", "flows.train", *LAUNCH[1:], "--force"),
    "report": ("-m", "flows.report", "--exp-name", "exp"),
    "json": ("-m", "flows.report", "--exp-name", "exp", "--json"),
}
REPAIR, ANOTHER = "repair its permissions", "that is meant"


@pytest.fixture(scope="module")
def trained(module_lab):
    """A lab with two done scenes of one experiment."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not there")
    for name in ("a_1", "a_2"):
        module_lab.add_scene(name)
    assert module_lab.call("--run-all").returncode == 0
    return module_lab


@pytest.fixture
def place(trained, tmp_path):
    """A copy of that lab's files, in which a test may break what it likes."""
    shutil.copytree(trained.root, tmp_path / "lab", symlinks=True)
    for file in (tmp_path / "lab/state/plans").glob("*.json"):
        file.write_text(file.read_text().replace(str(trained.root), str(tmp_path / "lab")))
    yield tmp_path / "lab"
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)
    subprocess.run(["chmod", "-R", "u+rwX", str(tmp_path)], check=True)


def run(place, command):
    """Run a command to its end, as a user whom permissions hold back."""
    limited = ["setpriv", f"--bounding-set={WITHOUT_RIGHTS}"] if os.geteuid() == 0 else []
    words = [str(place / each) if each == "registry" else each for each in COMMANDS[command]]
    variables = {"RESULTS": "results", "SCENE_DATA": "scenes", "STATE": "state"}
    roots = {f"TS_{name}_ROOT": str(place / folder) for name, folder in variables.items()}
    inherited = {name: each for name, each in os.environ.items() if "PREFECT" not in name}
    of_prefect = {"PREFECT_HOME": str(place / "prefect")}
    ended = subprocess.run(
        [*limited, sys.executable, *words],
        check=False,
        cwd=CHECKOUT,
        env={**inherited, **roots, **of_prefect, "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said, said
    return ended.returncode, said


def closed(path):
    path.chmod(0)


def unlisted(path):
    path.chmod(0o300)


def read_only(path):
    path.chmod(0o500)


def a_loop(path):
    _aside(path).symlink_to(path)


def dangling(path):
    _aside(path).symlink_to("nowhere")


def another_kind(path):
    if path.is_dir():
        _aside(path).write_text("no folder")
    else:
        _aside(path).mkdir()


def _aside(path):
    path.rename(path.with_name(f".aside_{path.name}"))
    return path


LONG = pytest.mark.long
KINDS = [
    closed,
    dangling,
    *(pytest.param(each, marks=LONG) for each in (unlisted, a_loop, another_kind)),
]
OF_FILES = [each for each in KINDS if each != pytest.param(unlisted, marks=LONG)]
LOOKS = ("status", "watch", "list", "logs", "cancel", "report")


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize("broken", KINDS)
def test_plans_that_cant_be_listed_are_not_none(place, broken, command):
    """Jobs that they name would be left in the queue, with `nothing is queued or running`."""
    broken(place / "state/plans")
    status, said = run(place, command)
    assert status == 2, said
    assert "can't be used: " in said
    assert f"{place}/state/plans" in said
    assert REPAIR in said or ANOTHER in said
    assert "done" not in said
    assert "nothing" not in said


@pytest.mark.parametrize("command", ["list", "status", "report", "json"])
@pytest.mark.parametrize("broken", KINDS)
def test_a_result_root_that_cant_be_listed_has_not_no_experiment(place, broken, command):
    shutil.rmtree(place / "state")
    broken(place / "results")
    status, said = run(place, command)
    assert status == 2, said
    assert f"{place}/results" in said
    assert "no experiment" not in said
    assert "no such" not in said


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("status", 1, "2 done\nwarning: "),
        ("list", 1, "warning: "),
        ("cancel", 1, "nothing of what can be read is queued"),
    ],
)
def test_a_plan_that_cant_be_read_is_told_and_no_success(place, command, status, words):
    (plan,) = (place / "state/plans").glob("exp-*.json")
    closed(plan)
    found, said = run(place, command)
    assert found == status, said
    assert words in said
    assert f"{plan} can't be read (Permission denied): {REPAIR}" in said


@pytest.mark.parametrize("folder", [OUT, "results/a_1"])
def test_a_scene_known_by_its_record_alone_is_not_left_out(place, folder):
    """Where its plans are gone; else `1 scene: 1 done` would be all that is said."""
    shutil.rmtree(place / "state")
    closed(place / folder)
    status, said = run(place, "status")
    assert status == 1, said
    assert str(place / folder) in said
    assert REPAIR in said


@pytest.mark.parametrize("command", ["dry run", "status", "cancel", "logs"])
@pytest.mark.parametrize("broken", OF_FILES)
@pytest.mark.parametrize(
    "folder",
    [OUT, pytest.param(f"{OUT}/run.json", marks=LONG), pytest.param("results/a_1", marks=LONG)],
)
def test_a_record_that_cant_be_read_is_not_none(place, folder, broken, command):
    """Of a link to a disk that is away, too: it would be trained again, in another place."""
    broken(place / folder)
    status, said = run(place, command)
    assert status == {"status": 1, "cancel": 1}.get(command, 2), said
    assert f"{place}/{OUT}" in said or f"{place}/{folder}" in said
    assert any(each in said for each in (REPAIR, ANOTHER, "put back what"))
    assert "not started" not in said


@pytest.mark.parametrize("command", ["launch", "status", "cancel"])
@pytest.mark.parametrize("broken", KINDS)
def test_a_claim_that_cant_be_read_is_not_free(place, broken, command):
    """Of a scene whose record says running: it may run."""
    record = place / OUT / "run.json"
    running = json.loads(record.read_text()) | {"status": "running"}
    running["attempts"][-1] |= {"end": None, "cause": None}
    record.write_text(json.dumps(running))
    broken(place / OUT / ".claim")
    status, said = run(place, command)
    assert status == (2 if command == "launch" else 1), said
    assert f"the claim {place}/{OUT}/.claim can't be read" in said
    assert "killed" not in said
    assert "nothing" not in said.replace("nothing was started", "")


@pytest.mark.parametrize("broken", OF_FILES)
def test_a_log_that_cant_be_read_is_not_empty(place, broken):
    broken(place / OUT / "train.log")
    status, said = run(place, "logs")
    assert status == 2, said
    assert f"{place}/{OUT}/train.log\n    -> " in said
    assert "not started" not in said


@pytest.mark.parametrize(
    ("folder", "broken"),
    [("results/a_1", read_only), ("results/a_1/other", read_only), ("results/a_1/other", unlisted)],
)
def test_an_output_folder_that_cant_be_written_is_found_before_the_launch(place, folder, broken):
    (place / folder).mkdir(exist_ok=True)
    broken(place / folder)
    status, said = run(place, "another launch")
    assert status == 2, said
    assert f"a_1: its output folder can't be listed and written: {place}/{folder}\n" in said
    assert REPAIR in said


def test_a_report_that_cant_be_looked_for_costs_no_table(place):
    closed(place / "results/_experiments/exp")
    status, said = run(place, "launch")
    assert status == 0, said
    assert "average  2 done" in said
    assert "the summary can't be written: " in said
    assert "_experiments:" not in said, "which is no scene"


@pytest.mark.parametrize("broken", OF_FILES)
def test_a_scene_file_that_cant_be_read_has_a_remedy(place, broken):
    broken(place / "registry/a_1.json")
    status, said = run(place, "launch")
    assert status == 2, said
    assert f"{place}/registry/a_1.json can't be read: " in said
    assert "\n    -> " in said


def test_prefects_home_that_cant_be_entered_is_told_with_the_remedy(place):
    (place / "prefect").mkdir()
    closed(place / "prefect")
    status, said = run(place, "flow")
    assert status == 2, said
    words = f"Prefect's settings can't be read: {place}/prefect/profiles.toml: Permission denied\n"
    assert words in said
    assert "or set PREFECT_HOME" in said


@pytest.mark.parametrize("broken", KINDS)
@pytest.mark.parametrize(("folder", "flag"), [("results", "results"), ("state/plans", "state")])
def test_a_launch_names_the_flag_of_a_root_that_cant_be_used(place, folder, flag, broken):
    broken(place / folder)
    status, said = run(place, "dry run")
    assert status == 2, said
    assert f"--{flag}-root " in said
    assert f": {place}/{folder}\n    -> name another folder with --{flag}-root" in said
