"""Where a run's numbers go by epoch: the progress line, TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from preprocess.faults import Fault
from training.system.console import is_terminal
from training.system.scene_log import PROGRESS, progress_text
from training.trainer.config.schema import Config
from training.trainer.output_files import OutputFolder


class ExperimentLogger(Protocol):
    """Something that keeps a run's numbers by epoch."""

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Record the numbers of an epoch."""

    def close(self) -> None:
        """Write out everything that is buffered."""


class TensorBoardLogger:
    """Writes TensorBoard's event files; drops what an earlier attempt wrote after `epoch`."""

    def __init__(self, folder: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=epoch)

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Record the numbers of an epoch."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Write out everything that is buffered."""
        self._writer.close()


class WandbLogger:
    """Logs to Weights & Biases; offline unless an API key or WANDB_MODE says otherwise."""

    def __init__(self, config: Config, folder: Path) -> None:
        import wandb

        if "WANDB_API_KEY" not in os.environ:
            os.environ.setdefault("WANDB_MODE", "offline")
        folder.mkdir(parents=True, exist_ok=True)
        shared = config.shared
        self._run = wandb.init(
            project=shared.wandb.project,
            entity=shared.wandb.entity,
            tags=shared.wandb.tags,
            group=shared.exp_name,
            name=f"{shared.exp_name}/{shared.scene_name}",
            dir=str(folder),
            config=config.model_dump(),
        )

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Record the numbers of an epoch."""
        self._run.log({"epoch": epoch, **numbers})

    def close(self) -> None:
        """Write out everything that is buffered."""
        self._run.finish()


def missing_logger_packages(config: Config) -> list[Fault]:
    """Return a fault for each logger that is enabled and whose package is not installed."""
    wanted = {"wandb": config.shared.wandb.enable, "tensorboard": config.shared.tensorboard.enable}
    return [
        Fault(
            f"shared.{package}.enable=true, but {package} is not installed",
            remedy=f"pip install {package}, or set shared.{package}.enable=false",
        )
        for package, enabled in wanted.items()
        if enabled and importlib.util.find_spec(package) is None
    ]


def open_loggers(config: Config, output: OutputFolder, epoch: int) -> list[ExperimentLogger]:
    """Open the loggers that the configuration enables, for a run that continues after `epoch`."""
    loggers: list[ExperimentLogger] = []
    if config.shared.tensorboard.enable:
        loggers.append(TensorBoardLogger(output.tensorboard, epoch))
    if config.shared.wandb.enable:
        loggers.append(WandbLogger(config, output.root))
    return loggers


def report_progress(numbers: Mapping[str, Any]) -> None:
    """Print one progress line, which the launcher reads (training/system/scene_log.py).

    On a terminal it is in words: somebody has started the trainer by hand.
    """
    in_words = is_terminal(sys.stdout) and progress_text(numbers)
    print(in_words or f"{PROGRESS}{json.dumps(dict(numbers), allow_nan=False)}", flush=True)
