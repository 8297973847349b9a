"""`python -m flows.train` on a real terminal: what a person sees there, in the UI and in messages.

The tests of a failed run look at one run, which takes a server, Dask workers and trainers.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import wait_for
from pseudo_terminal import PseudoTerminal, terminals

FLOW = [sys.executable, "-m", "flows.train"]
NAME = "Seen.failed"
FAILED = "2 of 3 scenes done; not done: a_1 (trainer_error)"
SECRET = "secret-token"
IGNORED = {
    "PREFECT_FLOWS_DEFAULT_RETRIES": "2",
    "PREFECT_TASKS_DEFAULT_RETRIES": "2",
    "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "s3-bucket/none",
}
"""Settings of a user that change nothing about a flow of ours."""


@pytest.fixture
def on_terminal(lab, prefect_api):
    """A flow on a terminal of its own that reports to a lab's server."""
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    with terminals() as opened:
        yield lambda *flags: opened([*FLOW, *lab.arguments(*flags)], lab.environment)


@dataclass
class Shown:
    """What the server shows of the newest run of an experiment."""

    api: Any
    exp_name: str

    @property
    def run(self) -> dict[str, Any]:
        return self.api.only_run(self.exp_name)

    @property
    def artifacts(self) -> dict[str, str]:
        return self.api.artifacts(self.run)

    @property
    def rows(self) -> list[dict[str, str]]:
        return json.loads(self.artifacts.get("scenes", "[]"))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(row["scene"], row["state"]) for row in self.rows]


@dataclass
class FailedRun:
    """A run of three scenes, one after the other, whose first one fails."""

    lab: Any
    terminal: PseudoTerminal
    page: Shown
    status: int = 0
    while_running: dict[str, str] = field(default_factory=dict)
    """The page's parts and the terminal's text while the second scene trained."""


@pytest.fixture(scope="module")
def failed(make_lab, prefect_api, module_webhook):
    """The run after its end, watched while its second scene waited."""
    lab, page = make_lab(), Shown(prefect_api, NAME)
    for name, do in (("a_1", "fail"), ("a_2", "wait"), ("a_3", "ok")):
        lab.add_scene(name, do=do)
    lab.environment |= {"PREFECT_API_URL": prefect_api.url, "NO_PROXY": "127.0.0.1", **IGNORED}
    lab.environment["TS_NOTIFY_URL"] = module_webhook.url
    with terminals() as opened:
        flags = lab.arguments("--run-all", "--workers", "1", "--exp-name", NAME)
        run = FailedRun(lab, opened([*FLOW, *flags], lab.environment), page)
        watch(run)
        lab.let_go("a_2", NAME)
        run.status = run.terminal.wait(120)
        yield run


def watch(run: FailedRun) -> None:
    """Wait until terminal and page both show a scene that failed and one that trains; keep that."""
    wait_for(lambda: "1 failed, 1 running" in run.terminal.seen, "the failure", 120)
    wait_for(lambda: "epoch 1/2, loss 0.5" in run.terminal.seen, "the epoch")
    half_way = [("a_1", "failed"), ("a_2", "running"), ("a_3", "waiting")]
    wait_for(lambda: run.page.states == half_way, "the page with a scene that runs")
    run.while_running = {**run.page.artifacts, "terminal": run.terminal.seen}


def test_bar_scenes_address_failure_and_table(failed, prefect_api):
    """While one waits and another has failed; then the table; no word of Prefect's own.

    The address is that of the version of the UI that the server shows.
    """
    seen, ui = failed.while_running["terminal"], prefect_api.url.removesuffix("/api")
    assert f"in Prefect's UI: {ui}/v2/runs/flow-run/{failed.page.run['id']}" in seen
    above = seen.partition(f"{NAME} ━")[0]
    assert "    | the loss is not a number" in above
    assert "log: " in above
    assert failed.status == 1
    terminal = failed.terminal
    parts = [f"{NAME} ━", "2 done, 1 failed, after 0:", "attempts ", "report: ", "flow run: Failed"]
    assert sorted(parts, key=terminal.all.rindex) == parts
    assert terminal.all.count(f"{NAME} ━") == 1
    assert "INFO" not in terminal.all
    assert "Traceback" not in terminal.all
    assert (terminal.screen.cursor.hidden, terminal.screen.cursor.x) == (False, 0)


def test_the_page_is_there_while_the_run_goes_on_and_final_at_its_end(failed):
    """One scene runs, one is queued; at the end both are done, and the report is there."""
    assert "| 0 | 1 | 1 | 1 |" in failed.while_running["progress"]
    shown = failed.page.artifacts
    assert [row.get("PSNR dB", "") for row in failed.page.rows] == ["", "20.0", "20.0"]
    assert f"**Failed: {FAILED}**" in shown["progress"]
    assert "- mean PSNR: 20.0 dB" in shown["report"]


