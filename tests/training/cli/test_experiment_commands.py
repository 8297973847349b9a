"""--status, --watch, --logs, --cancel on a machine without Slurm: from records and claims alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from training.cli import status_table
from training.jobs import status
from training.plan.experiments import Experiment
from training.system.paths import Roots

DONE, FAILED, USAGE, GOING_ON, INTERRUPTED = 0, 1, 2, 3, 130
WAITING = ("--run-all", "--overrides", "do=wait")


@pytest.fixture
def watched(lab, tmp_path):
    """A lab on a machine without Slurm's commands."""
    lab.environment["PATH"] = str(tmp_path / "bin")
    return lab


def rows(out):
    """Return the table's cells by scene and heading."""
    lines = out.splitlines()
    headings = re.split(r"  +", lines[0])
    starts = [lines[0].index(name) for name in headings]
    ends = [*starts[1:], None]
    table = {}
    for line in lines[1 : lines.index("")]:
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        table[cells[0]] = dict(zip(headings, cells, strict=True))
    return table


def states(out):
    return {scene: row["state"] for scene, row in rows(out).items()}


def let_go(lab, *scenes):
    for scene in scenes:
        lab.let_go(scene)


def is_ready(lab, scene):
    return (lab.output(scene) / "ready.txt").exists()


def start_waiting(lab, eventually, *flags):
    """Start a launch whose first scene runs until its go.txt appears; return the process."""
    launcher = lab.popen(*WAITING, *flags)
    eventually(lambda: is_ready(lab, "a"), "the first scene")
    return launcher


def test_status_tells_how_each_scene_stands(watched, eventually):
    """Running with progress, waiting for its turn; then done, failed with its cause and log."""
    watched.add_scene("a")
    watched.add_scene("b")
    launcher = start_waiting(watched, eventually)
    seen = watched.call("--status")
    assert seen.returncode == GOING_ON, seen.stderr
    assert states(seen.stdout) == {"a": "running", "b": "queued"}
    assert rows(seen.stdout)["a"]["progress"] == "epoch 1/2"
    assert rows(seen.stdout)["a"]["log"] == str(watched.output("a") / "train.log")
    let_go(watched, "a")
    eventually(lambda: is_ready(watched, "b"), "the second scene")
    seen = watched.call("--status")
    assert states(seen.stdout) == {"a": "done", "b": "running"}
    assert "left, until" in seen.stdout
    let_go(watched, "b")
    launcher.communicate(timeout=60)
    seen = watched.call("--status")
    assert (seen.returncode, states(seen.stdout)) == (DONE, {"a": "done", "b": "done"})
    assert "experiment exp, 2 scenes: 2 done" in seen.stdout


def test_status_fails_when_a_scene_has_failed_and_nothing_runs(watched):
    """With its cause, attempts and log; a scene that never started is named too."""
    watched.add_scene("a")
    watched.add_scene("b")
    watched.call("--run-all", "--max-failures", "1", "--overrides", "do=fail")
    seen = watched.call("--status")
    assert seen.returncode == FAILED
    assert states(seen.stdout) == {"a": "failed", "b": "not started"}
    assert rows(seen.stdout)["a"]["cause"] == "trainer_error"
    assert rows(seen.stdout)["a"]["attempts"] == "1"
    log = watched.output("a") / "train.log"
    assert "1 scene failed (trainer_error): a\n    a: " in seen.stdout
    assert f"the loss is not a number\n    log: {log}\n" in seen.stdout


def test_status_knows_an_experiment_by_its_records_alone(watched):
    """Without plans and without Slurm; the roots are given as flags."""
    watched.add_scene("a")
    watched.call()
    seen = watched.call("--status", "--state-root", str(watched.root / "nothing"))
    assert (seen.returncode, states(seen.stdout)) == (DONE, {"a": "done"})
    assert not (watched.root / "nothing").exists()


def test_a_killed_attempt_is_not_running(watched, eventually):
    """After kill -9 of launcher and supervisor no end is recorded and nobody holds the claim."""
    watched.add_scene("a")
    launcher = start_waiting(watched, eventually)
    supervisor = watched.record("a")["attempts"][0]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    launcher.kill()
    launcher.communicate(timeout=60)
    eventually(lambda: not watched.strays(), "the trainer's end")
    seen = watched.call("--status")
    assert (seen.returncode, states(seen.stdout)) == (FAILED, {"a": "failed"})


def test_an_unreadable_record_counts_as_failed(watched):
    """The other scenes are still shown."""
    for name in "ab":
        watched.add_scene(name)
    watched.call("--run-all")
    (watched.output("a") / "run.json").write_text("{")
    seen = watched.call("--status")
    assert (seen.returncode, states(seen.stdout)) == (FAILED, {"a": "failed", "b": "done"})


