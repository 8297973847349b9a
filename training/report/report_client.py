"""Have reports written by a process of their own (`report_writer`), and take what they say.

Matplotlib and the rows of ten thousand scenes take 250 MB, which a launcher or flow would keep.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from preprocess.roots import CHECKOUT
from training.plan.model import Plan
from training.report.plots import FEWEST_FOR_PLOTS
from training.system.colours import shows_colours
from training.system.console import say
from training.system.processes import signal_name
from training.system.text_table import terminal_width

WRITER = "training.report.report_writer"
PLOTS = "--plots"
"""Import what plots are drawn with before the first request, which then does not wait for it."""
TIMEOUT_S = 1800
"""A request that takes longer ends the writer: a disk that hangs holds no run for ever."""
END_S = 1.0
SLACK_S = 30.0
"""The writer ends itself after its own limit; so much later it is killed."""
CHUNK = 65536


class ReportError(OSError):
    """A report can't be written; the message says why."""


def start_report_writer(plan: Plan) -> None:
    """Start the process that will write a plan's report: it imports while the scenes run.

    Where none can be started now, the first request tries again.
    """
    with _lock, contextlib.suppress(OSError):
        _take(plots=len(plan.scenes) >= FEWEST_FOR_PLOTS)


def write_report_of(plan: Plan) -> Path:
    """Write the report of a plan's experiment and return its path, see `summary.summarise`.

    Prints what could not be drawn. Raises OSError.
    """
    found = _ask(plan, {"what": "report"})
    if said := found["said"]:
        say(said, sys.stderr, end="")
    if error := found.get("error"):
        raise ReportError(error)
    return Path(found["report"])


def table_of(plan: Plan) -> str:
    """Return the table of a plan's experiment for this terminal, see `summary.table`.

    Raises OSError.
    """
    return _ask(plan, {"what": "table", "width": terminal_width()})["table"]


@dataclass
class _Writer:
    """A process of `report_writer`."""

    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Return the answer to a request; raises ReportError when the process ends without one."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(json.dumps(request).encode() + b"\n")
            self.stdin.flush()
        line = self._line(time.monotonic() + TIMEOUT_S + SLACK_S)
        if not line:
            raise ReportError(self._end())
        answer: dict[str, str] = json.loads(line)
        return answer

    def _line(self, deadline: float) -> bytes:
        """Return what it answers; empty once it has ended, or the deadline has passed."""
        line, readable = b"", select.poll()
        readable.register(self.stdout, select.POLLIN)
        while not line.endswith(b"\n"):
            if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return b""
            read = os.read(self.stdout.fileno(), CHUNK)
            if not read:
                return b""
            line += read
        return line

    def _end(self) -> str:
        """End the process and return a sentence that says how it ended."""
        self.close()
        status = self.process.returncode
        how = f"was ended by {signal_name(status)}" if status < 0 else f"ended with status {status}"
        return f"the process that writes it {how}"

    def close(self) -> None:
        """Close its input, which ends one that waits for a request; kill any other."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_kept: list[_Writer] = []
"""The writer of this process, which answers all its requests; none before the first."""


def _ask(plan: Plan, request: Mapping[str, Any]) -> dict[str, str]:
    roots, exp_name, scenes, output_subdir = plan.experiment
    experiment = {"exp_name": exp_name, "scenes": scenes, "output_subdir": output_subdir}
    with _lock:
        writer = _take()
        try:
            return writer.ask({"roots": roots.model_dump(mode="json"), **experiment, **request})
        except BaseException:  # Ctrl-C too: the next request gets a process of its own
            _kept.remove(writer)
            writer.close()
            raise


def _take(*, plots: bool = False) -> _Writer:
    """Return the writer; start one where there is none, or it has ended."""
    if _kept and _kept[0].process.poll() is not None:
        _kept.pop().close()
    if not _kept:
        _kept.append(_start(plots=plots))
    return _kept[0]


def _start(*, plots: bool) -> _Writer:
    process = subprocess.Popen(
        [sys.executable, "-m", WRITER, *([PLOTS] if plots else [])],
        cwd=CHECKOUT,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C is the launcher's to handle
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("started without pipes")
    return _Writer(process, process.stdin, process.stdout)


def _environment() -> dict[str, str]:
    """Return the environment, with what this process's standard output shows of colours."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return kept | ({"FORCE_COLOR": "1"} if shows_colours(sys.stdout) else {"NO_COLOR": "1"})


@atexit.register
def _close() -> None:
    """End the writer, which has nothing left to do, without waiting for its interpreter's end."""
    while _kept:
        _kept[0].process.kill()
        _kept.pop().close()
