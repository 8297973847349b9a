"""The launch's options as a flow takes them: those of the launcher, and where to run."""

from __future__ import annotations

from typing import Annotated, Literal

from training.options import Flag, LaunchOptions


class FlowOptions(LaunchOptions):
    """What a person asks of the flow; the command line and the flow's parameters come from it."""

    cluster: Annotated[Literal["local", "slurm"], Flag("How to run", "--cluster local")] = "local"
    """Where scenes run: Dask workers on this machine, or jobs on a Slurm cluster."""

    verbose: Annotated[bool, Flag("How to run", "--verbose")] = False
    """Show Prefect's own messages too."""

    @property
    def on_slurm(self) -> bool:
        """Whether scenes run in Slurm jobs."""
        return self.cluster == "slurm"
