"""`training/run.py` as a user runs it: real processes, a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.faults.markers import stopped
from training.system.gpus import lock_file

CHECKOUT = Path(__file__).resolve().parents[3]
AWKWARD = ["a=x,y", "b='q\"uote'", "c=[1, 2]", "d=50%", "e=a#b", "f=süß 北", "g=k=v", "h=a b", "i="]


def test_one_scene_is_trained_and_recorded(lab):
    """One matching scene trains: record done, attempt ok, log with heading, exit status 0.

    What was done is written down: command line, versions, and the configuration as it is known.
    """
    lab.add_scene("hi4d_pair17_dance")
    given = ["--scene-name-includes", "pair17", "--overrides", "a.b=3", "a.c=x", "a.api_key=no"]
    result = lab.run(*given)
    assert result.returncode == 0, result.stderr
    record = lab.record("hi4d_pair17_dance")
    assert record["status"] == "done"
    assert [attempt["exit_status"] for attempt in record["attempts"]] == [0]
    log = (lab.output("hi4d_pair17_dance") / "train.log").read_text()
    assert "=== attempt 1" in log
    assert "training hi4d_pair17_dance from camera 28" in result.stdout  # a single scene's log
    assert "TS_PROGRESS" not in result.stdout
    (attempt,) = record["attempts"]
    shown = "shared.exp_name=exp a.b=3 a.c=x 'a.api_key=(not written down)'"
    assert attempt["command"].endswith(shown)
    assert f"TS_RESULTS_ROOT={lab.root / 'results'}" in attempt["command"]
    launch = f"python training/run.py {shlex.join(lab.arguments(*given[:-1]))} "
    assert attempt["launch_command"] == f"{launch}'a.api_key=(not written down)'"
    summary = lab.root / "results" / "_experiments" / "exp" / "report.md"
    assert f"    {launch}" in summary.read_text(encoding="utf-8")
    assert attempt["versions"]["python"] == platform.python_version()
    assert attempt["versions"].keys() >= {"training-scheduler", "torch"}
    written = yaml.safe_load((lab.output("hi4d_pair17_dance") / "config.yaml").read_text())
    assert written == {"a": {"b": "3", "c": "x", "api_key": "(not written down)"}}


def test_several_scenes_need_run_all(lab):
    """Several matches without --run-all are refused with the list, and nothing is created."""
    lab.add_scene("pair17_dance")
    lab.add_scene("pair17_hug")
    result = lab.call("--scene-name-includes", "pair17")
    assert result.returncode == 2
    assert "pair17_dance, pair17_hug" in result.stderr
    assert "--run-all" in result.stderr
    assert not (lab.root / "results").exists()


def test_run_all_trains_every_scene_once_and_a_rerun_skips_them(lab):
    """Done scenes are not trained twice, and the second run says so."""
    for name in ("a_1", "a_2", "a_3"):
        lab.add_scene(name)
    assert lab.call("--run-all", "--workers", "2").returncode == 0
    again = lab.call("--run-all", "--workers", "2")
    assert again.returncode == 0
    assert again.stdout.count("skipped, done") == 3
    assert all(len(lab.starts(name)) == 1 for name in ("a_1", "a_2", "a_3"))


def test_another_configuration_trains_again_and_keeps_the_old_outputs(lab):
    """A done scene with another fingerprint is trained again; its outputs are set aside."""
    lab.add_scene("a_1")
    lab.call("--overrides", "x=1")
    assert lab.call("--overrides", "x=2").returncode == 0
    assert len(lab.starts("a_1")) == 1
    kept = list((lab.output("a_1") / "superseded").glob("*/run.json"))
    assert len(kept) == 1
    assert len(lab.record("a_1")["attempts"]) == 1


def test_force_trains_again_what_is_done(lab):
    """--force trains a done scene again, keeps its previous outputs, and shows the new log."""
    lab.add_scene("a_1")
    lab.call()
    result = lab.call("--force")
    assert result.returncode == 0
    assert "--force" in result.stdout
    assert "training a_1 from camera 28" in result.stdout
    assert len(list((lab.output("a_1") / "superseded").iterdir())) == 1


def test_dry_run_prints_the_command_that_runs_and_creates_nothing(lab):
    """What a dry run prints can be pasted, and is what a run executes to the letter.

    Commas, quotes, brackets, %, #, spaces, unicode and = arrive as they were typed.
    """
    lab.add_scene("a_1")
    before = sorted(lab.root.rglob("*"))
    preview = lab.call("--dry-run", "--overrides", *AWKWARD)
    assert preview.returncode == 0, preview.stderr
    assert sorted(lab.root.rglob("*")) == before
    pasted = next(line for line in preview.stdout.splitlines() if line.startswith("TS_"))
    lab.call("--overrides", *AWKWARD)
    executed = (lab.output("a_1") / "train.log").read_text()
    assert pasted in executed
    subprocess.run(["bash", "-c", pasted], check=True, capture_output=True)
    launched, again = (lab.output("a_1") / "arguments.jsonl").read_text().splitlines()
    assert json.loads(launched)[2:] == AWKWARD
    assert shlex.split(pasted)[-len(json.loads(again)) :] == json.loads(again)


@pytest.mark.parametrize(
    ("do", "cause", "words"),
    [
        ("config", "config", "unknown strategy"),
        ("memory", "out_of_memory", "MemoryError"),
    ],
)
def test_a_failure_has_its_cause_and_is_not_retried(lab, do, cause, words):
    """Exit status 1, the record names the cause, the terminal says why and where the log is."""
    lab.add_scene("a_1")
    result = lab.call("--overrides", f"do={do}", "--expect", "metrics.json")
    assert result.returncode == 1
    assert lab.causes("a_1") == [cause]
    assert words in lab.record("a_1")["attempts"][0]["message"]
    assert words in result.stdout
    assert "train.log" in result.stdout


def test_max_failures_stops_starting_scenes(lab):
    """After that many failures no further scene starts; those left have no record."""
    for name in ("a_1", "a_2", "a_3"):
        lab.add_scene(name)
    result = lab.call("--run-all", "--max-failures", "1", "--overrides", "do=fail")
    assert result.returncode == 1
    assert lab.starts("a_1")
    assert not lab.output("a_2").exists()


def test_a_timeout_continues_from_its_checkpoint_in_the_same_run(lab):
    """With a checkpoint the scene is retried and ends as done: two attempts, one result."""
    lab.add_scene("a_1")
    result = lab.call("--time-limit", "0:00:02", "--overrides", "do=resume")
    assert result.returncode == 0, result.stdout
    assert lab.causes("a_1") == ["timeout", "ok"]
    assert "will be retried" in result.stdout
    assert "a_1: started, attempt 2" in result.stdout
    assert (lab.output("a_1") / "resumed.txt").read_text().strip() == "half"


def test_a_scene_file_that_vanishes_or_changes_does_not_change_the_plan(lab, eventually):
    """The second scene's file is removed while the first trains: it trains as planned."""
    lab.add_scene("a_1")
    doomed = lab.add_scene("a_2", cam_id=4)
    process = lab.popen("--run-all", "--overrides", "do=wait", "only=a_1")
    eventually((lab.output("a_1") / "ready.txt").exists, "the first scene's start")
    doomed.unlink()
    lab.let_go("a_1")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "from camera 4" in (lab.output("a_2") / "train.log").read_text()


