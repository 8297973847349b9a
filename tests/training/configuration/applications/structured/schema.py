"""What the configuration's keys are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class Precision(Enum):
    HALF = 16
    FULL = 32


@dataclass
class Names:
    scene_name: str = MISSING
    exp_name: str = MISSING


@dataclass
class Algorithm:
    name: str = MISSING


@dataclass
class Ppo(Algorithm):
    name: str = "ppo"
    clip: float = 0.2


@dataclass
class Sac(Algorithm):
    name: str = "sac"
    temperature: float = 1.0


@dataclass
class Config:
    shared: Names = field(default_factory=Names)
    algorithm: Any = MISSING
    epochs: int = 10
    lr: float = 0.1
    precision: Precision = Precision.FULL
    folder: Path = Path("runs")
    verbose: bool = False


def register() -> None:
    """Store the schema of config.yaml, and a group that is in no file."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="algorithm", name="ppo", node=Ppo)
    store.store(group="algorithm", name="sac", node=Sac)
