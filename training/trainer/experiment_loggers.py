"""Progress: a line for the launcher, a line for people, and trackers where switched on."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from preprocess.faults import Fault
from training.trainer.config.schema import Config

MARK = "TS_PROGRESS"


class Tracker(Protocol):
    """Something that keeps numbers by epoch."""

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Keep `numbers` of `epoch`."""

    def close(self) -> None:
        """Write out what is held back."""


class TensorBoard:
    """Event files in a folder; what a former attempt wrote past `epoch` is dropped."""

    def __init__(self, folder: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=epoch)

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Keep `numbers` of `epoch`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Write out what is held back."""
        self._writer.close()


class Wandb:
    """Weights & Biases; offline unless an API key or WANDB_MODE says otherwise."""

    def __init__(self, config: Config, folder: Path) -> None:
        import wandb

        if "WANDB_API_KEY" not in os.environ:
            os.environ.setdefault("WANDB_MODE", "offline")
        folder.mkdir(parents=True, exist_ok=True)
        shared = config.shared
        self._run = wandb.init(
            project=shared.wandb.project,
            group=shared.exp_name,
            name=f"{shared.exp_name}/{shared.scene_name}",
            dir=str(folder),
            config=config.model_dump(),
        )

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Keep `numbers` of `epoch`."""
        self._run.log({"epoch": epoch, **numbers})

    def close(self) -> None:
        """Write out what is held back."""
        self._run.finish()


def missing_trackers(config: Config) -> list[Fault]:
    """Trackers that are switched on and not installed."""
    wanted = {"wandb": config.shared.wandb.enable, "tensorboard": config.shared.tensorboard.enable}
    return [
        Fault(
            f"shared.{package}.enable=true, but {package} is not installed",
            remedy=f"pip install {package}, or set shared.{package}.enable=false",
        )
        for package, enabled in wanted.items()
        if enabled and importlib.util.find_spec(package) is None
    ]


def open_trackers(config: Config, folder: Path, epoch: int) -> list[Tracker]:
    """The trackers that the configuration switches on."""
    trackers: list[Tracker] = []
    if config.shared.tensorboard.enable:
        trackers.append(TensorBoard(folder / "tensorboard", epoch))
    if config.shared.wandb.enable:
        trackers.append(Wandb(config, folder))
    return trackers


def report_progress(numbers: Mapping[str, Any]) -> None:
    """One machine-readable line on standard output."""
    print(f"{MARK} {json.dumps(dict(numbers), allow_nan=False)}", flush=True)