def test_a_mistyped_experiment_names_the_nearest(watched):
    """A usage error, and nothing is created; likewise where flags exclude each other."""
    watched.add_scene("a")
    watched.call()
    before = sorted(watched.root.rglob("*"))
    for flags in (("--status",), ("--logs", "a"), ("--cancel",), ("--watch",)):
        seen = watched.call(*flags, "--exp-name", "exq")
        assert seen.returncode == USAGE
        assert "exq" in seen.stderr
        assert "did you mean exp?" in seen.stderr
    seen = watched.call("--status", "--cancel")
    assert (seen.returncode, "exclude" in seen.stderr) == (USAGE, True)
    assert sorted(watched.root.rglob("*")) == before


def test_watch_ends_with_the_experiment(watched, eventually):
    """It prints a table for each change and ends with the status of the last."""
    watched.add_scene("a")
    launcher = start_waiting(watched, eventually)
    watch = watched.popen("--watch")
    assert eventually(watch.stdout.readline, "a table").startswith("scene")
    let_go(watched, "a")
    out = watch.stdout.read()
    launcher.communicate(timeout=60)
    assert watch.wait(timeout=60) == DONE
    assert "1 running" in out
    assert "1 done" in out


def test_ctrl_c_ends_the_watching_only(watched, eventually):
    """Exit status 130, and the experiment still runs."""
    watched.add_scene("a")
    start_waiting(watched, eventually)
    watch = watched.popen("--watch")
    eventually(watch.stdout.readline, "a table")
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=60)
    assert (watch.returncode, err) == (INTERRUPTED, "")
    assert states(watched.call("--status").stdout) == {"a": "running"}


def test_logs_follow_a_scene_until_its_attempt_ends(watched, eventually):
    """From the beginning to the end, epochs in words instead of machine-readable lines."""
    watched.add_scene("a")
    start_waiting(watched, eventually)
    logs = watched.popen("--logs", "a")
    begun = [eventually(logs.stdout.readline, "the log") for _ in range(6)]
    assert begun[-2:] == ["epoch 1/2, loss 0.5\n", "training a from camera 28\n"]
    with (watched.output("a") / "train.log").open("a") as log:
        log.write("TS_PROGRESS {}\nlast words")
    let_go(watched, "a")
    out, err = logs.communicate(timeout=60)
    assert (logs.returncode, err) == (DONE, "")
    assert out.endswith("last words")
    assert "TS_PROGRESS" not in "".join(begun) + out


def test_logs_print_the_whole_log_of_a_scene_that_has_ended(watched):
    """A log of many chunks, with a last line that has no end."""
    watched.add_scene("a")
    watched.call()
    log = watched.output("a") / "train.log"
    log.write_text("".join(f"line {i} ä\n" for i in range(200_000)) + "x" * 2**21, "utf-8")
    seen = watched.call("--logs", "a")
    assert seen.returncode == DONE
    assert seen.stdout == log.read_text(encoding="utf-8")


def test_logs_end_with_their_reader(watched, eventually):
    """`--logs a | head -3` ends while the scene still runs, without an error."""
    watched.add_scene("a")
    start_waiting(watched, eventually)
    logs = watched.popen("--logs", "a")
    eventually(logs.stdout.readline, "the log")
    logs.stdout.close()
    log = watched.output("a") / "train.log"

    def has_ended():
        with log.open("a") as stream:
            stream.write("more\n")
        return logs.poll() is not None

    eventually(has_ended, "the end of a reader's reader")
    assert logs.returncode == DONE
    assert not logs.stderr.read()
    logs.stdout = None


def test_logs_of_a_mistyped_scene_name_the_nearest(watched):
    """A scene that has not started is a fault that says so."""
    for name in ("dance", "waltz"):
        watched.add_scene(name)
    watched.call("--run-all", "--max-failures", "1", "--overrides", "do=fail")
    assert "did you mean dance?" in watched.call("--logs", "danse").stderr
    seen = watched.call("--logs", "waltz")
    assert (seen.returncode, "has no log" in seen.stderr) == (USAGE, True)


def test_cancel_ends_a_launch_and_the_records_say_so(watched, eventually):
    """It ends the running scene and the launcher; queued scenes are recorded as cancelled too."""
    for name in "abc":
        watched.add_scene(name)
    watched.call("--run-all", "--overrides", "do=fail", "only=b")
    (watched.output("a") / "run.json").unlink()
    launcher = start_waiting(watched, eventually)
    ended = watched.call("--cancel")
    assert ended.returncode == DONE, ended.stderr
    assert launcher.wait(timeout=60) == INTERRUPTED
    assert watched.causes("a") == ["cancelled"]
    assert watched.record("b")["status"] == "cancelled"
    assert watched.causes("b") == ["trainer_error"], "an attempt keeps its cause"
    assert not watched.strays()
    plans = (watched.root / "state" / "plans").glob("*.json")
    assert all(plan.with_suffix(".cancelled").exists() for plan in plans), "flows look for it"
    assert watched.call("--cancel").stdout.startswith("experiment exp: nothing is queued")


