"""How a job finds the Dask scheduler: an address, and keys that only their owner can read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.adapters.dask_adapter import Security, new_certificates, tls_security
from training.plan.model import Plan
from training.system.atomic_write import write_atomically

FILE = "scheduler.json"


class Keys(BaseModel):
    """The files that both ends of a flow's connections speak TLS with, in PEM."""

    model_config = ConfigDict(frozen=True)

    ca_file: Path
    cert: Path
    key: Path

    @property
    def security(self) -> Security:
        """For Dask; raises OSError when the flow has ended, which takes the keys with it."""
        for file in (self.ca_file, self.cert, self.key):
            file.stat()
        return tls_security(str(self.ca_file), str(self.cert), str(self.key))


class Connection(Keys):
    """Where the scheduler of a plan's flow listens, and the keys to speak with it."""

    address: str


def folder_of(plan: Plan) -> Path:
    """The folder, on the shared disk, of a flow's keys and of what its jobs tell it."""
    return plan.roots.state_root / "dask" / plan.plan_id


def keys_of(plan: Plan) -> Keys:
    """Where a plan's keys are."""
    return Keys(**{name: folder_of(plan) / f"{name}.pem" for name in Keys.model_fields})


def make_folder(plan: Plan) -> None:
    """Create that folder, with new keys, for its owner alone; raises OSError."""
    folder_of(plan).mkdir(mode=0o700, parents=True)
    texts = new_certificates()
    for name, path in keys_of(plan):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(texts[name])


def remove_folder(plan: Plan) -> None:
    """Take the keys away; a job that starts later ends at once."""
    shutil.rmtree(folder_of(plan), ignore_errors=True)


def write(plan: Plan, address: str) -> None:
    """Tell the plan's jobs where the scheduler is."""
    connection = Connection(address=address, **keys_of(plan).model_dump())
    write_atomically(folder_of(plan) / FILE, connection.model_dump_json())


def read(plan: Plan) -> Connection:
    """What the flow has told; raises OSError or ValueError when it has not, or has ended."""
    return Connection.model_validate_json((folder_of(plan) / FILE).read_bytes())
