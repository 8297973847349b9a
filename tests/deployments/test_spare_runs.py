"""Runs of `make ui` are executed by a process that was there before them, where that is safe."""

from __future__ import annotations

import os
import signal

from deployments.spare_engine import OPTION


def spare_of(served, *former: int) -> int:
    """The process that waits for a run; 0 when there is none but those that have got theirs."""
    found = {each.pid for each in served.left() if OPTION in each.cmdline()}
    return next(iter(found.difference(former)), 0)


def process_of(served, **variables) -> int:
    """The process that has executed a run, one that is refused at once."""
    deployment = served.deployment("train-scenes/local")["id"]
    run = served.ask(
        "POST",
        f"/deployments/{deployment}/create_flow_run",
        parameters=served.parameters("spare", scene_name_includes="nothing"),
        job_variables={"env": variables} if variables else {},
        state={"type": "SCHEDULED"},
    ).json()
    assert "no scene's seq_name contains" in served.ended(run["id"])["message"]
    return int(served.ask("GET", f"/flow_runs/{run['id']}").json()["infrastructure_pid"])


def test_a_run_is_executed_by_the_spare_engine_where_a_new_one_would_do_the_same(
    served, eventually
):
    """Not with variables of its own; when the spare dies, the next run starts a process."""
    spare = eventually(lambda: spare_of(served), "the spare")
    assert process_of(served) == spare
    next_one = eventually(lambda: spare_of(served, spare), "the next spare")
    assert process_of(served, OF_ITS_DEPLOYMENT="1") != next_one
    assert spare_of(served, spare) == next_one
    os.kill(next_one, signal.SIGKILL)
    assert process_of(served) != next_one
    assert f"process {spare}, takes a run" in (served.folder / "worker.log").read_text()
