"""How a training can end other than by being done; imports nothing."""

from __future__ import annotations


class TrainingError(Exception):
    """Training can't go on: what happened and what to do, for people."""


class Terminated(Exception):  # noqa: N818 no error: what was asked for is done
    """SIGTERM was obeyed: the checkpoint is written."""
