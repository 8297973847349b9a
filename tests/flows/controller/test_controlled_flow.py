"""The flow in a controller's job: how it starts while Slurm does not answer."""

from __future__ import annotations

import pytest
from page_lab import planned

from flows import controlled_flow
from flows.slurm.preflight import SlurmSilentError
from preprocess.faults import Fault
from training.records.controller_record import ControllerRecord, write_controller
from training.slurm.client import SlurmAwayError

DONE, FAILED, OTHER = 0, 1, 130
SILENT = SlurmSilentError([Fault("Slurm does not answer")])
AWAY = SlurmAwayError("no controller")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a flow whose starts raise or return what is given; return status and seconds waited."""
    plan = planned(tmp_path, "a")
    plan.file.parent.mkdir(parents=True)
    plan.file.write_text(plan.to_json())
    write_controller(plan.file, ControllerRecord(plans=("p",), options={"exp_name": "exp"}))
    clock = [0.0]

    def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr(controlled_flow.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(controlled_flow.time, "sleep", sleep)

    def begin(ends):
        ends = iter(ends)

        def run_flow(options, plans, _standby):
            assert (options.exp_name, [each.plan_id for each in plans]) == ("exp", ["p"])
            if isinstance(end := next(ends), Exception):
                raise end
            return end

        monkeypatch.setattr(controlled_flow, "run_flow", run_flow)
        return controlled_flow._run(plan.file, None), clock[0]

    return begin


def test_a_silent_slurm_is_asked_again(run, capsys):
    """In a job nobody types the command again."""
    assert run([SILENT, AWAY, OTHER]) == (OTHER, 2 * controlled_flow.ASK_EVERY_S)
    assert capsys.readouterr().out.splitlines() == [
        f"{each}: asked again" for each in (SILENT, AWAY)
    ]


def test_a_slurm_that_stays_silent_is_given_up_with_the_remedy(run, capsys):
    """The job would wait for ever; what trains without the flow trains on."""
    status, waited_s = run([AWAY] * 1000)
    assert status == FAILED
    assert 0 <= waited_s - controlled_flow.MOST_SILENCE_S <= controlled_flow.ASK_EVERY_S
    assert "the command that started this goes on" in capsys.readouterr().out.splitlines()[-1]