def test_a_reader_that_leaves_does_not_end_the_training(lab):
    """Output piped into `head -1`: no traceback, the scenes are done."""
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    process = lab.popen("--run-all")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert unexpected(process.stderr.read()) == []
    assert lab.record("a_2")["status"] == "done"


def test_each_scene_gets_a_gpu_of_its_own(lab):
    """With two GPUs two scenes run at once, each pinned to one by CUDA_VISIBLE_DEVICES."""
    gpus = {f"GPU-{os.getpid()}-{number}" for number in (3, 5)}
    lab.environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    for name in ("a_1", "a_2", "a_3"):
        lab.add_scene(name)
    assert lab.call("--run-all").returncode == 0
    used = {lab.starts(name)[0].split()[1] for name in ("a_1", "a_2", "a_3")}
    assert used == gpus
    for gpu in gpus:
        lock_file(gpu).unlink()


def test_scenes_share_a_gpu_until_one_runs_out_of_memory(lab):
    """Two at once do not fit: one of them, or both, are tried again alone, the others run alone.

    All are done, and the record says that a GPU was shared.
    """
    gpu, names = f"GPU-{os.getpid()}-shared", ("a_1", "a_2", "a_3", "a_4")
    lab.environment["CUDA_VISIBLE_DEVICES"] = gpu
    for name in names:
        lab.add_scene(name, do="crowded")
    result = lab.call("--run-all", "--scenes-per-gpu", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    causes = {name: lab.causes(name) for name in names}
    ran_out = [name for name in names if causes[name] == ["out_of_memory", "ok"]]
    assert 1 <= len(ran_out) <= 2
    assert all(causes[name] == ["ok"] for name in names if name not in ran_out)
    first, _ = lab.record(ran_out[0])["attempts"]
    assert first["message"] == "MemoryError (its GPU was for up to 2 scenes at once)"
    assert first["gpu"] == gpu
    said = "ran out of memory beside up to 1 other scene on its GPU and is tried again alone"
    assert f"{ran_out[0]} {said}; what is left runs one at a time on a GPU" in result.stdout
    assert "waits for a GPU" not in result.stdout
    for file in lock_file(gpu).parent.glob(f"{lock_file(gpu).name}*"):
        file.unlink()


def test_two_runs_share_no_gpu(lab, eventually):
    """The second says whom it waits for, and starts when the first one's trainer has ended.

    Here its launcher is killed by -9: the kernel frees the lock, the claim tells of the trainer.
    """
    gpu = f"GPU-{os.getpid()}"
    lab.environment["CUDA_VISIBLE_DEVICES"] = gpu
    lab.add_scene("a_1")
    first = lab.popen("--exp-name", "one", "--overrides", "do=wait")
    eventually((lab.output("a_1", "one") / "ready.txt").exists, "the first trainer")
    second = lab.popen("--exp-name", "two")
    said = next(line for line in second.stdout if "waits for a GPU" in line)
    assert f"{gpu} trains a_1 of one (process {first.pid})" in said
    assert not lab.output("a_1", "two").exists()
    first.kill()
    first.wait()
    assert second.wait(timeout=60) == 0
    starts = (lab.output("a_1", "two") / "starts.txt").read_text().split()
    assert starts[1] == gpu
    assert lab.record("a_1", "one")["status"] != "running"
    lock_file(gpu).unlink()


def test_help_names_every_flag_of_the_reference(lab):
    """--help groups all flags under the names that users have."""
    text = lab.run("--help").stdout
    for flag in [
        "--exp-name",
        "--scene-name-includes",
        "--run-all",
        "--submit",
        "--dry-run",
        "--overrides",
        "--slurm.job-name",
        "--slurm.slurm-script",
        "--slurm.array-parallelism",
        "--auto-schedule-aggregate",
        "--no-auto-schedule-aggregate",
        "--aggregate-job-name",
        "--aggregate-time",
        "--scenes-dir",
        "--train-script",
        "--workers",
        "--force",
        "--max-failures",
    ]:
        assert flag in text


AFTER_A_STOP = {"way": "launcher", "left": "nothing", "rerun": "trains it"}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=stopped("Ctrl-C once", **AFTER_A_STOP)),
        pytest.param(signal.SIGTERM, marks=stopped("TERM", **AFTER_A_STOP)),
        pytest.param(signal.SIGHUP, marks=stopped("HUP", **AFTER_A_STOP)),
    ],
)
def test_a_stop_ends_trainers_and_says_cancelled(lab, eventually, alive, number):
    """The trainer gets its grace, the record says cancelled, exit status 130.

    No process is left, and the same command trains what is missing.
    """
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    flags = ("--run-all", "--kill-grace", "1", "--overrides", "do=ignore_term", "only=a_1")
    process = lab.popen(*flags)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert lab.causes("a_1") == ["cancelled"]
    assert not lab.output("a_2").exists()
    assert not alive(int(lab.starts("a_1")[0].split()[0]))
    assert_left_nothing_and_trained_again(lab, *flags)
    assert len(lab.starts("a_2")) == 1


