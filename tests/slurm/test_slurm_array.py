"""`training/run.py --submit` on a real Slurm: jobs, resources, dependencies, what is submitted.

The trainer is the stand-in; `do=…` says how it behaves. The real one runs in test_slurm_difix.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from array_on_slurm import (
    GENERATE,
    is_ready,
    let_go,
    merged,
    running,
    state,
    submit,
    submit_some,
    submitted,
    wait_ended,
)

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = ["a_0", "a_1", "a_2"]
"""The lab's scenes."""
AWKWARD = ["a=x,y", "b='q\"uote'", "c=[1, 2]", "d=50%", "e=a#b", "f=süß 北", "g=k=v", "h=a b", "i="]


def test_one_scene_as_the_page_submits_it(array_lab, eventually):
    """One array task and no other job, named after the experiment, with the script's resources."""
    one = ("--scene-name-includes", "a_2")
    (array,) = submit_some(array_lab, *one, "--overrides", "do=wait")
    job = array_lab.slurm.job(array)
    assert job["JobName"] == "exp"
    assert job["TimeLimit"] == "03:00:00"
    assert job["TresPerNode"] == "gres:gpu:1"
    assert job["WorkDir"] == str(CHECKOUT)
    eventually(lambda: is_ready(array_lab, "a_2"), "the trainer")
    let_go(array_lab, "a_2")
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    assert array_lab.starts("a_2")[0].split()[1] in {"0", "1"}  # the GPU that Slurm gave
    attempt = array_lab.record("a_2")["attempts"][0]
    assert attempt["slurm_job_id"] == f"{array}_0"
    assert attempt["host"] in array_lab.slurm.nodes
    assert not array_lab.output("a_1").exists()


def test_array_spec_and_throttle(array_lab):
    """All scenes are one array; --slurm.array-parallelism is its throttle, --slurm.* flags win."""
    flags = ("--slurm.job-name", "mine", "--slurm.time", "90", "--slurm.array-parallelism", "2")
    (array,) = submit(array_lab, *flags, "--overrides", "do=hang")
    rows = array_lab.slurm.call("squeue", f"--job={array}", "--noheader", "--format=%F %j %l")
    assert set(rows.split("\n")[:-1]) == {f"{array} mine 1:30:00"}
    fields = array_lab.slurm.call("scontrol", "show", "job", array)
    assert "ArrayTaskThrottle=2" in fields


def test_difix_generation_is_followed_by_its_aggregate(array_lab, eventually):
    """A job with its own name and time and without GPU, which runs once, after all scenes.

    Where no scene is left, the same command submits the aggregate alone.
    """
    flags = ("--aggregate-job-name", "agg", "--aggregate-time", "0:20:00")
    flags += ("--overrides", GENERATE, "do=wait", "b='x, y'")
    array, aggregate = submit(array_lab, *flags)
    job = array_lab.slurm.job(aggregate)
    assert (job["JobName"], job["TimeLimit"]) == ("agg", "00:20:00")
    assert job["Dependency"].startswith(f"afterok:{array}_*")
    assert "TresPerNode" not in job
    for name in NAMES:
        eventually(lambda name=name: is_ready(array_lab, name), name)
        assert not merged(array_lab)
        let_go(array_lab, name)
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    (line,) = merged(array_lab)
    assert line["scenes"] == NAMES
    mode = "run_mode=difix_data_generation_aggregate"
    assert line["arguments"] == [mode, "shared.exp_name=exp", "do=wait", "b='x, y'"]
    report = array_lab.root / "results" / "_experiments" / "exp" / "report.md"
    assert "3 of 3 scenes done" in report.read_text()
    (aggregate,) = submit(array_lab, *flags)
    assert array_lab.slurm.job(aggregate)["Dependency"] in {"", "(null)"}
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert len(merged(array_lab)) == 2


def test_no_aggregate_when_it_is_not_wanted(array_lab):
    """--no-auto-schedule-aggregate submits the array alone."""
    ids = submit(array_lab, "--no-auto-schedule-aggregate", "--overrides", GENERATE, "do=hang")
    assert len(ids) == 1
    assert {job.job_id.partition("_")[0] for job in array_lab.slurm.squeue()} == set(ids)


