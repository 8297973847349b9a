"""`python -m flows.train` as a user runs it: real server, real Dask workers, real processes."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from prefect_database import put_migrated_database

from tests.faults.markers import stopped

FLOW = ("-m", "flows.train")
BOUND_S = 45


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture
def flow_lab(lab, prefect_api):
    """A lab whose flows report to the tests' server."""
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    return lab


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_all_scenes_done_is_a_completed_flow_with_edges_into_the_aggregate(flow_lab, prefect_api):
    """Task runs are named by scene, each has an edge into the aggregate; records agree.

    Those of a sweep, which is one flow run, are named by setting and scene. The flow's process
    draws nothing itself: with ten thousand scenes it would keep what their plots take.
    """
    flow_lab.add_scene("hi4d")
    flags = ("--workers", "2", "--exp-name", "whole", "--sweep", "a=1,2")
    result = flow_lab.run(*flags, program=("-X", "importtime", *FLOW))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "matplotlib" not in result.stderr
    assert (flow_lab.root / "results/_experiments/whole/duration_by_scene.png").is_file()
    run = prefect_api.only_run("whole")
    assert (run["state"]["type"], run["state"]["message"]) == ("COMPLETED", "2 of 2 scenes done")
    assert {"exp:whole", "cluster:local"} <= set(run["tags"])
    runs = prefect_api.task_runs(run)
    assert set(runs) == {"a=1/hi4d", "a=2/hi4d", "aggregate"}
    parents = prefect_api.parents(run, "aggregate")
    assert parents == {runs[name]["id"] for name in set(runs) - {"aggregate"}}
    assert flow_lab.record("hi4d", "whole/a=1")["status"] == "done"
    assert "2 of 2" in (flow_lab.root / "results/_experiments/whole/report.md").read_text()


def test_what_is_done_is_not_trained_again(lab, webhook):
    """A flow after the launcher has nothing to do: it needs no API for that, and tells nobody."""
    lab.add_scene("a_1")
    assert lab.run().returncode == 0
    lab.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # where nobody answers
    lab.environment["TS_NOTIFY_URL"] = webhook.url
    result = lab.run(program=FLOW)
    assert result.returncode == 0, result.stderr
    assert "a_1: skipped, done" in result.stdout
    assert result.stdout.endswith("nothing to do: 1 of 1 scene done\n")
    assert webhook.received == []


def test_a_trainer_gets_the_same_environment_from_the_flow_as_from_the_launcher(flow_lab):
    """Nothing of Dask's that decides how it computes: one thread, a heap trimmed at every turn."""
    harmless = ("PREFECT_", "DO_NOT_TRACK", "__DASK_PARENT_PID", "PYTHONHASHSEED", "TS_CLAIM")
    flow_lab.add_scene("a_1")
    environments = []
    for program in (FLOW, ("training/run.py",)):
        flow_lab.run("--force", program=program)
        text = (flow_lab.output("a_1") / "environment.json").read_text()
        environments.append(json.loads(text))
    ours, theirs = environments
    other = {key: value for key, value in ours.items() if theirs.get(key) != value}
    assert [key for key in other if not key.startswith(harmless)] == []


@pytest.fixture
def hanging(flow_lab, eventually):
    """A flow of two scenes whose first trainer hangs at its first start."""
    flow_lab.add_scene("a_1")
    flow_lab.add_scene("a_2")
    flow_lab.flags = ("--run-all", "--kill-grace", "1", "--overrides", "do=resume", "only=a_1")
    process = flow_lab.popen(*flow_lab.flags, program=FLOW)
    eventually((flow_lab.output("a_1") / "ready.txt").exists, "the trainer")
    process.trainer = int(flow_lab.starts("a_1")[0].split()[0])
    return process