def assert_left_nothing_and_trained_again(lab, *flags: str) -> None:
    """No process of the launch is left; the same command trains the scene that it stopped."""
    assert lab.strays() == []
    lab.heal("a_1")
    again = lab.call(*flags)
    assert again.returncode == 0, again.stdout + again.stderr
    assert lab.causes("a_1") == ["cancelled", "ok"]
    assert len(lab.starts("a_1")) == 2


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(1, marks=stopped("Ctrl-C twice", **AFTER_A_STOP)),
        pytest.param(2, marks=stopped("Ctrl-C three times", **AFTER_A_STOP)),
    ],
)
def test_a_second_ctrl_c_ends_at_once(lab, eventually, more):
    """The grace of an hour is cut short; the record still says cancelled, and nothing is left."""
    lab.add_scene("a_1")
    flags = ("--kill-grace", "3600", "--overrides", "do=ignore_term")
    process = lab.popen(*flags)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer")
    process.send_signal(signal.SIGINT)
    assert "stopping" in eventually(process.stdout.readline, "the first signal's answer") or any(
        "stopping" in line for line in iter(process.stdout.readline, "")
    )
    for _ in range(more):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)  # nothing to wait for: signals of one kind are merged
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert lab.causes("a_1") == ["cancelled"]
    assert_left_nothing_and_trained_again(lab, *flags)


