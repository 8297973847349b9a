"""`training/run.py --submit` on a real Slurm: what the page promises.

The trainer is the stand-in; `do=…` says how it behaves.
"""

from __future__ import annotations

import contextlib
import json
import os
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
AWKWARD = ["a=x,y", "b='q\"uote'", "c=[1, 2]", "d=50%", "e=a#b", "f=süß 北", "g=k=v", "h=a b", "i="]


def test_one_scene_as_the_page_submits_it(array_lab, eventually):
    """One task and no other job, named after the experiment, with the script's resources."""
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


def test_difix_generation_chains_its_aggregate(array_lab, eventually):
    """afterok on the array, its own name and time, no GPU; it runs once, after all scenes."""
    flags = ("--aggregate-job-name", "agg", "--aggregate-time", "0:20:00")
    array, aggregate = submit(array_lab, *flags, "--overrides", GENERATE, "do=wait", "b='x, y'")
    job = array_lab.slurm.job(aggregate)
    assert (job["JobName"], job["TimeLimit"]) == ("agg", "00:20:00")
    assert job["Dependency"].startswith(f"afterok:{array}_*")
    assert "TresPerNode" not in job
    names = [f"a_{number}" for number in range(4)]
    for name in names:
        eventually(lambda name=name: is_ready(array_lab, name), name)
        assert not merged(array_lab)
        let_go(array_lab, name)
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    (line,) = merged(array_lab)
    assert line["scenes"] == names
    mode = "run_mode=difix_data_generation_aggregate"
    assert line["arguments"] == [mode, "shared.exp_name=exp", "do=wait", "b='x, y'"]
    report = array_lab.root / "results" / "_experiments" / "exp" / "report.md"
    assert "4 of 4 scenes done" in report.read_text()


def test_no_aggregate_when_it_is_not_wanted(array_lab):
    """--no-auto-schedule-aggregate submits the array alone."""
    ids = submit(array_lab, "--no-auto-schedule-aggregate", "--overrides", GENERATE, "do=hang")
    assert len(ids) == 1
    assert {job.job_id.partition("_")[0] for job in array_lab.slurm.squeue()} == set(ids)


def test_eight_scenes_at_parallelism_two(array_lab, eventually):
    """Never more than two run at once; the aggregate runs once after eight successes."""
    for number in range(4, 8):
        array_lab.add_scene(f"a_{number}")
    _, aggregate = submit(
        array_lab, "--slurm.array-parallelism", "2", "--overrides", GENERATE, "do=wait"
    )
    done = set()
    while len(done) < 8:
        at_once = running(array_lab)
        assert len(at_once) <= 2
        ready = {f"a_{n}" for n in range(8) if is_ready(array_lab, f"a_{n}")} - done
        assert len(ready) <= 2
        if len(at_once) == len(ready) == min(2, 8 - len(done)):  # all that may run, does
            let_go(array_lab, *ready)
            done |= ready
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert len(merged(array_lab)) == 1
    assert all(len(array_lab.starts(f"a_{number}")) == 1 for number in range(8))


def test_a_failed_scene_ends_the_aggregate_and_the_same_command_goes_on(array_lab, eventually):
    """Three successes, one failure: the aggregate is gone; then only the failed one is trained."""
    overrides = ("--overrides", GENERATE, "do=half", "only=a_3")
    array, aggregate = submit(array_lab, *overrides)
    eventually(lambda: not array_lab.slurm.squeue(), "an empty queue")
    assert state(array_lab, aggregate) == "CANCELLED"
    assert state(array_lab, f"{array}_3") == "FAILED"
    assert not merged(array_lab)
    array, aggregate = submit(array_lab, *overrides)
    assert array_lab.slurm.job(array)["ArrayTaskId"] == "0"
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert [len(array_lab.starts(f"a_{number}")) for number in range(4)] == [1, 1, 1, 2]
    assert len(merged(array_lab)) == 1


def test_a_finished_experiment_only_aggregates(array_lab, eventually):
    """With no scene left the aggregate is submitted alone, waiting for nothing."""
    wait_ended(array_lab, eventually, *submit(array_lab, "--overrides", GENERATE))
    (aggregate,) = submit(array_lab, "--overrides", GENERATE)
    assert array_lab.slurm.job(aggregate)["Dependency"] in {"", "(null)"}
    assert wait_ended(array_lab, eventually, aggregate) == ["COMPLETED"]
    assert len(merged(array_lab)) == 2


def test_the_aggregate_looks_for_itself_whether_all_is_done(array_lab, eventually):
    """Slurm takes a job that it has forgotten for one that went well: the records decide."""
    array, _ = submit(array_lab, "--overrides", GENERATE, "do=fail", "only=a_1")
    eventually(lambda: not array_lab.slurm.squeue(), "an empty queue")
    command = array_lab.slurm.job(f"{array}_1")["Command"].split()
    plan = next(Path(word) for word in command if word.endswith(".json"))
    light = plan.with_suffix(".light.slurm")
    log = array_lab.root / "aggregate.out"
    aggregate = array_lab.slurm.call(
        *("sbatch", "--parsable", f"--chdir={CHECKOUT}", f"--output={log}"),
        *("--dependency=afterok:987654", str(light), "--in-job", "aggregate", str(plan)),
    ).strip()
    assert wait_ended(array_lab, eventually, aggregate) == ["FAILED"]
    assert "scenes are not done: a_1" in log.read_text()
    assert not merged(array_lab)


