"""`make ui` as a user meets it: real server, real process worker, real runs through the API."""

from __future__ import annotations

import itertools
import json
import signal
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from deployments import POOL, deploy
from deployments import crash_automation as automation
from deployments.check import PREFECT_FILE
from deployments.crash_automation import (
    HEARTBEAT,
    HEARTBEAT_TIMEOUT_S,
    MESSAGE,
    NAME,
    crash_automation,
    ensure_crash_automation,
)
from deployments.orphaned_runs import end_orphaned_runs
from deployments.spare_engine import OPTION
from flows.server import external_api
from flows.server.external_api import ApiClient
from tests.faults.markers import stopped

BOUND_S = 90
"""Half a minute, and the minute that Prefect's SQLite may wait for its lock."""


def wrong_copy(folder: Path, *replacement: str) -> Path:
    """A copy of prefect.yaml that checks itself, with a fault."""
    copy = folder / "prefect.yaml"
    text = PREFECT_FILE.read_text().replace("deployments/prefect.yaml\npull", f"{copy}\npull")
    assert str(copy) in text
    assert replacement[0] in text
    copy.write_text(text.replace(*replacement))
    return copy


def test_everything_is_there_and_strangers_are_not(served):
    """UI, deployments, work pool; who has no password gets nothing; it is not said in a log."""
    names = ["train-scenes/local", "train-scenes/slurm", "difix-data/slurm", "difix-loop/slurm"]
    names.append("train-scenes/nightly")
    assert f"deployments: {', '.join(names)}" in served.said()
    assert all("id" in served.deployment(name) for name in names)
    assert served.password not in served.said()
    assert (served.folder / "password").stat().st_mode & 0o777 == 0o600
    assert httpx.get(served.url.removesuffix("/api")).status_code == 200
    assert httpx.post(f"{served.url}/flow_runs/filter", json={}).status_code == 401
    (schedule,) = served.deployment("train-scenes/nightly")["schedules"]
    assert schedule["active"] is False


def spare_of(served) -> int:
    """The process that waits for a run; 0 when there is none."""
    return next((each.pid for each in served.left() if OPTION in each.cmdline()), 0)


def test_a_run_from_the_form_is_trained_and_recorded(served, eventually):
    """Completed, with its records; its log says the same as a command line; no password leaks.

    The process that executes it was there before. A copy of another experiment's run ("Copy to new
    run") loses its tags and keeps one's own.
    """
    spare = eventually(lambda: spare_of(served), "the spare")
    run = served.submit(
        "train-scenes/local", **served.parameters("form", overrides=["text=a b", "do=ok"])
    ).json()
    assert served.ended(run["id"])["message"] == "2 of 2 scenes done"
    made = served.ask("GET", f"/flow_runs/{run['id']}").json()
    assert int(made["infrastructure_pid"]) == spare
    assert f"process {spare}, takes a run" in (served.folder / "worker.log").read_text()
    assert served.causes("a_1", "form") == served.causes("a_2", "form") == ["ok"]
    (line,) = [each for each in served.log(run["id"]) if "from a terminal" in each]
    assert "python -m flows.train --exp-name form --run-all" in line
    assert "--overrides 'text=a b' do=ok" in line
    inherited = json.loads((served.output("a_1", "form") / "environment.json").read_text())
    assert served.password not in inherited.values()
    own = {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
    heartbeats = {**own, "event": {"name": [HEARTBEAT]}}
    assert served.ask("POST", "/events/filter", filter=heartbeats).json()["total"] >= 1
    same = served.parameters("form", overrides=["text=a b", "do=ok"])
    again = served.submit(
        "train-scenes/local", ["exp:other", "cluster:slurm", "own"], **same
    ).json()
    assert served.ended(again["id"])["message"] == "nothing to do: 2 of 2 scenes done"
    tags = served.ask("GET", f"/flow_runs/{again['id']}").json()["tags"]
    assert sorted(tags) == ["cluster:local", "exp:form", "own"]


def log_until(served, run_id: str, last: str) -> list[str]:
    """The messages of a run's log once one of them begins with `last`."""
    log = served.log(run_id)
    return log if any(each.startswith(last) for each in log) else []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workers": -1}, "workers"),
        ({"cluster": "lokal"}, "cluster"),
        ({"overrides": "text"}, "overrides"),
        ({"workerz": 1}, "workerz"),
        ({"exp_name": None}, "exp_name"),
    ],
)
def test_a_wrong_value_is_refused_before_a_run_is_made(served, wrong, named):
    """With the field's name, misspelt parameters too."""
    before = served.ask("POST", "/flow_runs/count").json()
    answer = served.submit("train-scenes/local", **{**served.parameters("wrong"), **wrong})
    assert answer.status_code == 409
    assert named in answer.json()["detail"]
    assert served.ask("POST", "/flow_runs/count").json() == before


