"""Reports that a launcher or flow has written by a process of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from report_lab import attempt, planned, record

from training.records.record import Cause
from training.report import report_client
from training.report.report_client import table_of, write_report_of
from training.report.summary import summarise, table
from training.system.paths import Roots

CHECKOUT = Path(__file__).resolve().parents[3]
LAUNCH = """
import sys
from training.run import main
status = main(sys.argv[1:])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"matplotlib", "PIL"}))
sys.exit(status)
"""


@pytest.fixture
def plan(tmp_path):
    """The plan of two scenes that have ended."""
    roots = Roots(
        results_root=tmp_path / "results", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )
    record(roots, "a_1", psnr=20.0)
    record(roots, "a_2", attempt(Cause.TIMEOUT, message="it took too long"))
    return planned(roots, "a_1", "a_2")


def test_the_process_writes_the_same_report_and_table(plan):
    """As `summarise` and `table` do in this one."""
    path = write_report_of(plan)
    written = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    shown = table_of(plan)
    shutil.rmtree(path.parent)
    assert summarise(*plan.experiment).report == path
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == written
    assert table(*plan.experiment) == shown


def test_what_the_disk_refuses_is_said_as_before(plan):
    """An OSError with the same text, and the next report is written."""
    folder = plan.roots.experiment_folder("exp")
    folder.parent.mkdir(parents=True)
    folder.touch()
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        write_report_of(plan)
    folder.unlink()
    assert write_report_of(plan).is_file()


def test_a_killed_process_costs_its_report_alone(plan):
    """By the kernel where memory is short, for instance; the next one gets another process."""
    report_client.start_report_writer(plan)
    process = report_client._kept[0].process
    process.send_signal(signal.SIGSTOP)  # so that it is in the middle of it

    def kill(_):
        process.kill()
        return []

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report_client.json, "dumps", lambda _: str(kill(_)))
        with pytest.raises(OSError, match="the process that writes it was ended by SIGKILL"):
            write_report_of(plan)
    assert write_report_of(plan).is_file()


def test_it_ends_with_whoever_started_it(plan):
    """Also after `kill -9`: its input ends then."""
    _ = table_of(plan)
    writer = report_client._kept.pop()
    report = {"what": "report", "roots": plan.roots.model_dump(mode="json")}
    report |= {"exp_name": "exp", "scenes": [], "output_subdir": ""}
    writer.stdin.write(json.dumps(report).encode() + b"\n")
    writer.stdout.close()  # as the kernel does
    writer.stdin.close()
    assert writer.process.wait(60) == 0


def test_a_launcher_draws_nothing_itself(lab):
    """With ten thousand scenes its memory would be that of their plots."""
    for name in ("a_1", "a_2"):
        lab.add_scene(name)
    launch = subprocess.run(
        [sys.executable, "-c", LAUNCH, *lab.arguments("--run-all")],
        cwd=CHECKOUT,
        env={**os.environ, **lab.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert launch.returncode == 0, launch.stderr
    assert launch.stdout.splitlines()[-1] == "[]"
    assert (lab.root / "results" / "_experiments" / "exp" / "report.html").is_file()
