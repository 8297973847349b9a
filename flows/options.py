"""The launch's options as a flow takes them: those of the launcher, and where to run."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from preprocess.faults import Fault, FaultsError
from training.plan.options import Flag, LaunchOptions

BLOCK = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
A_BLOCK: JsonDict = {"pattern": f"^(?:{BLOCK.pattern})?$"}


class FlowOptions(LaunchOptions):
    """What a person asks of the flow; the command line and the flow's parameters come from it."""

    cluster: Annotated[Literal["local", "slurm"], Flag("How to run", "--cluster local")] = "local"
    """Where scenes run: Dask workers on this machine, or jobs on a Slurm cluster."""

    verbose: Annotated[bool, Flag("How to run", "--verbose")] = False
    """Show Prefect's own messages too."""

    notify: Annotated[
        str, Flag("How to run", "--notify slack-webhook/lab"), Field(json_schema_extra=A_BLOCK)
    ] = ""
    """Prefect's notification block, type/name, that is told how the run ended.
    The Apprise URL in the variable TS_NOTIFY_URL, a secret, is told too."""

    @field_validator("notify", mode="before")
    @classmethod
    def _is_no_address(cls, value: Any) -> Any:
        # Not a ValueError: those are shown with the value.
        if "://" in str(value):
            what = "--notify takes the name of a notification block; an address is a secret"
            raise FaultsError([Fault(what, remedy="put it into the variable TS_NOTIFY_URL")])
        return value

    @field_validator("notify")
    @classmethod
    def _names_a_block(cls, value: str) -> str:
        if value and not BLOCK.fullmatch(value):
            raise ValueError("expected type/name of a notification block, as in slack-webhook/lab")
        return value

    @property
    def on_slurm(self) -> bool:
        """Whether scenes run in Slurm jobs."""
        return self.cluster == "slurm"