def test_as_many_tasks_run_at_once_as_the_throttle_allows(array_lab, eventually):
    """Five scenes, two at a time."""
    for name in ("a_3", "a_4"):
        array_lab.add_scene(name)
    names = [f"a_{number}" for number in range(5)]
    (array,) = submit(array_lab, "--slurm.array-parallelism", "2", "--overrides", "do=wait")
    done = set()
    while len(done) < len(names):
        at_once = running(array_lab)
        assert len(at_once) <= 2
        ready = {name for name in names if is_ready(array_lab, name)} - done
        assert len(ready) <= 2
        if len(at_once) == len(ready) == min(2, len(names) - len(done)):  # all that may run, does
            let_go(array_lab, *ready)
            done |= ready
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    assert all(len(array_lab.starts(name)) == 1 for name in names)


def test_a_failed_scene_ends_the_aggregate_and_the_same_command_goes_on(array_lab, eventually):
    """The aggregate is cancelled, which --status shows with its reason and exit status 1.

    The same command trains the failed scene alone and aggregates.

    An aggregate that runs all the same, because Slurm has forgotten the array and takes it for
    successful, finds in the records that a scene is not done.
    """
    overrides = ("--overrides", GENERATE, "do=half", "only=a_2")
    array, aggregate = submit(array_lab, *overrides)
    eventually(lambda: not array_lab.slurm.squeue(), "an empty queue")
    assert state(array_lab, aggregate) == "CANCELLED"
    assert state(array_lab, f"{array}_2") == "FAILED"
    seen = array_lab.run("--status")
    assert seen.returncode == 1
    (line,) = re.findall("^aggregate: .*", seen.stdout, re.MULTILINE)
    assert line.startswith(f"aggregate: not started, job {aggregate}: Slurm: ")
    assert line.endswith("1 of 3 scenes are not done: a_2")
    forced, log = submit_aggregate_of(array_lab, f"{array}_2")
    assert wait_ended(array_lab, eventually, forced) == ["FAILED"]
    assert "1 of 3 scenes are not done: a_2" in log.read_text()
    assert not merged(array_lab)
    array, aggregate = submit(array_lab, *overrides)
    assert array_lab.slurm.job(array)["ArrayTaskId"] == "0"
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert [len(array_lab.starts(name)) for name in NAMES] == [1, 1, 2]
    assert len(merged(array_lab)) == 1
    seen = array_lab.run("--status")
    assert (seen.returncode, f"\naggregate: done, job {aggregate}, log" in seen.stdout) == (0, True)


def submit_aggregate_of(lab: Any, job_id: str) -> tuple[str, Path]:
    """Submit the aggregate of an array task's plan, whatever became of it; its id and its log."""
    command = lab.slurm.job(job_id)["Command"].split()
    plan = next(Path(word) for word in command if word.endswith(".json"))
    light, log = plan.with_suffix(".light.slurm"), lab.root / "aggregate.out"
    submitted_id = lab.slurm.call(
        *("sbatch", "--parsable", f"--chdir={CHECKOUT}", f"--output={log}"),
        *("--dependency=afterok:987654", str(light), "--in-job", "aggregate", str(plan)),
    )
    return submitted_id.strip(), log


def test_what_is_added_or_edited_after_submission_changes_nothing(array_lab, eventually):
    """Array tasks read the plan, not the folder of scenes."""
    (array,) = submit(
        array_lab, "--slurm.array-parallelism", "1", "--overrides", "do=wait", "only=a_0"
    )
    array_lab.add_scene("a_00")
    array_lab.add_scene("a_1", cam_id=99)
    eventually(lambda: is_ready(array_lab, "a_0"), "the first scene")
    let_go(array_lab, "a_0")
    wait_ended(array_lab, eventually, array)
    assert not array_lab.output("a_00").exists()
    assert [len(array_lab.starts(name)) for name in NAMES] == [1, 1, 1]
    assert "from camera 28" in (array_lab.output("a_1") / "train.log").read_text()