def test_a_deleted_run_is_a_cancelled_one(served, eventually, alive):
    """Its trainer ends, the record says cancelled, and the process worker goes on."""
    run = served.hanging_run("deleted")
    trainer = int((served.output("a_1", "deleted") / "starts.txt").read_text().split()[0])
    served.ask("DELETE", f"/flow_runs/{run}")
    eventually(lambda: not alive(trainer), "the trainer's end", BOUND_S)
    eventually(lambda: served.causes("a_1", "deleted") == ["cancelled"], "the record", BOUND_S)
    log = (served.folder / "worker.log").read_text()
    assert "the flow run was deleted: its scenes are stopped" in log
    assert "ObjectNotFound" not in log


def came_since(before: list[psutil.Process], served) -> list[psutil.Process]:
    """Return the living processes that were not there before; a spare waits for the next run."""
    new = [each for each in served.left() if each not in before]
    return [each for each in new if OPTION not in each.cmdline()]


@stopped("the run is cancelled in Prefect's UI", "local_flow", left="nothing", rerun="trains it")
def test_a_cancel_from_the_ui_ends_the_trainer(served, eventually, alive):
    """In seconds; the record says cancelled, nothing is left, the same run trains its scenes."""
    before = served.left()
    run = served.hanging_run("cancelled")
    trainer = int((served.output("a_1", "cancelled") / "starts.txt").read_text().split()[0])
    made = served.ask("GET", f"/flow_runs/{run}").json()
    engine = psutil.Process(int(made["infrastructure_pid"]))
    of_run = [engine, *engine.children(recursive=True)]
    served.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    assert served.ended(run)["type"] == "CANCELLED"
    eventually(lambda: not alive(trainer), "the trainer's end", BOUND_S)
    eventually(lambda: served.causes("a_1", "cancelled") == ["cancelled"], "the record", BOUND_S)
    log = eventually(lambda: log_until(served, run, "Cancelled: "), "the run's last line")
    assert not [each for each in log if "Traceback" in each or "Finished in state" in each]
    eventually(lambda: not [each for each in of_run if alive(each.pid)], "its processes' end", 15)
    eventually(lambda: not came_since(before, served), "the end of all that came with the run", 15)
    (served.output("a_1", "cancelled") / "healed").touch()
    again = served.submit("train-scenes/local", **made["parameters"]).json()["id"]
    served.ended(again)  # its records count: a locked database may have cost it its server by then
    assert served.causes("a_1", "cancelled") == ["cancelled", "ok"]
    assert served.causes("a_2", "cancelled") == ["ok"]


@pytest.fixture
def often(served):
    """A copy of the nightly deployment with a schedule; it goes, whatever becomes of the test.

    A slow machine starts a run within the interval: else each trigger makes it slower.
    """
    nightly = served.deployment("train-scenes/nightly")
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    same = ("flow_id", "entrypoint", "pull_steps", "work_pool_name", "concurrency_options")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    schedule = {"interval": 15, "anchor_date": soon.isoformat()}
    made = served.ask(
        "POST",
        "/deployments/",
        **{key: nightly[key] for key in same},
        name="often",
        concurrency_limit=nightly["global_concurrency_limit"]["limit"],
        parameters=served.parameters("often", run_all=True, overrides=["do=wait", "only=a_1"]),
        schedules=[{"schedule": schedule, "active": True}],
    )
    assert made.status_code == 201, made.text
    path = f"/deployments/{made.json()['id']}"
    yield path
    served.ask("DELETE", path)


