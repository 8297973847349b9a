"""How a job finds the Dask scheduler: its address, and TLS keys that only their owner can read.

Both are files in a folder of the plan on the shared disk, which exists as long as the flow. Dask
is imported by the functions that need it: the guard of the jobs imports this module without.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from training.plan.model import Plan
from training.system.atomic_write import write_atomically

if TYPE_CHECKING:
    from flows.adapters.dask_adapter import Security

FILE = "scheduler.json"


class Keys(BaseModel):
    """The PEM files with which both ends of a flow's connections speak TLS."""

    model_config = ConfigDict(frozen=True)

    ca_file: Path
    cert: Path
    key: Path

    @property
    def security(self) -> Security:
        """The keys as Dask takes them; raises OSError when the flow has ended and removed them."""
        from flows.adapters.dask_adapter import tls_security

        for file in (self.ca_file, self.cert, self.key):
            file.stat()
        return tls_security(str(self.ca_file), str(self.cert), str(self.key))


class Connection(Keys):
    """Where the scheduler of a plan's flow listens, and the keys that it accepts."""

    address: str


def folder_of(plan: Plan) -> Path:
    """Return the folder of a flow's keys, its scheduler's address and its probe's report."""
    return plan.roots.state_root / "dask" / plan.plan_id


def keys_of(plan: Plan) -> Keys:
    """Return the paths of a plan's keys."""
    return Keys(**{name: folder_of(plan) / f"{name}.pem" for name in Keys.model_fields})


def make_folder(plan: Plan) -> None:
    """Create a plan's folder with new keys, for its owner alone; raises OSError."""
    from flows.adapters.dask_adapter import new_certificates

    folder_of(plan).mkdir(mode=0o700, parents=True)
    pem = new_certificates()
    for name, path in keys_of(plan):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(pem[name])


def remove_folder(plan: Plan) -> None:
    """Remove the keys; a job that starts later ends at once."""
    shutil.rmtree(folder_of(plan), ignore_errors=True)


def publish(plan: Plan, address: str) -> None:
    """Write the scheduler's address where the plan's jobs look for it."""
    connection = Connection(address=address, **keys_of(plan).model_dump())
    write_atomically(folder_of(plan) / FILE, connection.model_dump_json())


def read(plan: Plan) -> Connection:
    """Return what the flow has published; raises OSError or ValueError where it has ended."""
    return Connection.model_validate_json((folder_of(plan) / FILE).read_bytes())
