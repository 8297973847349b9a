"""What runs on a Dask worker: plain functions of plain data. No Prefect, or workers import it."""

from __future__ import annotations

from training.execute import run_scene
from training.logs import last_lines
from training.outcome import Outcome
from training.plan import ScenePlan

SHOWN_LINES = 20


class SceneNotDoneError(Exception):
    """A start of a scene that did not end as done; carries what became of it."""

    def __init__(self, outcome: Outcome, lines: tuple[str, ...] = ()) -> None:
        self.outcome = outcome
        self.lines = lines
        super().__init__("\n".join([f"{outcome} (log: {outcome.log})", *lines]))

    def __reduce__(self) -> tuple[type[SceneNotDoneError], tuple[Outcome, tuple[str, ...]]]:
        return type(self), (self.outcome, self.lines)


class NotStartedError(Exception):
    """So many scenes have failed that this one was not started."""


def train_one_scene(scene: ScenePlan) -> Outcome:
    """Run one scene; raises SceneNotDoneError with the log's last lines unless it ends as done.

    Raises NotStartedError once --max-failures was reached.
    """
    if scene.enough_failures.exists():
        raise NotStartedError(f"{scene.name}: not started, --max-failures was reached")
    outcome = run_scene(scene)
    if outcome.status != "done":
        raise SceneNotDoneError(outcome, tuple(last_lines(scene.log, SHOWN_LINES)))
    return outcome