def test_a_schedule_fires_and_does_not_overlap(served, often, eventually):
    """The second trigger is cancelled while the first one's run goes on."""

    def states() -> list[str]:
        wanted = {"deployment_id": {"any_": [often.rpartition("/")[2]]}}
        runs = served.ask("POST", "/flow_runs/filter", flow_runs=wanted).json()
        return [run["state"]["type"] for run in runs]

    eventually(lambda: "CANCELLED" in states(), "the second trigger")
    served.ask("PATCH", often, paused=True)
    eventually((served.output("a_1", "often") / "ready.txt").exists, "the scheduled run")
    assert states().count("RUNNING") == 1
    (served.output("a_1", "often") / "go.txt").touch()
    eventually(lambda: states().count("COMPLETED") == 1, "the run's end")
    assert served.causes("a_1", "often") == ["ok"]


@pytest.fixture
def nightly(served):
    """The nightly deployment as people have left it: switched on, edited, with one more schedule.

    Afterwards it is as in the file.
    """
    found = served.deployment("train-scenes/nightly")
    path = f"/deployments/{found['id']}"
    (schedule,) = found["schedules"]
    edits = {"description": "ours", "parameters": {**found["parameters"], "exp_name": "ours"}}
    served.ask("PATCH", path, **edits)
    served.ask("PATCH", f"{path}/schedules/{schedule['id']}", active=True)
    own = {"schedule": {"cron": "0 12 * * 6", "timezone": "UTC"}, "active": False}
    with served.client() as client:
        assert client.post(f"{path}/schedules", json=[own]).status_code == 201
    yield lambda: served.deployment("train-scenes/nightly")
    deploy.deploy(served.settings, reset=True)
    for each in served.deployment("train-scenes/nightly")["schedules"]:
        if each["slug"] is None:
            served.ask("DELETE", f"{path}/schedules/{each['id']}")
        else:
            served.ask("PATCH", f"{path}/schedules/{each['id']}", active=False)


def what_people_set(found) -> tuple:
    crons = {each["schedule"]["cron"]: each["active"] for each in found["schedules"]}
    is_strict = found["parameter_openapi_schema"]["additionalProperties"] is False
    return found["description"], found["parameters"]["exp_name"], crons, is_strict


def test_a_deploy_leaves_what_people_set_and_names_it(served, nightly):
    """Edited fields, switches, schedules; with --reset fields are the file's, switches still not.

    Prefect's own deploy replaces all of them by the file's.
    """
    crons = {"0 1 * * *": True, "0 12 * * 6": False}
    result = served.command("deployments.deploy")
    assert result.returncode == 0, result.stderr
    assert what_people_set(nightly()) == ("ours", "ours", crons, True)
    kept = "train-scenes/nightly: parameters.exp_name is kept as edited in the UI: 'ours'"
    assert f"{kept} (prefect.yaml has 'nightly')" in result.stdout
    assert "python -m deployments.deploy --reset" in result.stdout
    deploy.deploy(served.settings, reset=True)
    found = what_people_set(nightly())
    assert found[0].startswith("Train what is new")
    assert found[1:] == ("nightly", crons, True)


