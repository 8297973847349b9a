"""The launcher's side of supervisors: start them, send them scenes, take their outcomes.

Each thread that runs scenes keeps its supervisor for the next scene: importing its modules costs a
supervisor more time than all else that a scene costs us.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from training.plan.model import ScenePlan
from training.system.piped_process import PipedProcess, Process, start_piped

SUPERVISOR = "training.execution.supervisor"


@dataclass(eq=False)
class Supervisor:
    """A process of `training.execution.supervisor`.

    The kernel ties it to the thread that started it: that thread must live on.
    """

    piped: PipedProcess
    stderr: IO[bytes]
    """A temporary file with what it says of its own faults."""

    def run(self, plan: ScenePlan, poll: Callable[[Process], None]) -> bytes:
        """Send a scene and return its outcome as JSON, see `PipedProcess.ask`."""
        return self.piped.ask(plan.model_dump_json().encode(), poll)

    def end(self) -> str:
        """End the process if it has not ended, and return a sentence with its last output."""
        self.close()
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        pid, how = self.piped.process.pid, self.piped.how_it_ended()
        return f"its supervisor (process {pid}) {how}{last}"

    def close(self) -> None:
        """End one that waits for a scene; kill any other."""
        self.piped.close()

    __del__ = close


class _ThreadLocal(threading.local):
    """This thread's supervisor between two scenes; it is closed when the thread has ended."""

    supervisor: Supervisor | None = None


_this_thread = _ThreadLocal()


def take_supervisor() -> Supervisor:
    """Return the supervisor that this thread has kept, or a new one if it has none that lives."""
    kept, _this_thread.supervisor = _this_thread.supervisor, None
    return kept if kept is not None and kept.piped.process.poll() is None else _start()


def keep_supervisor(supervisor: Supervisor) -> None:
    """Keep a supervisor for the next scene of this thread."""
    _this_thread.supervisor = supervisor


def _start() -> Supervisor:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
    return Supervisor(start_piped(SUPERVISOR, str(os.getpid()), stderr=stderr), stderr)