def test_a_failed_scene_fails_the_flow_and_is_first_on_its_page_with_cause_and_log(
    failed, prefect_api
):
    """The log names each scene at its start and end, and has no lines of Prefect's own.

    The others are done, and so is the aggregate; nothing is tried again, and no result stored,
    whatever the user's settings have for that.
    """
    run, lab = failed.page.run, failed.lab
    assert (run["state"]["type"], run["state"]["message"]) == ("FAILED", FAILED)
    runs = prefect_api.task_runs(run)
    states = {name: each["state_type"] for name, each in runs.items()}
    assert states == {"a_1": "FAILED", **dict.fromkeys(("a_2", "a_3", "aggregate"), "COMPLETED")}
    assert "the loss is not a number" in runs["a_1"]["state"]["message"]
    assert len(lab.record("a_1", NAME)["attempts"]) == 1
    assert failed.page.states == [("a_1", "failed"), ("a_2", "done"), ("a_3", "done")]
    first, log_path = failed.page.rows[0], lab.output("a_1", NAME) / "train.log"
    assert first["cause"] == "trainer_error: exit status 1: the loss is not a number"
    assert first["log"] == str(log_path)
    log = prefect_api.logs(run)
    (told,) = [each for each in log if each.startswith("a_1: failed (trainer_error)")]
    assert "    | training a_1 from camera 28\n    | the loss is not a number" in told
    assert f"a_1: started, log {log_path}" in log
    assert [each for each in log if each.startswith("a_2: done, PSNR 20.00 dB after")]
    assert not [each for each in log if "hook" in each or "Traceback" in each]


def test_a_failed_run_sends_a_message_and_its_trainers_do_not_see_the_url(failed, module_webhook):
    """It has counts, scene, cause, report and the run's address; the URL appears nowhere."""
    (received,) = module_webhook.received
    assert received["title"] == f"{NAME}: Failed"
    said, took, report, address = received["message"].splitlines()
    assert said == FAILED
    assert took.startswith("duration: ")
    assert report == f"report: {failed.lab.root}/results/_experiments/{NAME}/report.html"
    assert failed.page.run["id"] in address
    inherited = (failed.lab.output("a_3", NAME) / "environment.json").read_text()
    assert SECRET not in inherited + failed.terminal.all


def test_prefects_own_messages_go_above_the_bar(lab, on_terminal, eventually):
    """--verbose: they come while the live part is there, and leave nothing of it behind."""
    lab.add_scene("a_1", do="wait")
    terminal = on_terminal("--run-all", "--verbose")
    eventually(lambda: "epoch 1/2, loss 0.5" in terminal.seen, "the epoch", 120)
    lab.let_go("a_1")
    assert terminal.wait(120) == 0
    assert "Finished in state Completed" in terminal.all
    assert "INFO    | Flow run 'exp' - " in terminal.all
    assert "INFO    | Task run 'a_1' - " in terminal.all
    assert terminal.all.count("exp ━") == 1
    assert " running; 0:" not in terminal.all  # the counts of the live part


def test_ctrl_c_ends_a_flow_in_good_order(lab, on_terminal, prefect_api, webhook, eventually):
    """The key, on the terminal: what was asked for, a table, and how the run ended.

    The page says the same of the scene that ran and of the one that was not started, and so does a
    message; the webhook refuses it, which is a line of warning.
    """
    lab.environment["TS_NOTIFY_URL"] = webhook.url
    webhook.status = 500
    lab.add_scene("a_1", do="hang")
    lab.add_scene("a_2", do="hang")
    flags = ("--run-all", "--workers", "1", "--exp-name", "seen-stopped")
    terminal = on_terminal(*flags)
    eventually(lambda: "epoch 1/2, loss 0.5" in terminal.seen, "the epoch", 120)
    terminal.write(b"\x03")
    assert terminal.wait(120) == 130
    assert "stopping: trainers may write a checkpoint" in terminal.all
    assert terminal.all.index("2 not done, after 0:") < terminal.all.index("attempts ")
    assert "flow run: Cancelled" in terminal.all
    assert terminal.all.count("seen-stopped ─") == 1
    assert "to go on: python -m flows.train " in terminal.all
    assert "Traceback" not in terminal.all
    assert (terminal.screen.cursor.hidden, terminal.screen.cursor.x) == (False, 0)
    (attempt,) = lab.record("a_1", "seen-stopped")["attempts"]
    assert attempt["cause"] == "cancelled"
    assert not lab.strays()
    shown = Shown(prefect_api, "seen-stopped")
    assert shown.states == [("a_1", "cancelled"), ("a_2", "not started")]
    assert "**Cancelled: stopped on request**" in shown.artifacts["progress"]
    (received,) = webhook.received
    assert (received["title"], received["type"]) == ("seen-stopped: Cancelled", "warning")
    assert received["message"].splitlines()[0] == "stopped on request; 0 of 2 scenes done"
    unsent = "warning: TS_NOTIFY_URL: the notification about this run was not sent"
    assert terminal.all.count(unsent) == 1
    assert SECRET not in terminal.all