class InterruptedClient(ApiClient):
    """A client whose user presses Ctrl-C after a number of requests that change something."""

    left = 0

    def send(self, request: httpx.Request, **options) -> httpx.Response:
        answer = super().send(request, **options)
        if request.method in {"PATCH", "PUT", "DELETE"} or request.url.path.endswith("schedules"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return answer


def test_a_deploy_loses_nothing_wherever_it_is_interrupted(served, nightly, monkeypatch):
    """Prefect's own has by then switched schedules off and takes unknown parameters."""
    before, ends = what_people_set(nightly()), []
    monkeypatch.setattr(external_api, "ApiClient", InterruptedClient)
    for number in itertools.count(1):
        monkeypatch.setattr(InterruptedClient, "left", number)
        try:
            deploy.deploy(served.settings)
        except KeyboardInterrupt:
            ends.append(number)
        else:
            break
        assert what_people_set(nightly()) == before
    assert len(ends) >= 5  # one for each deployment


def test_an_automation_that_the_server_refuses_is_a_warning(served, monkeypatch, capsys):
    """Everything else is deployed."""
    refused = {**automation.crash_automation(), "actions": [{"type": "no such action"}]}
    monkeypatch.setattr(automation, "NAME", "another")
    monkeypatch.setattr(automation, "crash_automation", lambda: refused)
    deploy.deploy(served.settings)
    assert "the server refuses the automation" in capsys.readouterr().err


def test_a_bad_default_fails_the_deploy_and_nothing_is_deployed(served, tmp_path):
    """Prefect's own command too: the check is its first step."""
    copy = wrong_copy(tmp_path, "run_all: true", "time_limit: 3:00:00\n      run_al: true")
    before = [served.deployment(f"train-scenes/{name}")["updated"] for name in ("local", "nightly")]
    plain = served.command("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(copy))
    assert plain.returncode != 0
    assert "parameter time_limit is not valid" in plain.stdout + plain.stderr
    ours = served.command("deployments.deploy", str(copy))
    assert ours.returncode == 2
    assert "train-scenes/local: unknown parameter: run_al" in ours.stderr
    assert "did you mean run_all" in ours.stderr
    names = ("local", "nightly")
    assert before == [served.deployment(f"train-scenes/{name}")["updated"] for name in names]


def test_prefects_own_deploy_asks_nothing(served):
    """The command that the issue and the docs name."""
    file = "deployments/prefect.yaml"
    result = served.command("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_second_one_says_that_one_runs(served):
    """Where it is and which process; exit status 2."""
    result = served.command("deployments.serve")
    assert result.returncode == 2
    assert f"{served.url.removesuffix('/api')} (process {served.process.pid})" in result.stderr


def test_a_run_whose_process_is_gone_is_crashed_at_the_next_start(served):
    """Power failure: nobody could say how it ended."""
    path = f"/deployments/{served.deployment('train-scenes/local')['id']}/create_flow_run"
    body = {"parameters": served.parameters("lost"), "state": {"type": "RUNNING"}}
    lost = served.ask("POST", path, **body).json()["id"]
    with served.client() as client:
        assert end_orphaned_runs(client, [POOL]) == 1
    state = served.state(lost)
    assert state["type"] == "CRASHED"
    assert "was killed" in state["message"]


def run_of(served, flow: str) -> str:
    """A run that says Running; nothing executes it."""
    flow_id = served.ask("POST", "/flows/", name=flow).json()["id"]
    state = {"type": "RUNNING"}
    return served.ask("POST", "/flow_runs/", flow_id=flow_id, state=state).json()["id"]


def send_heartbeat(served, run_id: str, flow: str) -> None:
    """A heartbeat as Prefect's engine sends it."""
    event = {
        "id": str(uuid.uuid4()),
        "event": HEARTBEAT,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        "related": [
            {
                "prefect.resource.id": f"prefect.flow.{uuid.uuid4()}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": flow,
            }
        ],
    }
    with served.client() as client:
        client.post("/events", json=[event]).raise_for_status()


def automations(served) -> list[dict]:
    named = {"name": {"any_": [NAME]}}
    return served.ask("POST", "/automations/filter", automations=named).json()


def test_a_run_that_falls_silent_is_crashed_and_no_other(served, eventually):
    """By the automation, with the shortest silence that Prefect takes."""
    wanted = crash_automation()
    wanted["trigger"]["within"] = 10
    (made,) = automations(served)
    served.ask("PUT", f"/automations/{made['id']}", **wanted)
    theirs, silent, living = (
        run_of(served, flow) for flow in ("theirs", "train-scenes", "train-scenes")
    )
    send_heartbeat(served, theirs, "theirs")
    send_heartbeat(served, silent, "train-scenes")

    def has_fired() -> bool:
        send_heartbeat(served, living, "train-scenes")
        return served.state(silent)["type"] == "CRASHED"

    eventually(has_fired, "the end of the silent run")
    assert served.state(silent)["message"] == MESSAGE
    assert [served.state(each)["type"] for each in (living, theirs)] == ["RUNNING", "RUNNING"]


def test_a_deploy_makes_one_automation_and_keeps_what_people_changed_of_it(served):
    """A message to the lab added as an action, the automation switched off."""
    (made,) = automations(served)
    own = crash_automation() | {"enabled": False}
    own["actions"].append({"type": "do-nothing"})
    own["trigger"]["within"] = 3600
    served.ask("PUT", f"/automations/{made['id']}", **own)
    with served.client() as client:
        ensure_crash_automation(client)
    (kept,) = automations(served)
    assert kept["enabled"] is False
    assert [each["type"] for each in kept["actions"]] == ["change-flow-run-state", "do-nothing"]
    assert kept["trigger"]["within"] == HEARTBEAT_TIMEOUT_S


def test_ctrl_c_leaves_nothing_running(end_of_all):
    """Trainer, run, process worker and server end; neither run nor record says running."""
    assert end_of_all(signal.SIGINT) == 130
