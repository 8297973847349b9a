"""`python -m flows.train` on a real terminal: what a person sees, and that nothing tears it."""

from __future__ import annotations

import sys

import pytest
from pseudo_terminal import terminals

FLOW = [sys.executable, "-m", "flows.train"]


@pytest.fixture
def on_terminal(lab, prefect_api):
    """A flow on a terminal of its own that reports to a lab's server."""
    lab.environment["PREFECT_API_URL"] = prefect_api.url
    with terminals() as opened:
        yield lambda *flags: opened([*FLOW, *lab.arguments(*flags)], lab.environment)


def test_bar_scenes_address_failure_and_table(lab, on_terminal, prefect_api, eventually):
    """While one waits and another has failed; then the table; no word of Prefect's own.

    The address is that of the version of the UI that the server shows.
    """
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2", do="fail")
    terminal = on_terminal("--run-all", "--workers", "2", "--exp-name", "shown")
    eventually(lambda: "1 failed, 1 running" in terminal.seen, "the failure", 120)
    eventually(lambda: "epoch 1/2, loss 0.5" in terminal.seen, "the epoch")
    run = prefect_api.only_run("shown")
    ui = prefect_api.url.removesuffix("/api")
    assert f"in Prefect's UI: {ui}/v2/runs/flow-run/{run['id']}" in terminal.seen
    above = terminal.seen.partition("shown ━")[0]
    assert "    | the loss is not a number" in above
    assert "log: " in above
    (lab.output("a_1", "shown") / "go.txt").touch()
    assert terminal.wait(120) == 1
    parts = ["shown ━", "1 done, 1 failed, after 0:", "attempts ", "report: ", "flow run: Failed"]
    assert sorted(parts, key=terminal.all.rindex) == parts
    assert terminal.all.count("shown ━") == 1
    assert "INFO" not in terminal.all
    assert (terminal.screen.cursor.hidden, terminal.screen.cursor.x) == (False, 0)


def test_prefects_own_messages_go_above_the_bar(lab, on_terminal, eventually):
    """--verbose: they come while the live part is there, and leave nothing of it behind."""
    lab.add_scene("a_1", do="wait")
    lab.add_scene("a_2", do="wait")
    terminal = on_terminal("--run-all", "--workers", "2", "--verbose")
    eventually(lambda: terminal.seen.count("epoch 1/2, loss 0.5") == 2, "the epochs", 120)
    for name in ("a_1", "a_2"):
        (lab.output(name) / "go.txt").touch()
    assert terminal.wait(120) == 0
    assert "Finished in state Completed" in terminal.all
    assert "INFO    | Flow run 'exp' - " in terminal.all
    assert "INFO    | Task run 'a_1' - " in terminal.all
    assert terminal.all.count("exp ━") == 1
    assert " running; 0:" not in terminal.all  # the counts of the live part


def test_ctrl_c_ends_a_flow_in_good_order(lab, on_terminal, eventually):
    """The key, on the terminal: what was asked for, a table, and how the run ended."""
    lab.add_scene("a_1", do="hang")
    lab.add_scene("a_2", do="hang")
    terminal = on_terminal("--run-all", "--workers", "2")
    eventually(lambda: terminal.seen.count("epoch 1/2, loss 0.5") == 2, "the epochs", 120)
    terminal.write(b"\x03")
    assert terminal.wait(120) == 130
    assert "stopping: trainers may write a checkpoint" in terminal.all
    assert terminal.all.index("2 not done, after 0:") < terminal.all.index("attempts ")
    assert "flow run: Cancelled" in terminal.all
    assert terminal.all.count("exp ─") == 1
    assert "to go on: python -m flows.train " in terminal.all
    assert "Traceback" not in terminal.all
    assert (terminal.screen.cursor.hidden, terminal.screen.cursor.x) == (False, 0)
