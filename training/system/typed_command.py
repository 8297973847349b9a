"""The command that the user typed, as help and messages name it.

The same functions are reached by `training-scheduler launch` and by `python training/run.py`: what
a message recommends is spelled as the user has begun.
"""

from __future__ import annotations

PROGRAM = "training-scheduler"
AS_SCRIPTS = {
    "train": "python -m flows.train",
    "launch": "python training/run.py",
    "submit": "python training/run.py --submit",
    "status": "python training/run.py --status",
    "logs": "python training/run.py --logs",
    "cancel": "python training/run.py --cancel",
    "report": "python -m flows.report",
    "ui": "python -m deployments.serve",
}
"""How a subcommand of the program is spelled without it; the others are the program's alone."""
_program = ""


def set_program(name: str) -> None:
    """Name the program whose subcommands the user types; empty for scripts and modules."""
    global _program  # noqa: PLW0603 - a process has one command line
    _program = name


def spelled(subcommand: str) -> str:
    """Return a command line for a subcommand, in the user's spelling where it has several."""
    if _program or subcommand not in AS_SCRIPTS:
        return f"{_program or PROGRAM} {subcommand}"
    return AS_SCRIPTS[subcommand]
