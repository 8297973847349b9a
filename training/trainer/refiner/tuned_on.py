"""On whom a refiner was tuned: written beside its weights, and asked before it refines a scene.

A refiner that has seen a scene's people repairs them from memory; what it then gains says nothing
about people that it has not seen. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preprocess.faults import Fault, FaultsError
from preprocess.json_file import read_json
from training.system.atomic_write import write_json_atomically
from training.trainer.config.schema import Config
from training.trainer.refiner.weights import local_path
from training.trainer.scene_groups import group_of

FILE = "tuned_on.json"
Relation = Literal["other groups", "this scene's group", "unknown"]


@dataclass(frozen=True)
class TunedOn:
    """The groups and scenes of a refiner's training samples, sorted."""

    groups: tuple[str, ...]
    scenes: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        """Return the content of tuned_on.json."""
        return {"groups": list(self.groups), "scenes": list(self.scenes)}


def write_tuned_on(folder: Path, tuned_on: TunedOn) -> None:
    """Write tuned_on.json into a folder; raises OSError."""
    write_json_atomically(folder / FILE, tuned_on.content())


def read_tuned_on(model_id: str) -> TunedOn | None:
    """Return on whom the weights were tuned; None where no tuned_on.json lies beside them.

    Beside a checkpoint is its folder or the one above. Raises FaultsError for a file that is no
    such JSON.
    """
    weights = local_path(model_id)
    if weights is None:
        return None
    folders = [weights] if weights.is_dir() else [weights.parent, weights.parent.parent]
    found = next((path for folder in folders if (path := folder / FILE).is_file()), None)
    return None if found is None else _read(found)


def relation_to(scene: str, config: Config) -> Relation:
    """Return how a scene relates to those that the configured refiner was tuned on.

    Raises FaultsError when it is of the same group and `difix.same_group` is refuse.
    """
    tuned_on = read_tuned_on(config.difix.model_id)
    if tuned_on is None:
        return "unknown"
    group = _group_name(scene, config)
    if scene not in tuned_on.scenes and group not in tuned_on.groups:
        return "other groups"
    if config.difix.same_group == "refuse":
        remedy = (
            "name a refiner that was tuned on other groups; difix.same_group=label refines with "
            "this one and says so in metrics.json"
        )
        what = f"the refiner {config.difix.model_id} was tuned on the group of {scene}"
        raise FaultsError([Fault(what, group, remedy)])
    return "this scene's group"


def _group_name(scene: str, config: Config) -> str:
    """Return a scene's group; empty where its name has none, and only the name can be compared."""
    settings = config.difix_data_generation.model_copy(update={"strict": False})
    try:
        return str(group_of(scene, settings))
    except FaultsError:
        return ""


def _read(path: Path) -> TunedOn:
    try:
        content = read_json(path)
        return TunedOn(_texts(content["groups"]), _texts(content.get("scenes", [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = 'it looks like {"groups": ["hi4d/pair00"], "scenes": []}'
        raise FaultsError([Fault(f"{path} can't be read", repr(error), remedy)]) from error


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"expected a list, not {values!r}")
    return tuple(sorted(map(str, values)))
