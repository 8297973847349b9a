"""Faults of files and of the clock, for all ways: bad records, and a run through several faults."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for
from tests.faults.markers import parameter

NOBODY = 65534
RECORDS = {
    "a record is truncated": (lambda text: text[:40], "is not a readable run record"),
    "a record is empty": (lambda _: "", "is not a readable run record"),
    "a record is of a newer version": (
        lambda text: json.dumps(json.loads(text) | {"schema_version": 99}),
        "was written by a newer version of this program (format 99",
    ),
    "a record belongs to another owner": (lambda text: text, "Permission denied"),
}
"""How a record is spoiled, and what is said of it."""
WITHOUT_RIGHTS = "-dac_override,-dac_read_search"
"""What root can't do then: read the files of others."""


def record_cells(way: str) -> list[Any]:
    """Return the parameters of a way's tests of bad records."""
    words = {"ends": "as it was", "attempts": "as they were", "flow": "refused", "left": "nothing"}
    rerun = "is refused until the folder is moved aside, then trains it"
    newer = "a newer record is read as one of ours"
    return [
        parameter(
            fault,
            way,
            **words,
            rerun=rerun,
            breakage=newer if "newer" in fault else "a record that can't be read is none",
        )
        for fault in RECORDS
    ]


def check_bad_record(lab: Any, fault: str, run: Callable[..., Any]) -> None:
    """Spoil the record of a done scene; assert that the way refuses to start until it is away.

    `run(*flags, program=...)` runs the way to its end.
    """
    exp_name = f"bad_{list(RECORDS).index(fault)}"
    output, (spoil, words) = lab.output("a_1", exp_name), RECORDS[fault]
    assert lab.run("--exp-name", exp_name).returncode == 0
    record = output / "run.json"
    record.write_text(spoil(record.read_text()))
    if "owner" in fault:
        _give_away(record)
    before = sorted(path.stat().st_mtime_ns for path in output.rglob("*"))
    refused = run(lab, exp_name)
    text = refused.stdout + refused.stderr
    assert refused.returncode == 2, text
    assert f"{record} " in text
    assert words in text
    assert "Traceback" not in text
    assert sorted(path.stat().st_mtime_ns for path in output.rglob("*")) == before
    output.rename(output.with_name(f"{exp_name}_aside"))
    assert run(lab, exp_name).returncode == 0
    wait_for(lambda: record.exists() and json.loads(record.read_text())["status"] == "done", "it")


def _give_away(record: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs the right to give a file away")
    os.chown(record, NOBODY, NOBODY)
    record.chmod(0o600)


def popen_without_rights(lab: Any, *flags: str, program: tuple[str, ...]) -> Any:
    """Run a way's command to its end as root that can't read others' files."""
    popen = subprocess.Popen

    def limited(command: list[str], **more: Any) -> Any:
        return popen(["setpriv", f"--bounding-set={WITHOUT_RIGHTS}", *command], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", limited)
        return lab.run(*flags, program=program)


JUMPS = ("the clock goes an hour forward", "the clock goes an hour back")
PLAN_GONE = "the plan is deleted while scenes train"
JOURNEY = ("a_1", "a_2", "a_3", "a_4")
"""Scenes, one after the other: the clock goes forward in the first, back in the second; the plan is
deleted in the third, and the fourth begins without it."""


def journey_cells(way: str, **breakages: str) -> list[Any]:
    """Return the parameters of a way's tests of one run through these faults."""
    words = {"ends": "done", "attempts": "ok", "flow": "completed", "left": "nothing"}
    usual = {
        JUMPS[0]: "limits are measured by the wall clock",
        JUMPS[1]: "an attempt may end before it began",
        PLAN_GONE: "a scene is not started without its plan's file",
    }
    return [
        parameter(fault, way, rerun="skips it", breakage=breakages.get(fault, breakage), **words)
        for fault, breakage in usual.items()
        if breakages.get(fault, breakage)
    ]


def _has_ended(process: Any) -> bool:
    return process is not None and process.poll() is not None


def ended(process: Any, within_s: float) -> tuple[str, str]:
    """Return output and errors of a run at its end; one that does not end is ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=within_s)
    process.terminate()
    return process.communicate(timeout=within_s)


def travel(lab: Any, clock: Path, exp_name: str, process: Any = None) -> Iterator[str]:
    """Do the fault of each scene while it trains; yield the scene, and let it go afterwards.

    `process`: what runs the scenes, where it stays until their end.
    """
    for scene in JOURNEY:
        output = lab.output(scene, exp_name)
        ready = (output / "ready.txt").exists
        with contextlib.suppress(pytest.fail.Exception):  # of a scene that does not begin, its test
            wait_for(lambda ready=ready: _has_ended(process) or ready(), f"{scene}'s trainer", 90)
        if _has_ended(process) or not ready():
            break
        if scene == "a_1":
            (clock / "ahead").touch()
        elif scene == "a_2":
            (clock / "behind").touch()
            (clock / "ahead").unlink()
        elif scene == "a_3":
            shutil.rmtree(lab.root / "state/plans")
        yield scene
        lab.let_go(scene, exp_name)
    (clock / "behind").unlink(missing_ok=True)
    for scene in JOURNEY:  # what has not begun is not waited for by the next run
        lab.let_go(scene, exp_name)


def check_journey(lab: Any, exp_name: str, fault: str, text: str, again: str) -> None:
    """Assert what the markers of `journey_cells` say, of the scene that met the fault.

    `text`, `again`: what the run printed, and the same command afterwards.
    """
    assert "Traceback" not in text, text
    scene = {JUMPS[0]: "a_1", JUMPS[1]: "a_2", PLAN_GONE: "a_4"}[fault]
    (attempt,) = lab.record(scene, exp_name)["attempts"]
    assert attempt["cause"] == "ok"
    assert attempt["start"] <= attempt["end"]
    assert len((lab.output(scene, exp_name) / "starts.txt").read_text().splitlines()) == 1
    assert f"{scene}: skipped, done" in again, again
