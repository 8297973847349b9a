"""The exit statuses of every command and job of this project."""

from __future__ import annotations

DONE = 0
"""Everything that the command was to do is done."""
FAILED = 1
"""Something was started or tried, and failed."""
USAGE = 2
"""The command line or the configuration is wrong, and nothing was started."""
GOING_ON = 3
"""`--status`: something is queued or running, or Slurm does not say whether it is."""
INTERRUPTED = 130
"""Ctrl-C or SIGTERM ended the command (128 + SIGINT, as shells count)."""