LOST_WORKER = {
    "way": "local_flow",
    "ends": "done",
    "attempts": "worker_lost, ok",
    "left": "nothing",
    "flow": "completed",
    "rerun": "skips it",
    "breakage": "lost workers are not retried",
}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            signal.SIGKILL,
            id="killed",
            marks=pytest.mark.fault("the Dask worker is killed", **LOST_WORKER),
        ),
        pytest.param(
            signal.SIGSTOP,
            id="frozen",
            marks=[
                pytest.mark.long,
                pytest.mark.fault("the Dask worker is frozen for minutes", **LOST_WORKER),
            ],
        ),
    ],
)
def test_a_lost_dask_worker_costs_one_start(flow_lab, request, alive, number):
    """The scene starts again on another worker and ends done; its neighbour starts once.

    One that is frozen is lost after Dask's five minutes, here after seconds: it is ended then, and
    has no late result.
    """
    flow_lab.environment["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "8s"
    hanging = request.getfixturevalue("hanging")
    worker = psutil.Process(hanging.trainer).parent().parent()
    worker.send_signal(number)
    out, err = hanging.communicate(timeout=120)
    assert hanging.returncode == 0, out + err
    assert flow_lab.causes("a_1") == ["worker_lost", "ok"]
    assert out.count("will be retried") == 1
    assert [len(flow_lab.starts(name)) for name in ("a_1", "a_2")] == [2, 1]
    assert not alive(hanging.trainer)
    assert not alive(worker.pid)
    assert "a_1: skipped, done" in flow_lab.run(*flow_lab.flags, program=FLOW).stdout


AFTER_A_STOP = {"way": "local_flow", "left": "nothing", "rerun": "trains it"}


def assert_trained_by_the_same_command(flow_lab, *flags: str) -> None:
    """The scene that a run has stopped is trained, and the flow ends well."""
    flow_lab.heal("a_1")
    again = flow_lab.run(*flags, program=FLOW)
    assert again.returncode == 0, again.stdout + again.stderr
    assert flow_lab.causes("a_1") == ["cancelled", "ok"]
    assert len(flow_lab.starts("a_1")) == 2


@pytest.mark.long  # Ctrl-C on a terminal: test_terminal.py; what catches a signal: runner
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=stopped("Ctrl-C once", **AFTER_A_STOP)),
        pytest.param(signal.SIGTERM, marks=stopped("TERM", **AFTER_A_STOP)),
        pytest.param(signal.SIGHUP, marks=stopped("HUP", **AFTER_A_STOP)),
    ],
)
def test_a_stopped_flow_leaves_nothing_running_and_says_cancelled(
    flow_lab, hanging, alive, eventually, number
):
    """Ctrl-C, TERM or HUP: exit status 130, records cancelled, no process of ours left.

    The same command trains what is missing.
    """
    below = children_of(hanging.pid)
    hanging.send_signal(number)
    out, err = hanging.communicate(timeout=60)
    assert hanging.returncode == 130, out + err
    assert flow_lab.causes("a_1") == ["cancelled"]
    assert not alive(hanging.trainer)
    eventually(lambda: not [each for each in below if alive(each.pid)], "their end", 15)
    assert flow_lab.strays() == []
    assert_trained_by_the_same_command(flow_lab, *flow_lab.flags)
    assert len(flow_lab.starts("a_2")) == 1


@pytest.mark.parametrize(
    "gaps_s",
    [
        pytest.param([0.5], marks=stopped("Ctrl-C twice", **AFTER_A_STOP)),
        pytest.param([3.0], marks=[pytest.mark.long, stopped("Ctrl-C twice", **AFTER_A_STOP)]),
        pytest.param([0.03, 0.03], marks=stopped("Ctrl-C three times", **AFTER_A_STOP)),
    ],
)
def test_a_second_ctrl_c_ends_a_flow_at_once(flow_lab, alive, eventually, gaps_s):
    """Whether it comes while the cluster closes or later: no grace of an hour, a true record.

    Nothing is left, and the same command trains the scene.
    """
    flow_lab.add_scene("a_1")
    flags = ("--kill-grace", "3600", "--overrides", "do=ignore_term")
    flow = flow_lab.popen(*flags, program=FLOW)
    eventually((flow_lab.output("a_1") / "ready.txt").exists, "the trainer")
    flow.send_signal(signal.SIGINT)
    for gap_s in gaps_s:
        time.sleep(gap_s)  # nothing to wait for: the moment is what differs
        flow.send_signal(signal.SIGINT)
    out, err = flow.communicate(timeout=45)
    assert flow.returncode == 130, out + err
    assert flow_lab.causes("a_1") == ["cancelled"]
    assert not alive(int(flow_lab.starts("a_1")[0].split()[0]))
    assert "Traceback" not in out + err
    assert flow_lab.strays() == []
    assert_trained_by_the_same_command(flow_lab, *flags)


