"""How many scenes share a GPU: halved where one runs out of memory, which then gets it alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from preprocess.faults import counted
from training.plan.model import ScenePlan
from training.records.outcome import Outcome
from training.records.record import Cause


def halved(bound: int, ran_under: int) -> int:
    """Return the next bound after a scene ran out of memory under the bound `ran_under`.

    Scenes that share a GPU often run out together: only the first of them halves it.
    """
    return max(1, min(bound, ran_under // 2))


class GpuSharing:
    """Bounds the scenes at once on each GPU of one launch; called from all of its threads."""

    def __init__(
        self, scenes_per_gpu: int, say: Callable[[str], None], alone: Iterable[str] = ()
    ) -> None:
        """`alone`: scenes that have run out of memory beside others already."""
        self._bound, self._say = scenes_per_gpu, say
        self._ran_under: dict[str, int] = {}
        """By scene the bound under which its last attempt was started."""
        self._alone = set(alone)
        self._lock = threading.Lock()

    @property
    def bound(self) -> int:
        """How many scenes may be on a GPU, unless one is to be alone."""
        return self._bound

    def is_alone(self, scene: str) -> bool:
        """Return whether a scene is to be alone on its GPU."""
        return scene in self._alone

    def bound_of(self, scene: str) -> int:
        """Return how many scenes may be on a GPU when this one is started there."""
        with self._lock:
            return 1 if scene in self._alone else self._bound

    def started(self, scene: str, bound: int) -> None:
        """Note that a scene is started under a bound that `bound_of` has returned."""
        with self._lock:
            self._ran_under[scene] = bound

    def planned(self, scene: ScenePlan) -> ScenePlan:
        """Return a started scene's plan, which says how many scenes may be on its GPU."""
        return scene.model_copy(update={"scenes_on_gpu": self._ran_under.get(scene.name, 1)})

    def has_more_memory(self, scene: str) -> bool:
        """Return whether the scene's next attempt has more memory: its last one shared a GPU."""
        return self._ran_under.get(scene, 1) > 1

    def note_end(self, outcome: Outcome) -> None:
        """Halve the bound if an attempt ran out of memory beside others.

        Called before its place is free, so that nothing is started there under the former bound.
        """
        with self._lock:
            if self._ran_out(outcome):
                self._bound = halved(self._bound, self._ran_under[outcome.scene])
                self._alone.add(outcome.scene)

    def tell_end(self, outcome: Outcome, *, will_retry: bool) -> None:
        """Say, once, what follows for this scene and others if an attempt ran out of memory."""
        self.note_end(outcome)  # where only Slurm knew
        with self._lock:
            if not self._ran_out(outcome):
                return
            scene, bound = outcome.scene, self._bound
            others = counted(self._ran_under.pop(scene) - 1, "other scene")
        again = " and is tried again alone" if will_retry else ""
        left = f"at most {bound} at once" if bound > 1 else "one at a time"
        self._say(
            f"{scene} ran out of memory beside up to {others} on its GPU{again};"
            f" what is left runs {left} on a GPU"
        )

    def _ran_out(self, outcome: Outcome) -> bool:
        return outcome.cause is Cause.OUT_OF_MEMORY and self.has_more_memory(outcome.scene)