def test_odd_values_arrive_and_no_variable_leaks_from_job_to_job(array_lab, eventually):
    """Submitted from inside a job, with values that would break --export: all as it was typed."""
    flags = array_lab.arguments("--submit", "--run-all", "--overrides", *AWKWARD)
    inner = shlex.join([sys.executable, "training/run.py", *flags])
    script = array_lab.root / "outer.sh"
    script.write_text(f"#!/bin/bash\nexport SBATCH_JOB_NAME=leaked SLURM_FOO=1\n{inner}\n")
    environment = ",".join(f"{key}={value}" for key, value in array_lab.environment.items())
    outer = array_lab.slurm.call(
        *("sbatch", "--parsable", "--time=7", "--array=5", f"--chdir={CHECKOUT}", "--mem=100"),
        *(f"--output={array_lab.root}/outer.out", f"--export=ALL,{environment}", str(script)),
    )
    assert wait_ended(array_lab, eventually, outer.strip()) == ["COMPLETED"]
    said = (array_lab.root / "outer.out").read_text()
    (array,) = submitted(said) or [said]
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    job = array_lab.slurm.job(array)
    assert (job["JobName"], job["TimeLimit"]) == ("exp", "03:00:00")
    found = json.loads((array_lab.output("a_2") / "arguments.jsonl").read_text())
    assert found[2:] == AWKWARD
    environment = json.loads((array_lab.output("a_2") / "environment.json").read_text())
    assert environment["SLURM_ARRAY_TASK_ID"] == "2"
    assert "SLURM_FOO" not in environment
    assert not any(key.startswith("SBATCH_") for key in environment)


def test_scenes_in_the_queue_are_not_submitted_twice(array_lab, eventually):
    """Queued and running ones are held, and named; the new aggregate waits for them too."""
    one_by_one = ("--slurm.array-parallelism", "1")
    first, earlier = submit(array_lab, *one_by_one, "--overrides", GENERATE, "do=wait")
    eventually(lambda: is_ready(array_lab, "a_0"), "the first scene")
    array_lab.add_scene("b_0")
    result = array_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert f"a_0: not run, running in Slurm job {first}" in result.stdout
    assert f"a_2: not run, pending in Slurm job {first}" in result.stdout
    second, aggregate = submitted(result.stdout)
    assert array_lab.slurm.job(second)["ArrayTaskId"] == "0"
    assert f"afterok:{first}_2" in array_lab.slurm.job(aggregate)["Dependency"]
    again = array_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert "nothing is left to submit" in again.stdout
    for name in ("b_0", *NAMES):
        eventually(lambda name=name: is_ready(array_lab, name), name)
        let_go(array_lab, name)
    both = wait_ended(array_lab, eventually, earlier, aggregate)
    assert both == ["COMPLETED", "COMPLETED"]
    assert all(len(array_lab.starts(name)) == 1 for name in NAMES)


def test_odd_folders(array_lab, eventually):
    """Spaces, quotes and % in the folders: jobs find their plan, and Slurm their logs."""
    odd = array_lab.root / "50%j a'; echo foo"
    array_lab.environment |= {
        "TS_STATE_ROOT": str(odd / "state"),
        "TS_RESULTS_ROOT": str(odd / "results"),
    }
    one = ("--scene-name-includes", "a_1")
    array, aggregate = submit_some(array_lab, *one, "--overrides", GENERATE)
    assert wait_ended(array_lab, eventually, array, aggregate) == ["COMPLETED", "COMPLETED"]
    logs = {path.name for path in (odd / "state" / "slurm").glob("*/*.out")}
    assert logs == {f"exp-{array}_0.out", f"exp_aggregate-{aggregate}.out"}


def on_a_terminal(lab: Any, answer: str, *flags: str) -> tuple[int, str]:
    """Return exit status and output of a submission by a person who types that answer."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "training/run.py", *lab.arguments("--submit", "--run-all", *flags)],
        cwd=CHECKOUT,
        env={**os.environ, **lab.environment},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        said = b""
        with contextlib.suppress(OSError):  # Linux's end of a terminal
            while chunk := os.read(ours, 4096):
                said += chunk
        os.close(ours)
        return process.wait(timeout=60), said.decode()


@pytest.mark.parametrize(
    ("answer", "flags", "status"),
    [("n\n", (), 130), ("\x04", (), 130), ("\n", (), 0), ("", ("--yes",), 0)],
)
def test_a_terminal_is_asked(array_lab, answer, flags, status):
    """Enter submits; n and end of input do not, and create nothing; --yes is not asked."""
    found, said = on_a_terminal(array_lab, answer, *flags)
    assert found == status, said
    assert ("Submit? [Y/n]" in said) is (not flags)
    assert "array exp: 3 scenes" in said
    assert bool(submitted(said)) is (status == 0)
    assert (array_lab.root / "state").exists() is (status == 0)