@pytest.mark.fault(
    "kill -9 while scenes train",
    way="local_flow",
    ends="failed",
    attempts="worker_lost",
    left="nothing within 40 s",
    flow="killed",
    rerun="trains it, and what was left",
    breakage="a trainer without its launcher is cancelled",
)
def test_kill_9_of_the_flow_leaves_nothing_and_the_same_command_finishes(
    flow_lab, prefect_api, hanging, alive, eventually
):
    """Workers, supervisors and trainers end by themselves; the record does not say running.

    Prefect shows the run as Running until the next one of the experiment ends it as Crashed.
    """
    below = children_of(hanging.pid)
    hanging.kill()
    eventually(lambda: not [each for each in below if alive(each.pid)], "their end", BOUND_S)
    assert flow_lab.causes("a_1") == ["worker_lost"]
    (killed,) = (run["id"] for run in prefect_api.runs("exp") if run["state_type"] == "RUNNING")
    again = flow_lab.run(*flow_lab.flags, program=FLOW)
    assert again.returncode == 0, again.stdout
    assert flow_lab.causes("a_1") == ["worker_lost", "ok"]
    ends = {run["id"]: run["state_type"] for run in prefect_api.runs("exp")}
    assert ends[killed] == "CRASHED"


def test_an_api_that_does_not_answer_is_a_fault_in_seconds(lab):
    """The address and the remedy, exit status 2, nothing started."""
    lab.add_scene("a_1")
    lab.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    result = lab.run(program=FLOW)
    assert result.returncode == 2
    assert "PREFECT_API_URL" in result.stderr
    assert not (lab.root / "results").exists()


@pytest.mark.fault(
    "the server is killed",
    way="local_flow",
    ends="done",
    attempts="ok",
    left="nothing",
    flow="completed",
    rerun="skips it",
    breakage="a server that dies is not started again",
)
def test_a_flow_brings_a_server_and_outlives_it_and_leaves_the_users_alone(
    lab, tmp_path, eventually
):
    """A database below the state root, none in ~/.prefect, no server left.

    The server is killed in the middle: it is started again, and the flow ends as it should. The
    same command has nothing to do.
    """
    lab.add_scene("a_1")
    flags = ("--overrides", "do=wait")
    del lab.environment["PREFECT_HOME"]
    put_migrated_database(lab.root / "state" / "prefect" / f"{socket.gethostname()}-1")
    lab.environment["HOME"] = str(tmp_path / "home")
    flow = lab.popen(*flags, program=FLOW)
    eventually((lab.output("a_1") / "ready.txt").exists, "the trainer", 120)
    (server,) = servers_of(flow.pid)
    server.kill()
    eventually(lambda: set(servers_of(flow.pid)) - {server}, "another server")
    lab.let_go("a_1")
    out, err = flow.communicate(timeout=100)
    assert flow.returncode == 0, out + err
    assert "Completed, 1 of 1 scene done" in out
    assert len(list((lab.root / "state" / "prefect").glob("*/prefect.db"))) == 1
    assert not Path(tmp_path / "home" / ".prefect" / "prefect.db").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(lab.root) in str(p.info)]
    assert lab.strays() == []
    again = lab.run(*flags, program=FLOW)
    assert again.returncode == 0, again.stderr
    assert "a_1: skipped, done" in again.stdout
    assert (lab.causes("a_1"), len(lab.starts("a_1"))) == (["ok"], 1)


def servers_of(pid: int) -> list[psutil.Process]:
    """Return the processes that are Prefect's server for a flow."""
    found = []
    for each in children_of(pid):
        with suppress(psutil.NoSuchProcess):
            found += [each] * ("flows.server.process" in each.cmdline())
    return found


def test_a_dry_run_is_the_launchers_to_the_letter_and_needs_no_prefect(lab):
    """One plan, two ways to run it."""
    lab.add_scene("a_1")
    ours, theirs = lab.run("--dry-run", program=FLOW), lab.run("--dry-run")
    assert ours.stdout == theirs.stdout
    assert not (lab.root / "state").exists()


def test_after_a_failure_no_further_scene_starts_and_an_old_result_does_not_count(
    flow_lab, prefect_api
):
    """--max-failures; done before with other overrides, and not started now, is not done."""
    for name in ("a_1", "a_2"):
        flow_lab.add_scene(name)
    flags = ("--run-all", "--exp-name", "old", "--max-failures", "1", "--overrides")
    assert flow_lab.run(*flags, "do=ok").returncode == 0
    assert flow_lab.run(*flags, "do=fail", program=FLOW).returncode == 1
    told = [flow_lab.output(name, "old") / "arguments.jsonl" for name in ("a_1", "a_2")]
    assert [each.read_text().count("do=fail") for each in told] == [1, 0]
    assert prefect_api.only_run("old")["state"]["message"].startswith("0 of 2 scenes done")
