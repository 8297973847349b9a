"""How a trainer ended is known, or it has failed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import pathlib, sys
from training.execution.trainer_process import Limits, run_trainer

class Unknown:
    exit_status = None
    def poll(self): return 0
    def wait(self): pass
    def send_signal(self, number): pass
    def signal_group(self, number): pass

class Starts:
    def start(self, command, environment, log): return Unknown()
    def kept_processes(self): return frozenset()

log = pathlib.Path(sys.argv[1])
print(run_trainer([], {}, log, Limits(9, 1), lambda: None, starts=Starts()).exit_status)
"""


def test_an_unknown_exit_status_is_no_success(tmp_path):
    """In a process of its own: whatever that has started ends with the trainer."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "1\n"