def test_a_launch_ends_when_its_plan_is_cancelled_on_another_machine(watched, eventually):
    """The other machine can only leave the mark; the trainer ends as on Ctrl-C."""
    watched.add_scene("a")
    watched.add_scene("b")
    launcher = start_waiting(watched, eventually)
    (plan,) = (watched.root / "state" / "plans").glob("*.json")
    plan.with_suffix(".cancelled").touch()
    assert launcher.wait(timeout=60) == INTERRUPTED
    assert watched.causes("a") == ["cancelled"]
    assert not watched.output("b").exists()


def is_pending(number, pid):
    """Return whether a signal is pending for a stopped process (proc(5), ShdPnd)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = next(line for line in lines if line.startswith("ShdPnd"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


IMPATIENT = """
import sys
from training import run
from training.cli import cancel
cancel.SLURM_KILLS_S, cancel.SIGNALLED_S = -10, 2
sys.exit(run.main())
"""


def test_cancel_signals_a_launcher_that_ignores_the_mark(watched, eventually):
    """If that does not end it within the bound, it is listed as left."""
    watched.add_scene("a")
    launcher = start_waiting(watched, eventually, "--kill-grace", "1")
    launcher.send_signal(signal.SIGSTOP)
    ended = watched.run("--cancel", program=("-c", IMPATIENT))
    assert is_pending(signal.SIGTERM, launcher.pid)
    launcher.send_signal(signal.SIGCONT)
    assert ended.returncode == FAILED
    assert f"process {launcher.pid}" in ended.stdout.partition("this is left:")[2]
    assert launcher.wait(timeout=60) == INTERRUPTED
    assert watched.causes("a") == ["cancelled"]


def test_a_dry_run_cancels_nothing(watched, eventually):
    """`--cancel --dry-run` only lists what would end."""
    watched.add_scene("a")
    start_waiting(watched, eventually)
    said = watched.call("--cancel", "--dry-run").stdout
    assert "running: a" in said
    assert states(watched.call("--status").stdout) == {"a": "running"}


GENERATE = ("--run-all", "--overrides", "run_mode=difix_data_generation_generate")


def test_a_failed_aggregate_is_no_success(watched):
    """All scenes done, their outputs not merged: a line with cause and log, exit status 1.

    --watch ends with the same. After the same command has merged them the line says done.
    """
    watched.add_scene("a")
    assert watched.call(*GENERATE, "do=fail_aggregate").returncode == FAILED
    for command in ("--status", "--watch"):
        seen = watched.call(command)
        assert seen.returncode == FAILED
        assert (
            "experiment exp, 1 scene: 1 done\naggregate: failed (trainer_error), log "
            in seen.stdout
        )
    assert watched.call(*GENERATE, "do=fail_aggregate", "do=ok").returncode == DONE
    seen = watched.call("--status")
    assert seen.returncode == DONE
    assert "\naggregate: done, log " in seen.stdout


def test_an_aggregate_that_was_not_started_says_why(watched):
    """A scene failed: it needs all of them; in the report too."""
    watched.add_scene("a")
    watched.add_scene("b", do="fail")
    assert watched.call(*GENERATE).returncode == FAILED
    said = "not started: 1 of 2 scenes are not done: b"
    assert f"\naggregate: {said}\n" in watched.call("--status").stdout
    report = (watched.root / "results" / "_experiments" / "exp" / "report.md").read_text()
    assert "- aggregate: not started" in report
    assert "1 of 2 scenes are not done: b" in report


def test_a_thousand_scenes_ask_slurm_nothing_where_all_is_local(watched, monkeypatch):
    """Each record is read once and no process is started."""
    for i in range(1000):
        output = watched.output(f"s{i:03}")
        output.mkdir(parents=True)
        attempt = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:09Z", "cause": "ok"}
        attempt |= {"host": "n1", "pid": 1, "slurm_job_id": f"12_{i}"}
        record = {"scene": output.parent.name, "exp_name": "exp", "fingerprint": "f"}
        content = record | {"status": "done", "attempts": [attempt]}
        (output / "run.json").write_text(json.dumps(content))
    roots = Roots(results_root=watched.root / "results", scene_data_root=".", state_root=".")
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    monkeypatch.setattr(status.client, "my_jobs", list)
    seen = status.take_snapshot(Experiment("exp", roots, ()))
    assert len(status_table.render(seen).splitlines()) == 1000 + 3
    assert seen.is_done
