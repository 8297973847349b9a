"""A spare engine is a run's process where a new one would do the same, and costs no run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from deployments import NO_SPARE, process_worker, spare_engine
from deployments.spare_engine import PIPES, SpareEngine

ENGINE = """
import json, os, sys
from deployments import NO_SPARE, process_worker, spare_engine
spare_engine._import_all = lambda: None
if len(sys.argv) == 1 or spare_engine.wait_for_run(int(sys.argv[2])):
    print(json.dumps([os.getpid(), dict(os.environ)]))
"""
COMMAND = [sys.executable, "-c", ENGINE]
CHECKOUT = Path(__file__).resolve().parents[2]
OWN = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OF_ALL_RUNS": "1"}
RUN = {**OWN, "PREFECT__FLOW_RUN_ID": "a run"}


@asynccontextmanager
async def opened(command, **options):
    """Start a process as Prefect's worker does."""
    async with await anyio.open_process(command, **options) as process:
        yield process


async def until_there(spare, other_than=None):
    async with asyncio.timeout(60):
        while spare._waiting is None or spare._waiting.process is other_than:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(command=COMMAND):
    """A spare that is waiting, and how to get it."""
    spare = SpareEngine(command, CHECKOUT, OWN, opened)
    keeping = asyncio.create_task(spare.keep())
    try:
        await until_there(spare)
        yield spare
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def offer(spare, command=COMMAND, **changed):
    return await spare.offer(command, **{"env": RUN, "cwd": CHECKOUT, **PIPES, **changed})


async def printed(process):
    text = b""
    with suppress(anyio.EndOfStream):
        while True:
            text += await process.stdout.receive()
    return json.loads(text)


def test_a_run_takes_the_spare_with_its_own_variables():
    """In the process that was there before; the next one is another."""

    async def check():
        async with kept() as spare:
            there = spare._waiting.process.pid
            async with await offer(spare) as process:
                pid, environment = await printed(process)
            assert process.returncode == 0
            assert await offer(spare) is None
            return there, pid, environment

    there, pid, environment = asyncio.run(check())
    assert there == pid
    assert environment["PREFECT__FLOW_RUN_ID"] == "a run"
    assert environment["OF_ALL_RUNS"] == "1"


@pytest.mark.parametrize(
    "changed",
    [
        {"command": ["own", "command"]},
        {"env": {**RUN, "OF_ALL_RUNS": "2"}},
        {"env": {**RUN, "OF_A_DEPLOYMENT": "1"}},
        {"cwd": Path("/")},
        {"env": None},
        {"cwd": None},
        {"stdout": subprocess.DEVNULL},
    ],
)
def test_a_run_that_would_start_otherwise_starts_a_new_process(changed):
    """And leaves the spare to others."""

    async def check():
        async with kept() as spare:
            assert await offer(spare, **changed) is None
            async with await offer(spare) as process:
                await printed(process)

    asyncio.run(check())


@pytest.mark.parametrize("script", ["", "import sys; sys.stdin.read()", "raise SystemExit(3)"])
def test_a_spare_that_ends_or_does_not_answer_costs_no_run(script, monkeypatch):
    """The run starts a new process; a spare that does not answer is ended first."""
    monkeypatch.setattr(spare_engine, "TAKE_TIMEOUT_S", 0.2)

    async def check():
        async with kept([sys.executable, "-c", script]) as spare:
            process = spare._waiting.process
            assert await offer(spare, command=spare._command) is None
            assert process.returncode is not None

    asyncio.run(check())


def test_a_spare_that_died_is_replaced(monkeypatch, capsys):
    """And a reason that is not ours is said."""
    monkeypatch.setattr(spare_engine, "PAUSE_AFTER_FAILURE_S", 0)

    async def check():
        async with kept() as spare:
            first = spare._waiting.process
            os.kill(first.pid, signal.SIGKILL)
            await until_there(spare, other_than=first)
            async with await offer(spare) as process:
                await printed(process)

    asyncio.run(check())
    assert "ended with status -9" in capsys.readouterr().err


@pytest.mark.parametrize("request_first", [False, True])
def test_a_spare_with_old_sources_runs_nothing(request_first, monkeypatch):
    """It ends when it looks next, and at the latest when a run wants it."""
    states = iter([{Path("a.py"): (1, 1)}])
    monkeypatch.setattr(spare_engine, "_import_all", lambda: None)
    monkeypatch.setattr(spare_engine, "_state_of_files", lambda: next(states, {}))
    monkeypatch.setattr(spare_engine, "CHECK_EVERY_S", 0.01)
    ours, its = socket.socketpair()
    if request_first:
        ours.sendall(b"{}\n")
    assert not spare_engine.wait_for_run(its.detach())
    assert ours.recv(1) == b""


def test_a_spare_ends_with_its_process_worker(monkeypatch):
    """Whose end of the socket is closed by then, however it died."""
    monkeypatch.setattr(spare_engine, "_import_all", lambda: None)
    ours, its = socket.socketpair()
    waiting = threading.Thread(target=lambda: ended.append(spare_engine.wait_for_run(its.detach())))
    ended = []
    waiting.start()
    ours.close()
    waiting.join(60)
    assert ended == [False]


def test_what_a_new_process_would_read_is_watched(tmp_path, monkeypatch):
    """An edited, added or removed source, Prefect's settings files, an installed package."""
    monkeypatch.setattr(spare_engine, "CHECKOUT", tmp_path)
    monkeypatch.setattr(spare_engine.sysconfig, "get_path", lambda _: tmp_path / "installed")
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    source = tmp_path / "flows" / "runner" / "a.py"
    source.parent.mkdir(parents=True)

    def changes(path):
        before = spare_engine._state_of_files()
        path.write_text("1")
        return spare_engine._state_of_files() != before

    for name in ("flows/runner/a.py", "flows/b.py", ".env", "prefect.toml", "profiles.toml"):
        assert changes(tmp_path / name)
    assert not changes(tmp_path / "notes.txt")
    before = spare_engine._state_of_files()
    (tmp_path / "installed").mkdir()
    source.unlink()
    after = spare_engine._state_of_files()
    assert before.keys() ^ after.keys() == {source, tmp_path / "installed"}


@pytest.mark.parametrize(("words", "keeps"), [(["pool"], True), (["pool", NO_SPARE], False)])
def test_the_process_worker_keeps_a_spare_unless_told_not_to(words, keeps, monkeypatch):
    """By the option that `serve` passes on."""

    async def work(pool, *, keep_spare):
        asked.append((pool, keep_spare))

    asked = []
    monkeypatch.setattr(process_worker, "work", work)
    monkeypatch.setattr(process_worker, "die_with_parent", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["process_worker", *words])
    process_worker.main()
    assert asked == [("pool", keeps)]
