"""Command lines of a plan: as text for people and shells, and as a process is started with one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

from training.configuration.job_variables import without_secret_values

JOBS_PYTHON = "python"
"""The interpreter in a plan for Slurm: on a node it is the one that the Slurm script chooses."""


def quoted(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command with its environment before it, as a line for a shell."""
    settings = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
    return " ".join([*settings, shlex.join(command)])


def noted(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what `quoted` does for a file that others may read: without secrets."""
    return quoted(without_secret_values(command), environment)


def launch_line(program: str, arguments: Sequence[str]) -> str:
    """Return the command line of a launch as a plan keeps it: for a shell, without secrets."""
    return " ".join([program, *map(shlex.quote, without_secret_values(arguments))])


def runnable(command: Sequence[str]) -> tuple[str, ...]:
    """Return a plan's command with this process's interpreter where the plan leaves it open."""
    return tuple([sys.executable, *command[1:]] if command[0] == JOBS_PYTHON else command)
