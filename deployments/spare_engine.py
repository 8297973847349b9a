"""A spare engine: the process of a flow run, started before there is a run to execute.

Most of a run's first seconds go into imports. The process worker keeps one engine process that has
done them and waits; a run takes it by sending it the variables that name the run. It is used only
where a new process would do the same: with the same command, folder and environment, and sources
that nobody has edited meanwhile. In any doubt a new process is started, as without a spare.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.server.settings import PROFILES
from preprocess.roots import CHECKOUT
from training.system.console import say
from training.system.exit_status import DONE
from training.system.importing import without_collecting

if TYPE_CHECKING:
    from flows.adapters.prefect_process_adapter import OpenProcess, Process

OPTION = "--spare"
"""The engine's option, followed by the number of its end of the socket."""
OF_ONE_RUN = "PREFECT__"
"""How the variables begin that tell an engine its run; everything else a spare has already."""
TAKEN = b"t"
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
TAKE_TIMEOUT_S = 30.0
PAUSE_S = 10.0
"""Before a spare is replaced: the run that took it needs the machine."""
PAUSE_AFTER_FAILURE_S = 60.0
CHECK_EVERY_S = 5.0
PACKAGES = ("deployments", "flows", "preprocess", "training")
SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")


# The process worker's side


@dataclass(frozen=True)
class Waiting:
    """A spare that waits for its run; `owner` ends its process when it is closed."""

    process: Process
    channel: socket.socket
    owner: AsyncExitStack

    async def take(self, variables: Mapping[str, str]) -> bool:
        """Send the variables of a run; return whether the spare executes it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TAKE_TIMEOUT_S):
                await loop.sock_sendall(self.channel, f"{json.dumps(variables)}\n".encode())
                return await loop.sock_recv(self.channel, len(TAKEN)) == TAKEN
        except (OSError, TimeoutError):
            return False

    async def end(self) -> None:
        """End the process, which executes no run."""
        self.channel.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.owner.aclose()


class SpareEngine:
    """Keeps one spare engine and offers it to runs."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        open_process: OpenProcess,
    ) -> None:
        self._command = list(command)
        self._folder = folder.resolve()
        self._environment = _without_run(environment)
        self._open = open_process
        self._waiting: Waiting | None = None
        self._is_gone = asyncio.Event()

    async def keep(self) -> None:
        """Keep a spare until cancelled: start one, and another when it was taken or has ended."""
        while True:
            try:
                waiting = await self._start()
            except OSError as error:  # no memory, no process
                say(f"no spare engine can be started: {error}", sys.stderr)
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
                continue
            self._waiting = waiting
            ended = asyncio.create_task(waiting.process.wait())
            gone = asyncio.create_task(self._is_gone.wait())
            try:
                await asyncio.wait([ended, gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended.cancel()
                gone.cancel()
                has_failed = await self._withdraw(waiting)
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S if has_failed else PAUSE_S)

    async def offer(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[Process] | None:
        """Return the spare's process, for what a new process would be started with.

        None where they differ or there is no spare: a new process has to be started.
        """
        if env is None or cwd is None:  # no run's
            return None
        wanted = (list(command), Path(cwd), _without_run(env), options)
        if wanted != (self._command, self._folder, self._environment, PIPES):
            return None
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        self._is_gone.set()
        of_run = {name: value for name, value in env.items() if name.startswith(OF_ONE_RUN)}
        is_taken = False
        try:
            is_taken = await waiting.take(of_run)
        finally:  # also where the run is cancelled meanwhile
            if not is_taken:
                await waiting.end()
        if not is_taken:
            return None
        waiting.channel.close()
        say(f"the spare engine, process {waiting.process.pid}, takes a run")
        return _as_run(waiting)

    async def _start(self) -> Waiting:
        self._is_gone.clear()
        ours, its = socket.socketpair()
        ours.setblocking(False)
        owner = AsyncExitStack()
        with its:
            opened = self._open(
                [*self._command, OPTION, str(its.fileno())],
                env=self._environment,
                cwd=self._folder,
                pass_fds=(its.fileno(),),
                **PIPES,
            )
            return Waiting(await owner.enter_async_context(opened), ours, owner)

    async def _withdraw(self, waiting: Waiting) -> bool:
        """End a spare unless a run has taken it; return whether it had ended by a fault."""
        if self._waiting is not waiting:
            return False
        self._waiting = None
        status = waiting.process.returncode
        await waiting.end()
        if status in (None, DONE):
            return False
        say(f"the spare engine ended with status {status}: runs start without one", sys.stderr)
        return True


@asynccontextmanager
async def _as_run(waiting: Waiting) -> AsyncIterator[Process]:
    """Yield a spare's process as that of a run, which is ended as any other."""
    async with waiting.owner:
        yield waiting.process


def _without_run(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OF_ONE_RUN)}


# The spare's side


def wait_for_run(channel: int) -> bool:
    """Import what runs need, then wait for one; return whether there is one to execute now.

    Its variables are in the environment then. There is none when the process worker has ended, or
    a file that a new process would read has changed.
    """
    before = _state_of_files()
    _import_all()
    with socket.socket(fileno=channel) as connection:
        while not select.select([connection], [], [], CHECK_EVERY_S)[0]:
            if _state_of_files() != before:
                return False
        request = connection.makefile("r", encoding="utf-8").readline()
        if not request or _state_of_files() != before:
            return False
        os.environ.update(json.loads(request))
        connection.sendall(TAKEN)
    return True


def _import_all() -> None:
    """Import what a run needs, also what it imports only when it gets there."""
    from flows.adapters.prefect_process_adapter import import_for_runs

    with without_collecting():
        import_for_runs()
        import hydra  # noqa: F401

        import flows.flow  # noqa: F401


def _state_of_files() -> dict[Path, tuple[int, int]]:
    """Return size and time of change of the sources and settings that a new process would read.

    Of installed packages that is the folder's, which changes whenever one is installed.
    """
    sources = (path for name in PACKAGES for path in (CHECKOUT / name).rglob("*.py"))
    settings = [CHECKOUT / name for name in SETTINGS_FILES]
    others = [Path(sysconfig.get_path("purelib")), Path(os.environ.get(PROFILES, os.devnull))]
    found = {}
    for path in (*sources, *settings, *others):
        with suppress(OSError):
            status = path.stat()
            found[path] = (status.st_size, status.st_mtime_ns)
    return found
