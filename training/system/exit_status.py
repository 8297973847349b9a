"""The exit statuses of every command and job of this project."""

from __future__ import annotations

import signal

from preprocess.faults import FaultsError

DONE = 0
"""Everything that the command was to do is done."""
FAILED = 1
"""Something was started or tried, and failed."""
USAGE = FaultsError.exit_status
"""The command line or the configuration is wrong, and nothing was started."""
GOING_ON = 3
"""`--status`: something is queued or running, or Slurm does not say whether it is."""
INTERRUPTED = 128 + signal.SIGINT
"""Ctrl-C or SIGTERM ended the command; 130, as shells count."""
TERMINATED = 128 + signal.SIGTERM
"""SIGTERM stopped the trainer; 143, as shells count."""
