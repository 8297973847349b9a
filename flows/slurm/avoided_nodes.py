"""Which nodes a flow's jobs avoid: those that were lost, and bad ones, on which nothing can start.

Decisions without thread, clock or Slurm: what happened and the time go in. A job that ends before
its worker joins speaks against its node as long as others begin elsewhere; where jobs end like
that on node after node, the reason is no node's, and no job can be had. Where no other node is left
than bad ones, those are used once more of which nothing in this run has proved that they are bad.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

AVOID_S = 3600.0
"""How long a lost node is avoided: it may be repaired, and a small cluster has few."""
AVOID_BAD_S = 24 * 3600.0
"""The same of a bad node."""
AGREEING_NODES = 3
"""Where jobs ended early on so many nodes, and began on none, the reason is no node's."""
MAX_BAD_NODES = 10
"""The same where jobs have begun before: something has changed for all nodes."""
MAX_UNPLACED_STARTS = 3
"""The same where the nodes can't be avoided: so many times in a row."""


@dataclass
class AvoidedNodes:
    """The nodes that new jobs must not run on, and what is known of early ends."""

    can_exclude: bool = True
    """Whether nodes can be avoided: not where the Slurm script names those to use."""
    is_proven: bool = False
    """Whether a worker, or a probe like one, has begun on some node since bad ones were last used
    again."""
    most_queued: int = 1
    """How many jobs may be queued when a node is found to be bad, and still run there."""
    _until: dict[str, float] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)
    _certain: set[str] = field(default_factory=set)
    """Those of them that this run has proved: others began elsewhere, or a second try failed."""
    _used_again: set[str] = field(default_factory=set)
    """Nodes that are having their second try."""
    _failed: dict[str, str] = field(default_factory=dict)
    """Nodes on which a job ended early, with its id, since a worker has last joined."""
    _repeated: int = 0
    """Jobs since then that ended early on a node that was bad already."""
    _unplaced: int = 0
    """Times since then that jobs ended early and no node can be avoided for it."""
    _confirmed: dict[str, str] = field(default_factory=dict)
    _started_on: set[str] = field(default_factory=set)

    def names(self, now: float) -> tuple[str, ...]:
        """Return the nodes that new jobs must not run on."""
        return tuple(sorted(node for node, until in self._until.items() if until > now))

    @property
    def bad(self) -> tuple[str, ...]:
        """The nodes on which nothing could start."""
        return tuple(sorted(self._bad))

    @property
    def failed_jobs(self) -> tuple[str, ...]:
        """Ids of jobs that ended on bad nodes, since a worker has last joined."""
        return tuple(self._failed.values())

    @property
    def has_failed_starts(self) -> bool:
        """Whether jobs have ended before their workers joined, since the last that did."""
        return bool(self._failed) or self._unplaced > 0

    @property
    def is_hopeless(self) -> bool:
        """Whether jobs would end before their workers join wherever they ran."""
        most = MAX_BAD_NODES if self.is_proven else AGREEING_NODES
        is_repeated = self._repeated > self.most_queued
        return is_repeated or self._unplaced >= MAX_UNPLACED_STARTS or len(self._failed) >= most

    def avoid_lost(self, node: str, now: float) -> None:
        """Avoid a node that was lost, for a while; an empty name is ignored."""
        if node:
            self._until[node] = max(now + AVOID_S, self._until.get(node, now))

    def avoid_bad(self, nodes: Collection[str], now: float, *, is_certain: bool = False) -> None:
        """Avoid nodes on which nothing can start, for a day; `is_certain`: as this run has seen."""
        self._bad.update(nodes)
        self._certain.update(nodes if is_certain else self._used_again & set(nodes))
        self._until.update(dict.fromkeys(nodes, now + AVOID_BAD_S))

    def allow_lost(self, excluded: Sequence[str]) -> bool:
        """Use lost nodes again where there are others no more; return whether some were excluded.

        `excluded`: by the job that Slurm has no node for.
        """
        lost = self._until.keys() - self._bad
        self._until = {node: until for node, until in self._until.items() if node in self._bad}
        return bool(lost & set(excluded))

    def use_again(self, excluded: Collection[str]) -> tuple[str, ...]:
        """Use bad nodes again, once, that are not certain, where there are others no more.

        `excluded`: by the job that Slurm has no node for. Return those that are used again.
        """
        again = self._bad.intersection(excluded) - self._certain
        for node in again:
            self._bad.remove(node)
            del self._until[node]
            self._failed.pop(node, None)
        if again:
            self._used_again |= again
            self.is_proven = False
        return tuple(sorted(again))

    def record_failed_starts(self, nodes: Mapping[str, str], now: float) -> None:
        """Note jobs, by id, that ended before their workers joined, with their nodes or `""`."""
        placed = {job: node for job, node in nodes.items() if node and self.can_exclude}
        self._unplaced += len(placed) < len(nodes)
        for job_id, node in placed.items():
            self._repeated += node in self._bad
            self._failed.setdefault(node, job_id)
        self.avoid_bad(set(placed.values()), now)

    def record_start(self, node: str) -> None:
        """Note that a worker has begun: jobs that ended elsewhere did so for their nodes' sake."""
        self.is_proven = True
        self._started_on.add(node)
        self._failed.pop(node, None)
        self._certain.discard(node)
        self._used_again.discard(node)
        if node in self._bad:
            self._bad.remove(node)
            self._until.pop(node, None)
        self._confirmed |= self._failed
        self._certain.update(self._failed)
        self._failed, self._repeated, self._unplaced = {}, 0, 0

    def take_news(self) -> tuple[dict[str, str], set[str]]:
        """Return what has been found out since the last call.

        Bad nodes with the id of a job that ended there while others began elsewhere; and nodes on
        which workers have begun.
        """
        news = self._confirmed, self._started_on
        self._confirmed, self._started_on = {}, set()
        return news
