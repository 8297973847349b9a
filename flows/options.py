"""The options of a flow: those of the launcher, where to run, and whom to notify."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from preprocess.faults import Fault, FaultsError
from training.plan.option_types import Time, refused_unless
from training.plan.options import Flag, LaunchOptions
from training.slurm.times import seconds_of

BLOCK_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
BLOCK_NAME_SCHEMA: JsonDict = refused_unless(
    f"^(?:{BLOCK_NAME.pattern})?$", "type/name of a notification block, e.g. slack-webhook/lab"
)

SHORTEST_CONTROLLER_S = 300


class FlowOptions(LaunchOptions):
    """The one definition of the flow's options, for its command line and its parameters."""

    cluster: Annotated[Literal["local", "slurm"], Flag("How to run", "--cluster local")] = "local"
    """Where scenes run: Dask workers on this machine, or jobs on a Slurm cluster."""

    controller: Annotated[
        Literal["here", "job"],
        Flag("How to run", "--controller job"),
        Field(title="The flow runs"),
    ] = "here"
    """Where the flow itself runs: here, or in a small Slurm job that outlives this machine. The job
    is queued again when it is lost or its time is over, and goes on."""

    controller_time: Annotated[
        Time,
        Flag("How to run", "--controller-time 12:00:00"),
        Field(title="The flow's time in its job"),
    ] = "1-00:00:00"
    """Time limit of the controller's job, in Slurm's formats; at its end it is queued again."""

    verbose: Annotated[bool, Flag("How to run", "--verbose")] = False
    """Show Prefect's own messages too."""

    notify: Annotated[
        str,
        Flag("How to run", "--notify slack-webhook/lab"),
        Field(json_schema_extra=BLOCK_NAME_SCHEMA),
    ] = ""
    """The notification block of Prefect, type/name, that sends how the run ended.
    The Apprise URL in the variable TS_NOTIFY_URL, a secret, gets the same message."""

    @field_validator("notify", mode="before")
    @classmethod
    def _reject_address(cls, value: Any) -> Any:
        # A ValueError would be shown with the value, which is a secret.
        if "://" in str(value):
            what = "--notify takes the name of a notification block; an address is a secret"
            raise FaultsError([Fault(what, remedy="put it into the variable TS_NOTIFY_URL")])
        return value

    @field_validator("notify")
    @classmethod
    def _check_block_name(cls, value: str) -> str:
        if value and not BLOCK_NAME.fullmatch(value):
            raise ValueError("expected type/name of a notification block, as in slack-webhook/lab")
        return value

    @field_validator("controller")
    @classmethod
    def _check_cluster(cls, value: str, info: ValidationInfo) -> str:
        if value == "job" and info.data.get("cluster") == "local":
            raise ValueError("the flow has a job of its own only with --cluster slurm")
        return value

    @field_validator("controller_time")
    @classmethod
    def _check_time(cls, value: str) -> str:
        if seconds_of(value) < SHORTEST_CONTROLLER_S:
            raise ValueError("expected five minutes at least: a controller notices its end before")
        return value

    @property
    def in_own_job(self) -> bool:
        """Whether the flow itself runs in a Slurm job."""
        return self.controller == "job"

    @property
    def on_slurm(self) -> bool:
        """Whether scenes run in Slurm jobs."""
        return self.cluster == "slurm"
