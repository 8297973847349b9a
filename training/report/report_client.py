"""Have reports written by a process of their own (`report_writer`), and take what they say.

Matplotlib and the rows of ten thousand scenes take 250 MB, which a launcher or flow would keep.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.plan.model import Plan
from training.report.plots import FEWEST_FOR_PLOTS
from training.system.colours import shows_colours
from training.system.console import say
from training.system.piped_process import PipedProcess, Process, start_piped
from training.system.text_table import terminal_width

WRITER = "training.report.report_writer"
PLOTS = "--plots"
"""Import what plots are drawn with before the first request, which then does not wait for it."""
TIMEOUT_S = 1800
"""A request that takes longer ends the writer: a disk that hangs holds no run for ever."""
SLACK_S = 30.0
"""The writer ends itself after its own limit; so much later it is killed."""


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


_lock = threading.Lock()
_kept: list[PipedProcess] = []
"""The writer of this process, which answers all its requests; none before the first."""


def _ask(plan: Plan, request: Mapping[str, Any]) -> dict[str, str]:
    roots, exp_name, scenes, output_subdir = plan.experiment
    experiment = {"exp_name": exp_name, "scenes": scenes, "output_subdir": output_subdir}
    with _lock:
        writer = _take()
        try:
            told = {"roots": roots.model_dump(mode="json"), **experiment, **request}
            return _answer_of(writer, json.dumps(told).encode())
        except BaseException:  # Ctrl-C too: the next request gets a process of its own
            _kept.remove(writer)
            writer.close()
            raise


def _answer_of(writer: PipedProcess, request: bytes) -> dict[str, str]:
    """Return the answer to a request; raises ReportError when the process ends without one."""
    deadline = time.monotonic() + TIMEOUT_S + SLACK_S

    def kill_if_overdue(process: Process) -> None:
        if time.monotonic() > deadline:
            process.kill()

    line = writer.ask(request, kill_if_overdue)
    if not line:
        writer.close()
        raise ReportError(f"the process that writes it {writer.how_it_ended()}")
    answer: dict[str, str] = json.loads(line)
    return answer


def _take(*, plots: bool = False) -> PipedProcess:
    """Return the writer; start one where there is none, or it has ended."""
    if _kept and _kept[0].process.poll() is not None:
        _kept.pop().close()
    if not _kept:
        _kept.append(start_piped(WRITER, *([PLOTS] if plots else []), env=_environment()))
    return _kept[0]


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
