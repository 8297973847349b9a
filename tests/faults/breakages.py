"""Breakages of the product, each of which turns the tests red that name it.

`python -m tests.faults.red` does them one after the other and writes down what was red.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Breakage:
    """A text that stands once in a file, and what is put in its place."""

    says: str
    file: str
    old: str
    new: str


BREAKAGES: dict[str, Breakage] = {
    "any exit status is success": Breakage(
        "an exit status other than 0 passes for success",
        "training/execution/end_cause.py",
        "    if end.exit_status == 0:\n        return Cause.OK",
        "    if not end.stopped:\n        return Cause.OK",
    ),
    "outputs are not looked for": Breakage(
        "exit status 0 is enough, whatever was written",
        "training/execution/end_cause.py",
        "if end.exit_status == 0 and missing:",
        "if end.exit_status == 0 and missing is None:",
    ),
    "lost workers are not retried": Breakage(
        "a lost worker is final",
        "training/records/retry_policy.py",
        "Cause.NODE_FAILURE, Cause.WORKER_LOST}",
        "Cause.NODE_FAILURE}",
    ),
}
"""By the name that markers use."""