def test_a_trainer_that_exits_0_when_told_to_stop_is_not_done(lab, eventually):
    """Stopped half-way with an evaluation's files there: cancelled, and trained on the next run."""
    lab.add_scene("a_1")
    flags = ("--expect", "metrics.json", "--overrides", "do=zero_on_term")
    process = lab.popen(*flags)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert lab.record("a_1")["status"] == "cancelled"


def test_leftovers_of_a_failed_attempt_are_not_taken_for_outputs(lab):
    """The first attempt writes its metrics and fails, the second writes nothing: not done."""
    lab.add_scene("a_1")
    flags = ("--expect", "metrics.json", "--overrides", "do=half")
    assert lab.call(*flags).returncode == 1
    assert lab.call(*flags).returncode == 1
    assert lab.causes("a_1") == ["trainer_error", "no_output"]
    assert list((lab.output("a_1") / "superseded").glob("*/metrics.json"))


def unexpected(stderr: str) -> list[str]:
    """Return the lines that do not only say, on a busy machine, what is awaited."""
    return [line for line in stderr.splitlines() if not line.startswith("waiting: ")]


def test_characters_that_the_terminal_lacks_are_escaped(lab):
    """The trainer prints arrows on an ASCII terminal; the scene is done."""
    lab.add_scene("a_1")
    lab.environment["PYTHONIOENCODING"] = "ascii"
    result = lab.run("--overrides", "do=letters")
    assert (result.returncode, unexpected(result.stderr)) == (0, [])
    assert "\\u2713" in result.stdout


def test_a_full_disk_behind_the_terminal_output_ends_no_training(lab):
    """With `> /dev/full` the scene is still trained."""
    lab.add_scene("a_1")
    command = [sys.executable, "training/run.py", *lab.arguments()]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            command,
            cwd=CHECKOUT,
            env={**os.environ, **lab.environment},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, unexpected(ended.stderr.decode())) == (0, [])
    assert lab.record("a_1")["status"] == "done"


def test_the_flows_notification_url_does_not_reach_trainers(lab):
    """It is a secret that the user may have exported for flows."""
    lab.add_scene("a")
    lab.environment["TS_NOTIFY_URL"] = "json://somewhere"
    assert lab.call().returncode == 0
    inherited = json.loads((lab.output("a") / "environment.json").read_text())
    assert "TS_RESULTS_ROOT" in inherited
    assert "TS_NOTIFY_URL" not in inherited
