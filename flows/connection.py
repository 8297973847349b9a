"""How a job finds the Dask scheduler: an address, and keys that only their owner can read."""

from __future__ import annotations

import shutil
from pathlib import Path

from distributed.security import Security
from pydantic import BaseModel, ConfigDict

from training.files import write_atomically
from training.plan import Plan

FILE = "scheduler.json"


class Connection(BaseModel):
    """Where the scheduler of a plan's flow listens, and the files to speak TLS with it."""

    model_config = ConfigDict(frozen=True)

    address: str
    ca_file: Path
    cert: Path
    key: Path

    @property
    def security(self) -> Security:
        """For a worker; raises OSError when the flow has ended, which takes the keys with it."""
        for file in (self.ca_file, self.cert, self.key):
            file.stat()
        return Security(
            tls_ca_file=str(self.ca_file),
            tls_worker_cert=str(self.cert),
            tls_worker_key=str(self.key),
            tls_client_cert=str(self.cert),
            tls_client_key=str(self.key),
            require_encryption=True,
        )


def folder_of(plan: Plan) -> Path:
    """The folder, on the shared disk, of a flow's keys and of what its jobs tell it."""
    return plan.roots.state_root / "dask" / plan.plan_id


def make_folder(plan: Plan) -> Path:
    """Create that folder for its owner alone."""
    folder = folder_of(plan)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def remove_folder(plan: Plan) -> None:
    """Take the keys away; a job that starts later ends at once."""
    shutil.rmtree(folder_of(plan), ignore_errors=True)


def write(plan: Plan, connection: Connection) -> None:
    """Tell the plan's jobs where the scheduler is."""
    write_atomically(folder_of(plan) / FILE, connection.model_dump_json())


def read(plan: Plan) -> Connection:
    """What the flow has told; raises OSError or ValueError when it has not, or has ended."""
    return Connection.model_validate_json((folder_of(plan) / FILE).read_bytes())
