"""Nodes on which jobs lately ended before our code ran, although the same jobs began elsewhere.

One file for each node below the state root, which counts for a day: `<state>/bad_nodes/<node>.json`
says when, in which job, and what that job was. Flows and arrays exclude these nodes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from training.system.atomic_write import write_atomically

VALID = timedelta(days=1)
FOLDER = "bad_nodes"
NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FORGET_FLAG = "--slurm.forget-bad-nodes"


class BadNode(BaseModel):
    """A node, and the job that last ended there before our code ran."""

    model_config = ConfigDict(frozen=True)

    node: str
    job_id: str = ""
    seen: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def __str__(self) -> str:
        hours = int(self.age.total_seconds() // 3600)
        ago = f"{hours} h ago" if hours else "within the hour"
        job = f"job {self.job_id}, " if self.job_id else ""
        return f"{self.node} ({job}{ago})"

    @property
    def age(self) -> timedelta:
        """How long ago it was seen."""
        return datetime.now(UTC) - self.seen


def bad_nodes(state_root: Path) -> tuple[BadNode, ...]:
    """Return the bad nodes of the last day, by name; without those whose file can't be read."""
    found = (_read(file) for file in sorted(_folder(state_root).glob("*.json")))
    return tuple(each for each in found if each and timedelta() <= each.age < VALID)


def note_bad_nodes(state_root: Path, nodes: Iterable[BadNode]) -> None:
    """Remember nodes; what can't be written is found again by the next job there."""
    for each in nodes:
        if NODE_NAME.fullmatch(each.node):
            with contextlib.suppress(OSError):
                write_atomically(_file(state_root, each.node), each.model_dump_json() + "\n")


def forget_bad_node(state_root: Path, node: str) -> None:
    """Forget a node, since something has begun there; nothing where it is not known as bad."""
    if NODE_NAME.fullmatch(node):
        with contextlib.suppress(OSError):
            _file(state_root, node).unlink(missing_ok=True)


def forget_bad_nodes(state_root: Path, seen_before: datetime) -> None:
    """Forget the nodes that were seen before a moment."""
    for file in _folder(state_root).glob("*.json"):
        found = _read(file)
        if found is None or found.seen < seen_before:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def avoided_text(nodes: Sequence[BadNode]) -> str:
    """Return the line by which a person learns which nodes are excluded; empty without any."""
    if not nodes:
        return ""
    names = ", ".join(map(str, nodes))
    return f"avoided for a day, since nothing could start there: {names}; {FORGET_FLAG} ends it"


def used_again_text(nodes: Sequence[str]) -> str:
    """Return the line by which a person learns that bad nodes are used, for want of others."""
    what = "nodes that were avoided for a day, since nothing could start there, are used again"
    return f"{what}: {', '.join(nodes)}; no other is left"


def forgotten_text(nodes: Sequence[str]) -> str:
    """Return the line by which a person learns that Slurm has one of these nodes no more."""
    names = ", ".join(nodes)
    return f"warning: bad nodes are forgotten: {names}; Slurm has a node of that name no more"


def _folder(state_root: Path) -> Path:
    return state_root / FOLDER


def _file(state_root: Path, node: str) -> Path:
    return _folder(state_root) / f"{node}.json"


def _read(file: Path) -> BadNode | None:
    try:
        return BadNode.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None