def test_a_scene_added_after_submit_shifts_nothing(array_lab, eventually):
    """The array reads the plan, not the folder; nor do later edits of a scene count."""
    (array,) = submit(
        array_lab, "--slurm.array-parallelism", "1", "--overrides", "do=wait", "only=a_0"
    )
    array_lab.add_scene("a_00")
    array_lab.add_scene("a_2", cam_id=99)
    eventually(lambda: is_ready(array_lab, "a_0"), "the first scene")
    let_go(array_lab, "a_0")
    wait_ended(array_lab, eventually, array)
    assert not array_lab.output("a_00").exists()
    assert [len(array_lab.starts(f"a_{number}")) for number in range(4)] == [1, 1, 1, 1]
    assert "from camera 28" in (array_lab.output("a_2") / "train.log").read_text()


def test_odd_values_arrive_and_no_variable_leaks_from_job_to_job(array_lab, eventually):
    """Submitted from inside a job, with values that break --export: all as it was typed."""
    flags = array_lab.arguments("--submit", "--run-all", "--overrides", *AWKWARD)
    inner = shlex.join([sys.executable, "training/run.py", *flags])
    script = array_lab.root / "outer.sh"
    script.write_text(f"#!/bin/bash\nexport SBATCH_JOB_NAME=leaked SLURM_FOO=1\n{inner}\n")
    environment = ",".join(f"{key}={value}" for key, value in array_lab.environment.items())
    array_lab.slurm.call(
        *("sbatch", "--wait", "--time=7", "--array=5", f"--chdir={CHECKOUT}", "--mem=100"),
        *(f"--output={array_lab.root}/outer.out", f"--export=ALL,{environment}", str(script)),
    )
    said = (array_lab.root / "outer.out").read_text()
    (array,) = submitted(said) or [said]
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    job = array_lab.slurm.job(array)
    assert (job["JobName"], job["TimeLimit"]) == ("exp", "03:00:00")
    found = json.loads((array_lab.output("a_3") / "arguments.jsonl").read_text())
    assert found[2:] == AWKWARD
    environment = json.loads((array_lab.output("a_3") / "environment.json").read_text())
    assert environment["SLURM_ARRAY_TASK_ID"] == "3"
    assert "SLURM_FOO" not in environment
    assert not any(key.startswith("SBATCH_") for key in environment)


def test_scenes_in_the_queue_are_not_submitted_twice(array_lab, eventually):
    """Queued and running ones are held, said so; the new aggregate waits for them too."""
    one_by_one = ("--slurm.array-parallelism", "1")
    first, earlier = submit(array_lab, *one_by_one, "--overrides", GENERATE, "do=wait")
    eventually(lambda: is_ready(array_lab, "a_0"), "the first scene")
    array_lab.add_scene("b_0")
    result = array_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert f"a_0: not run, running in Slurm job {first}" in result.stdout
    assert f"a_3: not run, pending in Slurm job {first}" in result.stdout
    second, aggregate = submitted(result.stdout)
    assert array_lab.slurm.job(second)["ArrayTaskId"] == "0"
    assert f"afterok:{first}_3" in array_lab.slurm.job(aggregate)["Dependency"]
    again = array_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert "nothing is left to submit" in again.stdout
    for name in ("b_0", "a_0", "a_1", "a_2", "a_3"):
        eventually(lambda name=name: is_ready(array_lab, name), name)
        let_go(array_lab, name)
    both = wait_ended(array_lab, eventually, earlier, aggregate)  # at once: one after the other
    assert both == ["COMPLETED", "COMPLETED"]
    assert all(len(array_lab.starts(f"a_{number}")) == 1 for number in range(4))


def test_odd_folders(array_lab, eventually):
    """Spaces, quotes and % in the folders: jobs find their plan, and Slurm their logs."""
    odd = array_lab.root / "50%j a'; echo foo"
    array_lab.environment |= {
        "TS_STATE_ROOT": str(odd / "state"),
        "TS_RESULTS_ROOT": str(odd / "results"),
    }
    array, aggregate = submit(array_lab, "--overrides", GENERATE)
    assert wait_ended(array_lab, eventually, array, aggregate) == ["COMPLETED", "COMPLETED"]
    logs = {path.name for path in (odd / "state" / "slurm").glob("*/*")}
    assert logs == {*(f"exp-{array}_{n}.out" for n in range(4)), f"exp_aggregate-{aggregate}.out"}


def test_the_pages_command_with_the_real_trainer(array_lab, eventually):
    """Scene data with a recipe is built at submission; the job trains and keeps its promises."""
    recipe = {"action": "dance", "people": ["ada", "ben"], "frames": 3, "image_size": 48}
    array_lab.add_scene("hi4d_pair17_dance", synthetic=recipe, raw_gt_dir_path="truth/dance")
    result = array_lab.run(
        *("--submit", "--scene-name-includes", "hi4d_pair17_dance", "--exp-name", "my_exp"),
        *("--overrides", "shared.wandb.enable=false", "train.optimization.epochs=2"),
        stand_in=False,
    )
    (array,) = submitted(result.stdout)
    assert array_lab.slurm.job(array)["JobName"] == "my_exp"
    assert wait_ended(array_lab, eventually, array) == ["COMPLETED"]
    assert array_lab.record("hi4d_pair17_dance", "my_exp")["status"] == "done"
    assert list(array_lab.output("hi4d_pair17_dance", "my_exp").glob("person_*.ply"))


def on_a_terminal(lab: Any, answer: str, *flags: str) -> tuple[int, str]:
    """Exit status and output of a submission by a person who types that answer."""
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
    assert "array exp: 4 scenes" in said
    assert bool(submitted(said)) is (status == 0)
    assert (array_lab.root / "state").exists() is (status == 0)
